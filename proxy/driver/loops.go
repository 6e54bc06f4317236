//go:build linux

package driver

import (
	"context"
	"crypto/tls"
	"net"

	"sluice/internal/epoll"
	"sluice/proxy/relay"
)

// Loops is the driver of Linux: a few epoll loops, each of which owns its sessions for their whole lives. What is neither a socket nor
// crypto/tls above a Switch and a socket goes to a goroutine driver.
type Loops struct {
	clock clock
	pools *pools
	loops []*loop
	other *Goroutine
}

// NewLoops starts the loops; workers is at least 1.
func NewLoops(workers int) (*Loops, error) {
	d := &Loops{clock: newClock(), pools: newPools(), other: NewGoroutine()}
	for range workers {
		l, err := newLoop(d.clock, d.pools)
		if err != nil {
			_ = d.Close(context.Background())
			return nil, err
		}
		d.loops = append(d.loops, l)
		go l.run()
	}
	return d, nil
}

// Relay implements Driver.
func (d *Loops) Relay(p Params, client, backend net.Conn) {
	conns := [2]net.Conn{client, backend}
	if !isSocket(below(client)) || !isSocket(below(backend)) {
		d.other.Relay(p, client, backend)
		return
	}
	var fds [2]int
	var c *secure
	for side, conn := range conns {
		fd, err := epoll.Detach(below(conn))
		if err != nil {
			fd = -1 // the connection is lost; the session tells the other side
		}
		fds[side] = fd
		if t, isTLS := conn.(*tls.Conn); isTLS {
			if c == nil {
				c = new(secure)
			}
			c.conn[side] = t
			switchBelow(t).conn = nil
		}
	}
	l := d.least()
	p.Handle.in = l
	l.adopt(p, fds, c)
}

// below returns the connection whose socket a loop would take.
func below(conn net.Conn) net.Conn {
	if t, isTLS := conn.(*tls.Conn); isTLS {
		if s := switchBelow(t); s != nil {
			return s.conn
		}
	}
	return conn
}

// least returns the loop with the fewest sessions.
func (d *Loops) least() *loop {
	l := d.loops[0]
	for _, other := range d.loops[1:] {
		if other.sessions.Load() < l.sessions.Load() {
			l = other
		}
	}
	return l
}

// isSocket tells whether a connection is nothing but a stream socket.
func isSocket(conn net.Conn) bool {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

// Totals implements Driver.
func (d *Loops) Totals() relay.Totals {
	sum := d.other.Totals()
	for _, l := range d.loops {
		l.do(func() { sum.Add(&l.totals) })
	}
	return sum
}

// QueuedBytes implements Driver.
func (d *Loops) QueuedBytes() int64 {
	n := d.other.QueuedBytes()
	for _, l := range d.loops {
		n += l.queued.Load()
	}
	return n
}

// Close implements Driver.
func (d *Loops) Close(ctx context.Context) error {
	for _, l := range d.loops {
		l.stop()
		<-l.ended // soon: a turn never blocks
	}
	return d.other.Close(ctx)
}
