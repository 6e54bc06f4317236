package proxy

import (
	"net/http"
	"sync"

	"sluice/internal/recovery"
)

// A countedWriter knows what was answered.
type countedWriter struct {
	http.ResponseWriter
	panics   recovery.Handler
	isHTTP10 bool // the client speaks no later version
	status   int
	bytes    int64
}

func (w *countedWriter) WriteHeader(status int) {
	switch {
	case status == http.StatusContinue:
		return // net/http sends it itself, to a client that waits for it
	case status < 200 && w.isHTTP10:
		return // RFC 9110 section 15.2: "a server MUST NOT send a 1xx response to an HTTP/1.0 client"
	case status < 200:
		defer w.panics.Catch(room, nil) // net/http's transport calls this on a goroutine that recovers no panic
	default:
		w.status = status
		if header := w.Header(); header["Content-Type"] == nil {
			header["Content-Type"] = nil // or net/http would guess one
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *countedWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap is how net/http's ResponseController reaches Flush.
func (w *countedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

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
