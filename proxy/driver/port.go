package driver

import (
	"io"
	"net"
	"syscall"

	"sluice/proxy/relay"
)

// A port is one connection of a pair. Its methods block; readSome is for one goroutine, writeSome for one at a time.
type port struct {
	conn net.Conn
	raw  syscall.RawConn // nil: conn is no socket

	reading lent   // readSome's
	writing []byte // writeSome's, with the results behind it
	wrote   int
	failed  error

	tryRead, tryWrite func(uintptr) bool // method values, made once
}

// lent is a buffer from the pool with what was read into it behind room for a carry.
type lent struct {
	buf *[readBytes]byte
	n   int
	err error
}

// bytes returns what was read, with the k bytes that were carried in front of it.
func (l *lent) bytes(k int) []byte { return l.buf[relay.MaxCarry-k : relay.MaxCarry+l.n] }

// readTo is where a read puts what comes: behind room for a carry.
func (l *lent) readTo() []byte { return l.buf[relay.MaxCarry:] }

// smallRead is how much a connection that isn't a socket is asked for at a time: its buffer is held while nothing comes.
const smallRead = 4 << 10

// writePiece is how much a connection that isn't a socket is given at a time: progress is seen a piece at a time.
const writePiece = 16 << 10

func newPort(conn net.Conn, ps *pools) *port {
	p := &port{conn: conn}
	if c, ok := conn.(syscall.Conn); ok && canTry {
		if raw, err := c.SyscallConn(); err == nil {
			p.raw = raw
			p.tryRead = func(fd uintptr) bool { return p.readNow(ps, int(fd)) }
			p.tryWrite = func(fd uintptr) bool { return p.writeNow(int(fd)) }
		}
	}
	return p
}

// readSome waits for bytes and returns them in a buffer that the caller gives back; err: io.EOF or what ended the connection,
// beside n > 0 if both came. Where the connection is a socket no buffer is held while nothing is there.
func (p *port) readSome(ps *pools) lent {
	p.reading = lent{}
	if p.raw == nil {
		l := lent{buf: ps.buffers.Get().(*[readBytes]byte)}
		l.n, l.err = p.conn.Read(l.readTo()[:smallRead])
		return l
	}
	if err := p.raw.Read(p.tryRead); err != nil {
		return lent{err: err}
	}
	return p.reading
}

// readNow reads what is there; false: nothing.
func (p *port) readNow(ps *pools, fd int) bool {
	l := lent{buf: ps.buffers.Get().(*[readBytes]byte)}
	l.n, l.err = tryRead(fd, l.readTo())
	if l.err == errAgain {
		ps.buffers.Put(l.buf)
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
	err = p.raw.Write(p.tryWrite)
	p.writing = nil
	if err != nil {
		return 0, err
	}
	return p.wrote, p.failed
}

// writeNow writes what the socket takes; false: nothing.
func (p *port) writeNow(fd int) bool {
	p.wrote, p.failed = tryWrite(fd, p.writing)
	if p.failed == errAgain {
		p.wrote, p.failed = 0, nil
		return false
	}
	return true
}

// shut ends the stream to the peer: close_notify and SHUT_WR where the connection knows them.
func (p *port) shut() {
	if c, ok := p.conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
}

// close closes the connection; isCut: by a reset, throwing away what the kernel still holds. Blocked calls return.
func (p *port) close(isCut bool) {
	if c, ok := p.conn.(interface{ SetLinger(int) error }); ok && isCut {
		_ = c.SetLinger(0)
	}
	_ = p.conn.Close()
}

// unacked returns how many bytes the kernel holds that the peer hasn't acknowledged; 0 where it doesn't tell.
func (p *port) unacked() (n int) {
	if p.raw != nil {
		_ = p.raw.Control(func(fd uintptr) { n = unacked(int(fd)) })
	}
	return n
}
