package proxy

import (
	"net"
	"sync"
)

// A plainListener hands connections to net/http's server.
type plainListener struct {
	conns chan net.Conn
	addr  net.Addr
	done  chan struct{}
	once  sync.Once
}

func newPlainListener(addr net.Addr) *plainListener {
	return &plainListener{conns: make(chan net.Conn), addr: addr, done: make(chan struct{})}
}

// give hands a connection over; false: no more are taken.
func (l *plainListener) give(c net.Conn) bool {
	select {
	case l.conns <- c:
		return true
	case <-l.done:
		return false
	}
}

// Accept implements net.Listener.
func (l *plainListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *plainListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener.
func (l *plainListener) Addr() net.Addr { return l.addr }
