package plain

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"sluice/balancer"
	"sluice/internal/netconn"
	"sluice/internal/recovery"
	"sluice/proxy/reach"
	"sluice/upgrade"
)

// A Conn is a connection whose requests are plain HTTP, as net/http's server sees it. It lets pass only heads that package upgrade has
// read, and each only after net/http has finished what went before: nothing reaches a backend that was read in another way than here.
// A head that isn't for net/http looks to it like the end of the stream; after it has closed the connection, the caller of Wait goes on
// with that head.
type Conn struct {
	net.Conn
	server *Server
	client reach.Client  // whose connection it is
	ended  chan struct{} // closed after net/http has closed the connection

	// Owned by the goroutine that reads: net/http sees to it that there is one at a time.
	in   upgrade.Buffer
	body upgrade.Body // of the request that was let pass last
	head []byte       // what is left of its head for net/http

	mu sync.Mutex

	request       *Request      // guarded by mu; being served: the next head has to wait
	served        chan struct{} // guarded by mu; closed when request is over
	late          chan struct{} // guarded by mu; closed while the deadline for reading is in the past
	fault         error         // guarded by mu; the request's body can't be passed on, or reading panicked
	isUnanswered  bool          // guarded by mu; fault came after the body of the request, whose answer doesn't tell of it
	nextStart     time.Time     // guarded by mu; of a head that isn't for net/http; zero: there is none
	discardUntil  time.Time     // guarded by mu; by when the rest of a body has to come that is read to be discarded; zero: it is wanted
	isReadingBody bool          // guarded by mu; a part of the request's body is waited for
	bodyWait      time.Duration // guarded by mu; how long the parts of the body may take to come until there are minBodyBytes more
	bodyBytes     int           // guarded by mu; of these, those that have come
	isAborted     bool          // guarded by mu; an answer was broken off
	hasServed     bool          // guarded by mu; a request is over
	isOpenEnded   bool          // guarded by mu; the end of that answer is the end of the connection
	opening       []byte        // guarded by mu; the first lines of the answer, instead of net/http's; nil: net/http's

	isAuthenticating bool                                 // guarded by mu; a request had credentials that authenticate a connection
	backends         map[*balancer.Pool]*balancer.Backend // guarded by mu; with which it stays; nil: none
	owned            map[*backendConn]bool                // guarded by mu; that are of use to it alone; nil: none
}

type connKey struct{}

// Begin gives a connection to the server; Wait has to follow. input is what has been read of it, and is copied; client is what is known
// of its client. Where that speaks HTTP/2, the connection is a stream, which carries one request. nil: the server takes no more
// connections, and this one is still the caller's.
func (s *Server) Begin(conn net.Conn, client reach.Client, input []byte) *Conn {
	_ = conn.SetReadDeadline(time.Time{})
	netconn.KeepAlive(netconn.Socket(conn))
	c := &Conn{Conn: conn, server: s, client: client, ended: make(chan struct{}), late: make(chan struct{})}
	c.in.Grow(copy(c.in.Free(), input))
	if !s.listener.add(c) {
		return nil
	}
	return c
}

// Wait waits until the server has finished with the connection. Where a head has come that isn't for the server, the connection is the
// caller's again: start is when that head began, and rest what has come from there on. Otherwise start is zero, and the connection is
// closed; but with an error it is the caller's, to tell the client of that.
func (c *Conn) Wait() (rest []byte, start time.Time, err error) {
	<-c.ended
	c.mu.Lock()
	start, isAborted, isOpenEnded, isUnanswered := c.nextStart, c.isAborted, c.isOpenEnded, c.isUnanswered
	c.mu.Unlock()
	switch {
	case !start.IsZero():
		return c.in.Bytes(), start, nil
	case isAborted:
		netconn.BreakOff(c.Conn, isOpenEnded)
	case isUnanswered:
		return nil, time.Time{}, upgrade.ErrInternal
	default:
		netconn.LingerClose(c.Conn)
	}
	return nil, time.Time{}, nil
}

func (c *Conn) config() *Config { return &c.server.config }

func (c *Conn) panics() recovery.Handler { return c.server.config.Panics }

// Read implements net.Conn. While a request is served, net/http calls it on a goroutine that recovers no panic.
func (c *Conn) Read(p []byte) (n int, err error) {
	defer c.panics().Catch(room, func() { n, err = 0, c.fail() })
	return c.read(p)
}

func (c *Conn) read(p []byte) (int, error) {
	for len(c.head) == 0 && c.body.Done() {
		served, err := c.state()
		switch {
		case err != nil:
		case served != nil:
			// net/http reads while a request is served, to see whether its client goes. What comes is kept for later.
			err = c.readAhead(served)
		default:
			err = c.readHead()
		}
		if err != nil {
			return 0, err
		}
	}
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.readBody(p)
}

// state returns a channel that is closed when the request under way is over, or nil if there is none. On an error no further request is read.
//
// After an answer that was broken off, nothing more is read. net/http ends a read that is under way by a deadline in the past, once, and
// waits for the read. Where that is a read of the body, and finds its end all the same, the next one begins at once, without a deadline.
func (c *Conn) state() (served <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.isEnded(), c.isAborted:
		return nil, net.ErrClosed
	case c.fault != nil:
		return nil, c.fault
	case !c.nextStart.IsZero(), c.client.IsHTTP2 && c.hasServed:
		return nil, io.EOF
	case c.request != nil:
		return c.served, nil
	default:
		return nil, nil
	}
}

func (c *Conn) isEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// readAhead reads what comes after the request under way, or waits for the end of that where there is no room for more.
func (c *Conn) readAhead(served <-chan struct{}) error {
	if len(c.in.Free()) > 0 {
		n, err := c.Conn.Read(c.in.Free())
		c.in.Grow(n)
		if n > 0 {
			return nil
		}
		return err
	}
	c.mu.Lock()
	late := c.late
	c.mu.Unlock()
	select {
	case <-served:
		return nil
	case <-late:
		return os.ErrDeadlineExceeded
	case <-c.config().Stopped:
		return net.ErrClosed
	}
}

// readHead reads the next head. Before it the connection may be idle for as long as net/http says; the head itself has to come within
// head_timeout.
func (c *Conn) readHead() error {
	r := &Request{conn: c, Client: c.client}
	_ = c.Conn.SetWriteDeadline(time.Now().Add(IdleTimeout + c.config().HeadTimeout)) // for what crypto/tls answers to KeyUpdates
	for {
		if in := c.in.Bytes(); !bytes.HasPrefix(emptyLine, in) {
			if r.Start.IsZero() {
				c.server.idle.remove(c)
				r.Start = time.Now()
				_ = c.Conn.SetReadDeadline(r.Start.Add(c.config().HeadTimeout))
			}
			size, err := r.Parse(c.in.Bytes())
			if err != nil || size > 0 {
				return c.pass(r, size)
			}
		}
		n, err := c.Conn.Read(c.in.Free())
		c.in.Grow(n)
		if n > 0 {
			continue
		}
		if netconn.IsTimeout(err) && !r.Start.IsZero() {
			return c.pass(r, 0)
		}
		if err != nil {
			return err
		}
	}
}

// emptyLine may come before a head, which begins after it: old clients end a body with one.
var emptyLine = []byte("\r\n")

// pass gives a head to net/http, unless the head isn't for net/http. Then size is 0.
func (c *Conn) pass(r *Request, size int) error {
	if size > 0 {
		r.Route = c.config().Route(&r.Client, &r.Request)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isEnded() {
		return net.ErrClosed
	}
	if r.Route == nil {
		c.nextStart = r.Start
		return io.EOF
	}
	c.config().Identify(&r.Client, &r.Request, rand.Uint64())
	r.Refusal = c.config().Admit(r)
	r.Route = c.variantToStay(r.Route)
	r.head = append([]byte(nil), c.in.Bytes()[:size]...)
	if _, err := r.Parse(r.head); err != nil {
		panic("BUG: a head that was read once is refused")
	}
	c.in.Discard(size)
	c.head, c.body = bytes.TrimPrefix(r.head, emptyLine), r.Body() // net/http would refuse the empty line
	c.request, c.served, c.discardUntil = r, make(chan struct{}), time.Time{}
	c.bodyWait, c.bodyBytes = r.Route.WriteTimeout, 0
	return nil
}

// fail ends reading after a panic. To an error of this type, net/http sends no answer of its own.
func (c *Conn) fail() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = &net.OpError{Op: "read", Net: "tcp", Err: upgrade.ErrInternal}
	c.isUnanswered = c.body.Done()
	return c.fault
}

// current returns the request under way, or nil.
func (c *Conn) current() *Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.request
}

// blamed returns the error of reading the request under way, or nil. The answer to the request then names that error.
func (c *Conn) blamed() (fault error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isUnanswered = false
	return c.fault
}

// wait ends the request under way, and lets the connection wait for the next one, if there can be one.
func (c *Conn) wait() {
	c.finish()
	if c.client.IsHTTP2 {
		return
	}
	c.server.idle.add(c)
	c.config().IsIdle()
}

// finish ends the request under way: net/http has sent the answer and wants the next one.
func (c *Conn) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.request != nil {
		if c.request.Refusal == nil {
			c.config().Release(c.request)
		}
		c.request, c.hasServed = nil, true
		close(c.served)
	}
}

// answered notes that the request's handler has returned. net/http discards what is left of the body, unless the connection is a stream,
// whose client is told to send no more. An answer whose end is that of the connection is open-ended: if it isn't whole, only a reset tells
// the client so.
func (c *Conn) answered(isWhole, isOpenEnded bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isAborted = c.isAborted || !isWhole
	c.isOpenEnded = isOpenEnded
	c.discardUntil = time.Now()
	if !c.client.IsHTTP2 {
		c.discardUntil = c.discardUntil.Add(netconn.LingerTime)
	}
	if c.isReadingBody {
		_ = c.Conn.SetReadDeadline(c.discardUntil) // that read was for the backend, which wants no more
	}
}

// Write implements net.Conn. A client that takes nothing for write_timeout is lost. For an interim answer,
// net/http's transport calls it on a goroutine that recovers no panic.
func (c *Conn) Write(p []byte) (n int, err error) {
	defer c.panics().Catch(room, func() { n, err = 0, c.tear() })
	r := c.current()
	if r == nil {
		return c.Conn.Write(p)
	}
	_ = c.Conn.SetWriteDeadline(time.Now().Add(r.Route.WriteTimeout))
	if head := c.reopened(p); head != nil {
		if _, err := c.Conn.Write(head); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// open has the answer begin with the backend's own lines where net/http writes its status line.
func (c *Conn) open(lines []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opening = lines
}

// reopened returns what p, which net/http writes, is with the backend's own first lines in the place of its status line. It returns nil
// if the answer doesn't begin with p, or has no such lines. net/http writes a status line whole, at the start of a write.
func (c *Conn) reopened(p []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	const code = len("HTTP/1.1 ") + 3
	if len(c.opening) == 0 || len(p) < code || p[code-3] == '1' {
		return nil // an interim answer comes before
	}
	_, rest, isLine := bytes.Cut(p, []byte("\r\n"))
	if !isLine {
		return nil
	}
	head := slices.Concat(p[:code+1], c.opening, rest)
	c.opening = nil
	return head
}

// tear ends writing after a panic: how much of the answer was sent is unknown.
func (c *Conn) tear() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isAborted = true
	return upgrade.ErrInternal
}

// SetReadDeadline implements net.Conn. net/http ends a read of its own by a deadline in the past.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	isLate := false
	select {
	case <-c.late:
		isLate = true
	default:
	}
	switch wantsLate := !t.IsZero() && !t.After(time.Now()); {
	case wantsLate && !isLate:
		close(c.late)
	case !wantsLate && isLate:
		c.late = make(chan struct{})
	}
	return c.Conn.SetReadDeadline(t)
}

// Close implements net.Conn: net/http has finished with the connection, which Wait ends.
func (c *Conn) Close() error {
	c.finish()
	c.server.idle.remove(c)
	defer c.closeOwned()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isEnded() {
		return net.ErrClosed
	}
	close(c.ended)
	return c.Conn.SetReadDeadline(time.Unix(1, 0)) // ends a read that is still under way, as in a stop of the server
}
