package admin

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// A pausableListener is a listening socket whose Accept can be made to wait, without a connection being lost. Its methods may be called
// from any goroutine.
type pausableListener struct {
	*net.TCPListener

	mu      sync.Mutex
	changed sync.Cond // of mu

	isPaused bool // guarded by mu
	isClosed bool // guarded by mu
}

func newPausableListener(of *net.TCPListener) *pausableListener {
	l := &pausableListener{TCPListener: of}
	l.changed.L = &l.mu
	return l
}

// pause makes Accept wait until resume is called. A connection that Accept has already taken out of the socket is still returned.
func (l *pausableListener) pause() (resume func()) {
	l.set(true, time.Unix(1, 0))
	return func() { l.set(false, time.Time{}) }
}

func (l *pausableListener) set(isPaused bool, deadline time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isPaused = isPaused
	_ = l.SetDeadline(deadline) // fails only once it is closed
	l.changed.Broadcast()
}

// Accept implements net.Listener.
func (l *pausableListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.TCPListener.Accept()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return conn, err
		}
		l.wait()
	}
}

// wait waits until accepting goes on, or the listener is closed.
func (l *pausableListener) wait() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.isPaused && !l.isClosed {
		l.changed.Wait()
	}
}

// Close implements net.Listener.
func (l *pausableListener) Close() error {
	err := l.TCPListener.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isClosed = true
	l.changed.Broadcast()
	return err
}
