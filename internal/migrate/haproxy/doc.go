// Package haproxy reads configurations of HAProxy.
//
//	parse.go     text → sections of lines of words
//	read.go      sections → a draft: the proxies of the configuration, each as a listener, routes or a pool
//	bind.go      bind lines → listeners
//	acl.go       acl lines and conditions → what a route requires of a request
//	rules.go     http-request, http-response, redirect, use_backend → routes
//	value.go     HAProxy's expressions → placeholders; its times
//	pool.go      servers, balance, cookie, health checks → pools
package haproxy
