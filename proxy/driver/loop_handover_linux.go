package driver

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
	"sluice/proxy/relay"
)

// CanTake reports whether Take accepts a connection: a socket, or crypto/tls above a Switch and a socket.
func (d *Loops) CanTake(client net.Conn) bool { return isSocket(below(client)) }

// Take moves a client whose handshake began on a goroutine to a loop, as the client of a Task. The loop calls begin before the Task's
// methods. The handshake of TLS must be complete. It reports whether it has: if there is no descriptor for it, or the loop ends, nothing is
// called, and the connection is the caller's as before.
func (d *Loops) Take(client net.Conn, task Task, begin func(Work)) bool {
	c, err := detach(client)
	if err != nil {
		return false
	}
	l := d.least()
	take := func() {
		w := Work{l, l.newTask(c.fd)}
		defer l.rescue(w.s.id())
		l.tasks[w.s.index] = task
		if c.tls != nil {
			l.addTLS(w.s, relay.Client, c.tls)
		}
		begin(w)
	}
	if !l.command(take) {
		c.giveBack()
		return false
	}
	c.closeOld()
	return true
}

// A detached connection is one of package net on its way to a loop.
type detached struct {
	fd     int
	tls    *tls.Conn // above the socket; nil: none is
	socket net.Conn  // as package net has it
}

// detach gives a connection a descriptor of its own: a socket, or crypto/tls above a Switch and a socket. giveBack or closeOld has to follow.
func detach(conn net.Conn) (c detached, err error) {
	c.socket = below(conn)
	if !isSocket(c.socket) {
		return c, errors.New("not a socket")
	}
	if c.fd, err = epoll.Dup(c.socket.(syscall.Conn)); err != nil {
		return c, err
	}
	if c.tls, _ = conn.(*tls.Conn); c.tls != nil {
		switchBelow(c.tls).conn = nil
	}
	return c, nil
}

// giveBack leaves the connection to package net.
func (c *detached) giveBack() {
	_ = unix.Close(c.fd)
	if c.tls != nil {
		switchBelow(c.tls).conn = c.socket
	}
}

// closeOld leaves the connection to the loop.
func (c *detached) closeOld() { _ = c.socket.Close() }

// Restore gives a connection of TLS its socket back, which a Task has released.
func Restore(conn *tls.Conn, socket net.Conn) {
	s := switchBelow(conn)
	s.conn, s.feed = socket, nil
}

// Seal returns what has to be written to the client's socket so that the client reads slices: slices, or records that the caller owns.
func (w Work) Seal(slices [][]byte) ([][]byte, error) {
	conn := w.s.conn[relay.Client]
	if conn == nil {
		return slices, nil
	}
	feed := w.l.secure(w.s, relay.Client).feed()
	feed.out = nil
	_, err := conn.Write(bytes.Join(slices, nil))
	sealed := feed.out
	feed.out = nil
	return [][]byte{sealed}, err
}
