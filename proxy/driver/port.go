package driver

import (
	"io"
	"net"
	"syscall"
	"time"

	"sluice/proxy/relay"
)

// A port is one connection of a pair. readSome and writeSome block; readSome is for one goroutine,
// writeSome and tryWrite for one at a time.
type port struct {
	conn net.Conn
	raw  syscall.RawConn // nil: conn is no socket

	reading lent   // readSome's
	writing []byte // writeSome's and tryWrite's, with the results behind it
	wrote   int
	failed  error

	read, write, tryOnce func(uintptr) bool // what raw is given, made once
}

// lent is a buffer from a pool with what was read into it behind room for a carry.
type lent struct {
	buf []byte // smallRead or readBytes of it
	n   int
	err error
}

// bytes returns what was read, with the k bytes that were carried in front of it.
func (l *lent) bytes(k int) []byte { return l.buf[relay.MaxCarry-k : relay.MaxCarry+l.n] }

// readTo is where a read puts what comes: behind room for a carry.
func (l *lent) readTo() []byte { return l.buf[relay.MaxCarry:] }

// giveBack returns the buffer to its pool.
func (l *lent) giveBack(ps *pools) {
	switch len(l.buf) {
	case smallRead:
		ps.small.Put((*[smallRead]byte)(l.buf))
	case readBytes:
		ps.buffers.Put((*[readBytes]byte)(l.buf))
	}
	l.buf = nil
}

// writePiece is how much a connection that isn't a socket is given at a time: progress is seen a piece at a time.
const writePiece = 16 << 10

func newPort(conn net.Conn, ps *pools) *port {
	p := &port{conn: conn}
	_ = conn.SetDeadline(time.Time{}) // those of the handshake
	if c, ok := conn.(syscall.Conn); ok && canTry {
		if raw, err := c.SyscallConn(); err == nil {
			p.raw = raw
			p.read = func(fd uintptr) bool { return p.readNow(ps, int(fd)) }
			p.write = func(fd uintptr) bool { return p.writeNow(int(fd)) }
			p.tryOnce = func(fd uintptr) bool { p.writeNow(int(fd)); return true }
		}
	}
	return p
}

// readSome waits for bytes and returns them in a buffer that the caller gives back; err: io.EOF or what ended the connection,
// beside n > 0 if both came. Where the connection is a socket no buffer is held while nothing is there.
func (p *port) readSome(ps *pools) lent {
	p.reading = lent{}
	if p.raw == nil {
		l := lent{buf: ps.small.Get().(*[smallRead]byte)[:]}
		l.n, l.err = p.conn.Read(l.readTo())
		return l
	}
	if err := p.raw.Read(p.read); err != nil {
		return lent{err: err}
	}
	return p.reading
}

// readNow reads what is there; false: nothing.
func (p *port) readNow(ps *pools, fd int) bool {
	l := lent{buf: ps.buffers.Get().(*[readBytes]byte)[:]}
	l.n, l.err = tryRead(fd, l.readTo())
	if l.err == errAgain {
		l.giveBack(ps)
		return false
	}
	if l.n == 0 && l.err == nil {
		l.err = io.EOF
	}
	p.reading = l
	return true
}

// writeSome waits until the connection takes some of b and returns how much it took.
func (p *port) writeSome(b []byte) (n int, err error) {
	if p.raw == nil {
		return p.conn.Write(b[:min(len(b), writePiece)])
	}
	p.writing, p.wrote, p.failed = b, 0, nil
	err = p.raw.Write(p.write)
	p.writing = nil
	if err != nil {
		return 0, err
	}
	return p.wrote, p.failed
}

// writeNow writes what the socket takes; false: nothing.
func (p *port) writeNow(fd int) bool {
	p.wrote, p.failed = tryWrite(fd, p.writing)
	return p.failed != errAgain
}

// tryWrite writes spans as far as a socket takes them at once and returns those that are left, the first one cut. What isn't a
// socket takes nothing at once.
func (p *port) tryWrite(spans [][]byte) (left [][]byte, n int, err error) {
	if p.raw == nil {
		return spans, 0, nil
	}
	for len(spans) > 0 {
		p.writing = spans[0]
		if err := p.raw.Write(p.tryOnce); err != nil {
			return spans, n, err
		}
		p.writing = nil
		if p.failed == errAgain {
			break
		}
		if p.failed != nil {
			return spans, n, p.failed
		}
		n += p.wrote
		if spans[0] = spans[0][p.wrote:]; len(spans[0]) == 0 {
			spans = spans[1:]
		}
	}
	return spans, n, nil
}

// shut ends the stream to the peer: close_notify and SHUT_WR where the connection knows them.
func (p *port) shut() {
	socket := socketOf(p.conn)
	if socket != p.conn {
		closeWrite(p.conn)
	}
	closeWrite(socket)
}

func closeWrite(conn net.Conn) {
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
}

// socketOf returns what is below a connection's layers, of which TLS may be one.
func socketOf(conn net.Conn) net.Conn {
	for {
		layer, isLayer := conn.(interface{ NetConn() net.Conn })
		if !isLayer {
			return conn
		}
		conn = layer.NetConn()
	}
}

// close closes the connection; isCut: by a reset, throwing away what the kernel still holds. Blocked calls return.
func (p *port) close(isCut bool) {
	conn := p.conn
	if isCut {
		conn = socketOf(conn) // without close_notify
		if c, ok := conn.(interface{ SetLinger(int) error }); ok {
			_ = c.SetLinger(0)
		}
	}
	_ = conn.Close()
}

// unacked returns how many bytes the kernel holds that the peer hasn't acknowledged; 0 where it doesn't tell.
func (p *port) unacked() (n int) {
	if c, ok := socketOf(p.conn).(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { n = unacked(int(fd)) })
		}
	}
	return n
}
