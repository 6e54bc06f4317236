package driver

import (
	"bytes"
	"crypto/tls"
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
	socket := below(client)
	fd, err := epoll.Dup(socket.(syscall.Conn))
	if err != nil {
		return false
	}
	conn, isTLS := client.(*tls.Conn)
	if isTLS {
		switchBelow(conn).conn = nil
	}
	l := d.least()
	take := func() {
		w := Work{l, l.newTask(fd)}
		defer l.rescue(w.s.id())
		l.tasks[w.s.index] = task
		if isTLS {
			l.addTLS(w.s, relay.Client, conn)
		}
		begin(w)
	}
	if !l.command(take) {
		_ = unix.Close(fd)
		if isTLS {
			switchBelow(conn).conn = socket
		}
		return false
	}
	_ = socket.Close()
	return true
}

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
