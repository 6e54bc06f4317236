package driver

import (
	"bytes"
	"crypto/tls"
	"net"

	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
	"sluice/proxy/relay"
)

// CanTake reports whether Take accepts a connection: a socket, or crypto/tls above a Switch and a socket.
func (d *Loops) CanTake(client net.Conn) bool { return isSocket(below(client)) }

// Take moves a client whose handshake began on a goroutine to a loop, as the client of a Task. The loop calls begin before the Task's
// methods. The handshake of TLS must be complete. On an error the connection is closed, and nothing is called.
func (d *Loops) Take(client net.Conn, task Task, begin func(Work)) error {
	fd, err := epoll.Detach(below(client))
	if err != nil {
		return err
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
		return net.ErrClosed
	}
	return nil
}

// Restore gives a connection of TLS its socket back, which a Task has released.
func Restore(conn *tls.Conn, socket net.Conn) {
	s := switchBelow(conn)
	s.conn, s.feed = socket, nil
}

// Seal returns what has to be written to the client's socket so that the client reads slices: slices, or records that the caller owns.
func (w Work) Seal(slices [][]byte) ([][]byte, error) {
	c := w.s.secure[relay.Client]
	if c == nil {
		return slices, nil
	}
	feed := c.feed()
	feed.out = nil
	_, err := c.conn.Write(bytes.Join(slices, nil))
	sealed := feed.out
	feed.out = nil
	return [][]byte{sealed}, err
}
