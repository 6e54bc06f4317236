package proxy

import (
	"context"
	"sync/atomic"
	"time"

	"sluice/internal/netconn"
)

// A clientWatch reads from a client while a goroutine waits for backends: it notices when the client goes, and keeps the frames that the
// client sends meanwhile. Its goroutine starts after watchDelay, and most handshakes end before that.
type clientWatch struct {
	connection *connection
	cancel     context.CancelFunc
	timer      *time.Timer
	lost       atomic.Bool
	done       chan struct{} // closed when the goroutine has ended
	isStopped  bool
}

// watchDelay is how long a handshake may take before its client is watched.
const watchDelay = 20 * time.Millisecond

func watchClient(c *connection, cancel context.CancelFunc) *clientWatch {
	_ = c.client.SetWriteDeadline(time.Time{}) // that of the head doesn't count any more
	w := &clientWatch{connection: c, cancel: cancel, done: make(chan struct{})}
	w.timer = time.AfterFunc(watchDelay, w.read)
	return w
}

// read reads from the client until stop or the end of the stream. When the buffer is full, it waits for the end without reading.
func (w *clientWatch) read() {
	defer close(w.done)
	defer w.connection.proxy.panics.Catch(room, func() {
		w.lost.Store(true)
		w.cancel()
	})
	_ = w.connection.client.SetReadDeadline(time.Time{})
	buf := &w.connection.core.Memory.FromClient
	for len(buf.Free()) > 0 {
		n, err := w.connection.client.Read(buf.Free())
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
	if netconn.AwaitHangup(w.connection.client) == nil {
		w.lost.Store(true)
		w.cancel()
	}
}

// isLost reports whether the client has gone.
func (w *clientWatch) isLost() bool { return w.lost.Load() }

// stop ends the watch: afterwards the caller owns the connection and its buffer again.
func (w *clientWatch) stop() {
	if w.isStopped {
		return
	}
	w.isStopped = true
	if w.timer.Stop() {
		return
	}
	// While crypto/tls reads, it answers KeyUpdates, and the client may take no answers.
	_ = w.connection.client.SetWriteDeadline(time.Now().Add(refusalTimeout))
	for {
		// The goroutine may be about to clear the deadline that ends its Read.
		_ = w.connection.client.SetReadDeadline(time.Unix(1, 0))
		select {
		case <-w.done:
			return
		case <-time.After(time.Millisecond):
		}
	}
}
