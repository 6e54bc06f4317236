package driver

import (
	"crypto/tls"
	"io"
	"net"
	"syscall"
	"time"

	"sluice/proxy/relay"
)

// A goroutineConn is the transport of one side of a goroutineSession: any net.Conn. read and write block; read is for one goroutine,
// write and tryWrite for one at a time.
type goroutineConn struct {
	conn   net.Conn
	in     net.Conn   // what read reads: conn, or the socket below once records are only to be discarded
	secure *tls.Conn  // conn, if it is TLS; nil once records are only to be discarded
	secret peerSecret // for read, as the next one
	keys   keyChanges
	raw    syscall.RawConn // nil: conn is no socket

	reading lent   // by readFD
	writing []byte // by writeFD and tryFD, with the results after it
	written int
	failed  error

	readFD, writeFD, tryFD func(uintptr) bool // arguments of raw's methods, made once
}

// lent is a buffer from a pool, with what was read into it after room for carried bytes.
type lent struct {
	buf []byte // smallRead or readBytes of it
	n   int
	err error
}

// bytes returns what was read, with k bytes of room for carried bytes in front of it.
func (l *lent) bytes(k int) []byte { return l.buf[relay.MaxCarry-k : relay.MaxCarry+l.n] }

// readTo returns the memory to read into: after room for carried bytes.
func (l *lent) readTo() []byte { return l.buf[relay.MaxCarry:] }

// release returns the buffer to its pool.
func (l *lent) release(ps *pools) {
	switch len(l.buf) {
	case smallRead:
		ps.small.Put((*[smallRead]byte)(l.buf))
	case readBytes:
		ps.buffers.Put((*[readBytes]byte)(l.buf))
	}
	l.buf = nil
}

// isFlooded reports whether the peer has changed its TLS keys too often. Then it is heard no more.
func (g *goroutineConn) isFlooded(now relay.Instant) bool {
	if g.secure == nil || !g.secret.hasChanged(g.secure) || !g.keys.add(now) {
		return false
	}
	g.discardRecords()
	return true
}

// discardRecords has read return records as they are, to be discarded.
func (g *goroutineConn) discardRecords() { g.in, g.secure = socketOf(g.conn), nil }

// writePiece is the most that one write gives a connection that isn't a socket: progress is seen after each write.
const writePiece = 16 << 10

func newGoroutineConn(conn net.Conn, ps *pools) *goroutineConn {
	g := &goroutineConn{conn: conn, in: conn}
	g.secure, _ = conn.(*tls.Conn)
	_ = conn.SetDeadline(time.Time{}) // the handshake's may still run
	if c, ok := conn.(syscall.Conn); ok && canTry {
		if raw, err := c.SyscallConn(); err == nil {
			g.raw = raw
			g.readFD = func(fd uintptr) bool { return g.readNow(ps, int(fd)) }
			g.writeFD = func(fd uintptr) bool { return g.writeNow(int(fd)) }
			g.tryFD = func(fd uintptr) bool { g.writeNow(int(fd)); return true }
		}
	}
	return g
}

// read waits for bytes and returns them in a buffer that the caller releases. The error is io.EOF or what ended the connection; n > 0 may
// come with it. For a socket, read holds no buffer while it waits.
func (g *goroutineConn) read(ps *pools) lent {
	g.reading = lent{}
	if g.raw == nil {
		l := lent{buf: ps.small.Get().(*[smallRead]byte)[:]}
		l.n, l.err = g.in.Read(l.readTo())
		if g.secure != nil && isFault(l.err) {
			g.discardRecords()
			l.err = errTLS
		}
		return l
	}
	if err := g.raw.Read(g.readFD); err != nil {
		return lent{err: err}
	}
	return g.reading
}

// readNow reads what has come. It returns false if nothing has.
func (g *goroutineConn) readNow(ps *pools, fd int) bool {
	l := lent{buf: ps.buffers.Get().(*[readBytes]byte)[:]}
	l.n, l.err = tryRead(fd, l.readTo())
	if l.err == errAgain {
		l.release(ps)
		return false
	}
	if l.n == 0 && l.err == nil {
		l.err = io.EOF
	}
	g.reading = l
	return true
}

// write waits until the connection accepts some of b, and returns how much it accepted.
func (g *goroutineConn) write(b []byte) (n int, err error) {
	if g.raw == nil {
		return g.conn.Write(b[:min(len(b), writePiece)])
	}
	g.writing, g.written, g.failed = b, 0, nil
	err = g.raw.Write(g.writeFD)
	g.writing = nil
	if err != nil {
		return 0, err
	}
	return g.written, g.failed
}

// writeNow writes what the socket accepts. It returns false if the socket accepts nothing.
func (g *goroutineConn) writeNow(fd int) bool {
	g.written, g.failed = tryWrite(fd, g.writing)
	return g.failed != errAgain
}

// tryWrite implements transport. What isn't a socket accepts nothing at once.
func (g *goroutineConn) tryWrite(spans [][]byte) (left [][]byte, n int, err error) {
	if g.raw == nil {
		return spans, 0, nil
	}
	for len(spans) > 0 {
		g.writing = spans[0]
		if err := g.raw.Write(g.tryFD); err != nil {
			return spans, n, err
		}
		g.writing = nil
		if g.failed == errAgain {
			break
		}
		if g.failed != nil {
			return spans, n, g.failed
		}
		n += g.written
		if spans[0] = spans[0][g.written:]; len(spans[0]) == 0 {
			spans = spans[1:]
		}
	}
	return spans, n, nil
}

// seal implements transport: bytes go as they are; a crypto/tls connection makes records of them itself.
func (*goroutineConn) seal(*batch, bool) error { return nil }

// notify implements transport: close_notify.
func (g *goroutineConn) notify() {
	if socketOf(g.conn) != g.conn {
		closeWrite(g.conn)
	}
}

// shut implements transport: close_notify and SHUT_WR where the connection knows them.
func (g *goroutineConn) shut() {
	g.notify()
	closeWrite(socketOf(g.conn))
}

func closeWrite(conn net.Conn) {
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
}

// socketOf returns the connection below all layers, of which TLS may be one.
func socketOf(conn net.Conn) net.Conn {
	for {
		layer, isLayer := conn.(interface{ NetConn() net.Conn })
		if !isLayer {
			return conn
		}
		conn = layer.NetConn()
	}
}

// close implements transport. Blocked calls return.
func (g *goroutineConn) close() { _ = g.conn.Close() }

// cut implements transport: without close_notify. Blocked calls return.
func (g *goroutineConn) cut() {
	socket := socketOf(g.conn)
	if c, ok := socket.(interface{ SetLinger(int) error }); ok {
		_ = c.SetLinger(0)
	}
	_ = socket.Close()
}

// unacked implements transport.
func (g *goroutineConn) unacked() (n int) {
	if c, ok := socketOf(g.conn).(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { n = unacked(int(fd)) })
		}
	}
	return n
}
