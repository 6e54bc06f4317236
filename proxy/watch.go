package proxy

import (
	"context"
	"sync/atomic"
	"time"

	"sluice/internal/netconn"
)

// A clientWatch notices that a client goes while its backend is dialled, and keeps the frames that it sends meanwhile. Handshakes
// are mostly over before it begins: a goroutine is started only for a slow one.
type clientWatch struct {
	handshake *handshake
	cancel    context.CancelFunc
	timer     *time.Timer
	lost      atomic.Bool
	done      chan struct{} // closed when the goroutine has ended
	isStopped bool
}

// watchDelay is how long a handshake may take before its client is watched.
const watchDelay = 20 * time.Millisecond

func watchClient(h *handshake, cancel context.CancelFunc) *clientWatch {
	w := &clientWatch{handshake: h, cancel: cancel, done: make(chan struct{})}
	w.timer = time.AfterFunc(watchDelay, w.read)
	return w
}

// read reads from the client until stop, the end of the stream, or a full buffer.
func (w *clientWatch) read() {
	defer close(w.done)
	defer w.handshake.proxy.panics.Catch(room, func() {
		w.lost.Store(true)
		w.cancel()
	})
	_ = w.handshake.client.SetReadDeadline(time.Time{})
	buf := &w.handshake.memory.FromClient
	for len(buf.Free()) > 0 {
		n, err := w.handshake.client.Read(buf.Free())
		buf.Grow(n)
		if netconn.IsTimeout(err) {
			return
		}
		if err != nil {
			w.lost.Store(true)
			w.cancel()
			return
		}
	}
}

// isLost tells whether the client has gone.
func (w *clientWatch) isLost() bool { return w.lost.Load() }

// stop ends the watching: afterwards the connection and its buffer are the caller's again.
func (w *clientWatch) stop() {
	if w.isStopped {
		return
	}
	w.isStopped = true
	if w.timer.Stop() {
		return
	}
	for {
		// The goroutine may be about to clear the deadline that ends its Read.
		_ = w.handshake.client.SetReadDeadline(time.Unix(1, 0))
		select {
		case <-w.done:
			return
		case <-time.After(time.Millisecond):
		}
	}
}
