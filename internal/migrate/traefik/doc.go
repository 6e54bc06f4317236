// Package traefik reads configurations of Traefik: labels of compose files, dynamic and static files as YAML or TOML, and custom resources
// of Kubernetes.
//
//	node.go        files → trees of nodes with lines
//	read.go        trees → entry points, routers, services and middlewares, wherever they stand
//	rule.go        rules → what a route requires of a request
//	router.go      routers → listeners and routes
//	middleware.go  middlewares → keys of routes
//	service.go     services → pools
package traefik
