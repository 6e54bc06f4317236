package admin

import (
	"encoding/json"
	"net/http"
	"path"
	"slices"
	"strings"
)

// A router is an http.ServeMux whose own refusals are JSON: 404 for an unknown path, 405 with Allow
// for a known one. Immutable once it serves.
type router struct {
	mux     *http.ServeMux
	methods map[string][]string // pattern → methods that have a handler
}

func newRouter() *router {
	r := &router{mux: http.NewServeMux(), methods: map[string][]string{}}
	r.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, http.StatusNotFound, "not found")
	})
	return r
}

// handle adds a handler; pattern is a path as http.ServeMux takes it. GET answers HEAD too.
func (r *router) handle(method, pattern string, handler http.HandlerFunc) {
	r.mux.HandleFunc(method+" "+pattern, handler)
	if r.methods[pattern] == nil {
		r.mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Allow", strings.Join(r.methods[pattern], ", "))
			writeError(w, http.StatusMethodNotAllowed, "method not allowed")
		})
	}
	r.methods[pattern] = append(r.methods[pattern], method)
	if method == http.MethodGet {
		r.methods[pattern] = append(r.methods[pattern], http.MethodHead)
	}
	slices.Sort(r.methods[pattern])
}

// ServeHTTP answers a request. Nothing here may be kept or taken for another type by a browser.
func (r *router) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	// A path that isn't in its shortest form the mux would redirect, with a page.
	if escaped := request.URL.EscapedPath(); escaped != path.Clean(escaped) && escaped != path.Clean(escaped)+"/" || escaped == "" || escaped[0] != '/' {
		writeError(w, http.StatusNotFound, "not found")
		return
	}
	r.mux.ServeHTTP(w, request)
}

// writeError answers with an error.
func writeError(w http.ResponseWriter, status int, text string) {
	writeJSON(w, status, Error{text})
}

// writeJSON answers with a value that can be written as JSON. A write that fails has lost its reader.
func writeJSON(w http.ResponseWriter, status int, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
}
