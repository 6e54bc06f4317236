package admin

import "net/http/pprof"

// addProfiles adds the paths that `go tool pprof` requests. It is off by default: a profile costs CPU, and reveals what the process does.
func addProfiles(routes *router) {
	routes.handle("GET", "/debug/pprof/{$}", pprof.Index)
	routes.handle("GET", "/debug/pprof/cmdline", pprof.Cmdline)
	routes.handle("GET", "/debug/pprof/profile", pprof.Profile)
	routes.handle("GET", "/debug/pprof/symbol", pprof.Symbol)
	routes.handle("POST", "/debug/pprof/symbol", pprof.Symbol)
	routes.handle("GET", "/debug/pprof/trace", pprof.Trace)
	for _, name := range []string{"allocs", "block", "goroutine", "heap", "mutex", "threadcreate"} {
		routes.handle("GET", "/debug/pprof/"+name, pprof.Handler(name).ServeHTTP)
	}
}
