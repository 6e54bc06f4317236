package driver

import (
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sluice/proxy/h2"
	"sluice/proxy/relay"
)

// A StreamConn is a stream as a connection of package net: Read returns its DATA, and Write sends DATA. Any goroutine may call its methods.
// What it sends waits in it until the loop has room for it.
type StreamConn struct {
	mux           *Mux
	local, remote net.Addr

	// Owned by the loop.
	h2         *h2.Stream
	isGone     bool        // the stream has no owner any more
	bounded    *time.Timer // resets the stream if what waits after Close isn't sent in time; nil: nothing waits
	hasSent    bool        // some of it was sent since the timer began
	sentBefore uint64      // Mux.sent when it began

	mu sync.Mutex

	// Guarded by mu.
	changed  chan struct{} // closed at the next change of what follows
	in       []byte        // has come, and is to be read
	taken    int           // bytes that were read, and whose window the peer hasn't got back
	trailers []h2.Field
	hasEnded bool   // the peer has ended its direction
	err      error  // the stream is gone
	out      []part // to be sent
	outBytes int    // of DATA in it
	isEnded  bool   // the own direction is ended, when out is sent
	isClosed bool   // Close was called
	isAsked  bool   // the loop is going to pump
	wait     [2]deadlineTimer
}

// A part is DATA, a head, the end of the own direction, or a reset.
type part struct {
	data    []byte
	fields  []h2.Field // nil: it is no head
	isEnd   bool
	isReset bool
	code    h2.Code // of the reset
}

// mostLent is how many bytes of DATA a StreamConn accepts before they are on their way.
const mostLent = 64 << 10

// LendStream makes a connection of package net of a side's stream, which the slot has no longer. early is what Data has reported and Taken
// hasn't given back.
func (w Work) LendStream(side relay.Side, early []byte) *StreamConn {
	st := w.l.stream(w.s, side)
	m := st.mux
	fd := int(m.slot.socket[relay.Client].fd)
	c := &StreamConn{
		mux: m, h2: st.h2, local: addressOf(unix.Getsockname(fd)), remote: addressOf(unix.Getpeername(fd)),
		changed: make(chan struct{}), in: slices.Clone(early), hasEnded: m.h2.HasEnded(st.h2),
	}
	if m.lent == nil {
		m.lent = map[*h2.Stream]*StreamConn{}
	}
	m.lent[c.h2] = c
	w.l.removeStream(w.s, side, lentOwner)
	return c
}

// addressOf returns an address of a socket as package net has it; for a Unix socket one without a name.
func addressOf(sa unix.Sockaddr, _ error) net.Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
	case *unix.SockaddrInet6:
		return &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
	default:
		return &net.UnixAddr{Net: "unix"}
	}
}

// lentTo returns the connection to which a stream is lent.
func (m *Mux) lentTo(of *h2.Stream) *StreamConn {
	c := m.lent[of]
	if c == nil {
		panic("BUG: a stream is lent to nobody")
	}
	return c
}

// deliver notes what has come of the stream. The loop calls it.
func (c *StreamConn) deliver(e *h2.Event, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.change()
	switch e.Kind {
	case h2.Headers:
		c.trailers = append(c.trailers, e.Head.Fields...)
	case h2.Data:
		c.in = append(c.in, e.Data...)
	case h2.Reset:
		c.err = unix.ECONNRESET
		if err != nil {
			c.err = err
		}
		c.release()
	}
	c.hasEnded = c.hasEnded || e.IsEnd
}

// release ends the loan. The loop calls it; the caller holds mu.
func (c *StreamConn) release() {
	if c.isGone {
		return
	}
	c.isGone = true
	if c.bounded != nil {
		c.bounded.Stop()
	}
	c.h2.Owner = noOwner
	m := c.mux
	delete(m.lent, c.h2)
	m.released()
}

// change wakes the goroutines that wait. The caller holds mu.
func (c *StreamConn) change() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// pump sends what can be sent, and gives the window back of what was read. The loop calls it.
func (c *StreamConn) pump() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isAsked = false
	if c.isGone {
		return
	}
	m := c.mux
	if c.taken > 0 {
		m.append(m.h2.AppendTaken(m.scratch(), c.h2, c.taken))
		c.taken = 0
	}
	for len(c.out) > 0 && c.send(&c.out[0]) {
		c.out[0] = part{}
		c.out = c.out[1:]
	}
	switch {
	case !c.isClosed:
	case len(c.out) > 0:
		c.bound()
	case c.isEnded:
		m.close(c.h2)
		c.release()
	default:
		c.reset(h2.Cancel)
	}
}

// reset resets the stream. The loop calls it; the caller holds mu.
func (c *StreamConn) reset(code h2.Code) {
	if c.isGone {
		return
	}
	c.mux.reset(c.h2, code)
	c.release()
}

// send sends a part as far as that is possible now, and reports whether it is sent. The caller holds mu.
func (c *StreamConn) send(p *part) (isSent bool) {
	m := c.mux
	switch {
	case p.isReset:
		c.reset(p.code)
		return true
	case p.fields != nil:
		m.append(m.h2.AppendHeaders(m.scratch(), c.h2, p.fields, p.isEnd))
		return true
	}
	for len(p.data) > 0 {
		if !m.hasRoom() {
			m.await(c.h2)
			return false
		}
		k := min(m.h2.Sendable(c.h2), len(p.data), muxHigh-m.waiting())
		if k == 0 {
			return false
		}
		m.append(m.h2.AppendData(m.scratch(), c.h2, k, false))
		m.put(p.data[:k])
		m.sent += uint64(k)
		c.hasSent = true
		p.data = p.data[k:]
		c.outBytes -= k
		c.change()
	}
	if p.isEnd {
		m.append(m.h2.AppendData(m.scratch(), c.h2, 0, true))
	}
	return true
}

// ask has the loop pump soon. The caller holds mu.
func (c *StreamConn) ask() {
	if c.isAsked || c.err != nil {
		return
	}
	c.isAsked = true
	if !c.mux.command(c.pump) {
		c.err = net.ErrClosed
		c.change()
	}
}

// await waits for a change, or a deadline. The caller holds mu.
func (c *StreamConn) await(t *deadlineTimer) {
	changed, passed := c.changed, t.passed
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-changed:
	case <-passed:
	}
}

// Read blocks until bytes come. io.EOF: the peer has ended its direction. An error other than io.EOF and os.ErrDeadlineExceeded: the stream
// is gone.
func (c *StreamConn) Read(p []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.isClosed:
			return 0, net.ErrClosed
		case c.wait[0].isPast():
			return 0, os.ErrDeadlineExceeded
		case len(c.in) > 0:
			n = copy(p, c.in)
			if c.in = c.in[n:]; len(c.in) == 0 {
				c.in = nil
			}
			c.taken += n
			c.ask()
			return n, nil
		case c.hasEnded:
			return 0, io.EOF
		case c.err != nil:
			return 0, c.err
		}
		c.await(&c.wait[0])
	}
}

// Write blocks until the bytes are on their way, or in a buffer of at most mostLent bytes.
func (c *StreamConn) Write(p []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(p) > 0 {
		if err := c.cannotWrite(); err != nil {
			return n, err
		}
		if room := mostLent - c.outBytes; room > 0 {
			k := min(room, len(p))
			c.out = append(c.out, part{data: slices.Clone(p[:k])})
			c.outBytes += k
			n, p = n+k, p[k:]
			c.ask()
			continue
		}
		c.await(&c.wait[1])
	}
	return n, nil
}

// cannotWrite returns why nothing more can be sent, or nil. The caller holds mu.
func (c *StreamConn) cannotWrite() error {
	switch {
	case c.isClosed || c.isEnded:
		return net.ErrClosed
	case c.err != nil:
		return c.err
	case c.wait[1].isPast():
		return os.ErrDeadlineExceeded
	default:
		return nil
	}
}

// WriteHead sends a response, an interim one, or trailers, after what was written. It doesn't block.
func (c *StreamConn) WriteHead(fields []h2.Field, isEnd bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.cannotWrite(); err != nil {
		return err
	}
	c.isEnded = isEnd
	c.out = append(c.out, part{fields: slices.Clone(fields), isEnd: isEnd})
	c.ask()
	return nil
}

// CloseWrite ends the own direction, after what was written. It doesn't block.
func (c *StreamConn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isEnded {
		return nil
	}
	if err := c.cannotWrite(); err != nil {
		return err
	}
	c.isEnded = true
	c.out = append(c.out, part{isEnd: true})
	c.ask()
	return nil
}

// Reset resets the stream after what was written, or when the peer has taken nothing of it for the write timeout of the Mux. It doesn't block.
func (c *StreamConn) Reset(code h2.Code) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.isClosed {
		return
	}
	c.isClosed = true
	c.out = append(c.out, part{isReset: true, code: code})
	c.leave()
}

// Close ends the stream in order, after what was written, if its own direction is ended, and resets it otherwise (CANCEL). It doesn't block.
// It resets the stream, too, when the peer takes nothing of what was written for the write timeout of the Mux.
func (c *StreamConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isClosed {
		return nil
	}
	c.isClosed = true
	if !c.isEnded {
		c.out = nil
	}
	c.leave()
	return nil
}

// leave has the loop send what waits, but only for a time. The caller holds mu.
func (c *StreamConn) leave() {
	c.in = nil
	for i := range c.wait {
		c.wait[i].set(time.Time{})
	}
	c.ask()
	c.change()
	if c.err != nil {
		c.out = nil
	}
}

// bound has the stream reset when nothing of what waits was sent for the write timeout of the Mux. The loop calls it.
func (c *StreamConn) bound() {
	if c.bounded == nil {
		c.sentBefore = c.mux.sent
		c.bounded = time.AfterFunc(c.mux.params.WriteTimeout, func() { c.mux.command(c.dueBound) })
	}
}

// dueBound resets the stream, unless something was sent of it, or of the streams whose turn is before its own. The loop calls it.
func (c *StreamConn) dueBound() {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.mux
	switch {
	case c.isGone:
	case c.hasSent, c.h2.IsWaiting && m.sent != c.sentBefore:
		c.hasSent, c.sentBefore = false, m.sent
		c.bounded.Reset(m.params.WriteTimeout)
	default:
		c.reset(h2.Cancel)
	}
}

// AwaitReset blocks until the stream is gone, and returns the error that Read would return then: also after the end of the peer's direction. It
// returns os.ErrDeadlineExceeded at the read deadline, and net.ErrClosed after Close or Reset.
func (c *StreamConn) AwaitReset() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.isClosed:
			return net.ErrClosed
		case c.err != nil:
			return c.err
		case c.wait[0].isPast():
			return os.ErrDeadlineExceeded
		}
		c.await(&c.wait[0])
	}
}

// Trailers returns the trailers that have come before io.EOF, or nil.
func (c *StreamConn) Trailers() []h2.Field {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trailers
}

// LocalAddr returns the address of the connection's own end.
func (c *StreamConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the address of the connection's peer.
func (c *StreamConn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets the deadlines of Read and Write.
func (c *StreamConn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets the deadline of Read, also for a call under way.
func (c *StreamConn) SetReadDeadline(t time.Time) error { return c.setDeadline(0, t) }

// SetWriteDeadline sets the deadline of Write, also for a call under way.
func (c *StreamConn) SetWriteDeadline(t time.Time) error { return c.setDeadline(1, t) }

func (c *StreamConn) setDeadline(i int, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wait[i].set(t)
	c.change()
	return nil
}

// A deadlineTimer is the deadline of calls that block. The zero value is never passed.
type deadlineTimer struct {
	timer  *time.Timer
	passed chan struct{} // closed when the deadline is passed; nil: there is none
}

func (d *deadlineTimer) set(t time.Time) {
	if d.timer != nil {
		d.timer.Stop()
	}
	*d = deadlineTimer{}
	if t.IsZero() {
		return
	}
	passed := make(chan struct{})
	d.passed = passed
	if wait := time.Until(t); wait > 0 {
		d.timer = time.AfterFunc(wait, func() { close(passed) })
	} else {
		close(passed)
	}
}

func (d *deadlineTimer) isPast() bool {
	select {
	case <-d.passed:
		return true
	default:
		return false
	}
}
