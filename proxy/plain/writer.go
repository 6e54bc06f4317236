package plain

import (
	"maps"
	"net/http"
	"slices"
	"sync"

	"sluice/upgrade"
)

// A writer notes in the request what its client is sent.
type writer struct {
	http.ResponseWriter
	request  *Request
	isHTTP10 bool // the client speaks no later version
	expects  bool // the client waits for a 100
}

func (w *writer) WriteHeader(status int) {
	switch {
	case status == http.StatusContinue:
		return // net/http sends it itself, to a client that waits for it
	case status < 200 && w.isHTTP10:
		return // RFC 9110 section 15.2: "a server MUST NOT send a 1xx response to an HTTP/1.0 client"
	case status < 200 && w.expects:
		// RFC 9110 section 15.2 has a proxy forward it, and a client ignore it. But net/http sends the 100 when the body is first read,
		// which is on another goroutine, and nothing keeps the two writes apart.
		return
	case status < 200:
		defer w.request.conn.panics().Catch(room, nil) // net/http's transport calls this on a goroutine that recovers no panic
		maps.DeleteFunc(w.Header(), func(name string, _ []string) bool { return w.request.Route.Replaces(name) })
	default:
		w.request.Status = status
		w.request.conn.open(w.request.opening)
		header := w.Header()
		if header["Content-Type"] == nil {
			header["Content-Type"] = nil // or net/http would guess one
		}
		if removed := w.request.Route.RemoveResponseHeaders; slices.ContainsFunc(removed, func(name string) bool { return upgrade.IsSameField(name, "Date") }) {
			header["Date"] = nil // or net/http would send its own
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.request.Bytes += int64(n)
	return n, err
}

// Unwrap is how net/http's ResponseController reaches Flush.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// copyBuffers lends the buffers of bodies. It implements httputil.BufferPool.
type copyBuffers struct{ pool sync.Pool }

const copyBytes = 32 << 10

func (b *copyBuffers) Get() []byte {
	if p, ok := b.pool.Get().(*[copyBytes]byte); ok {
		return p[:]
	}
	return make([]byte, copyBytes)
}

func (b *copyBuffers) Put(p []byte) { b.pool.Put((*[copyBytes]byte)(p)) }
