package proxy

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"sluice/internal/netconn"
	"sluice/internal/recovery"
	"sluice/upgrade"

	"sluice/proxy/reach"
	"sluice/proxy/route"
)

// A plainConn is a connection whose requests are plain HTTP, as net/http's server sees it. It lets pass only heads that package
// upgrade has read, and each only when net/http has finished what went before: nothing reaches a backend that was read in another
// way than here. A head that isn't for net/http looks to it like the end of the stream; when it has closed the connection, the
// handshake goes on with that head, to a session or to a refusal.
type plainConn struct {
	net.Conn
	listener *listener
	first    *handshake    // that waits meanwhile: whose connection it is
	ended    chan struct{} // closed when net/http is through with the connection

	// Owned by whoever reads: net/http sees to it that there is one at a time.
	in   upgrade.Buffer
	body upgrade.Body // of the request that was let pass last
	head []byte       // what is left of its head for net/http

	mu sync.Mutex

	request       *plainRequest // guarded by mu; being served: the next head has to wait
	isUntold      bool          // guarded by mu; fault is a panic after the body of the request, and not its answer
	served        chan struct{} // guarded by mu; closed when request is over
	late          chan struct{} // guarded by mu; closed while the deadline for reading is in the past
	fault         error         // guarded by mu; that request's body is malformed, or reading it panicked
	next          time.Time     // guarded by mu; when a head that isn't for net/http began; zero: there is none
	discards      time.Time     // guarded by mu; until when what is left of its body is read, of which nobody wants more; zero: somebody does
	isReadingBody bool          // guarded by mu; a part of its body is waited for
	isAborted     bool          // guarded by mu; an answer was broken off
}

// A plainRequest is one request for the plain path.
type plainRequest struct {
	upgrade.Request
	text   []byte // the head
	route  *route.Route
	client reach.Client
	start  time.Time
}

// servePlain serves requests by net/http until one of them isn't for it, or the connection ends. nil: there is such a one, and what
// has come of it is in the handshake's buffer.
func (h *handshake) servePlain() error {
	_ = h.client.SetReadDeadline(time.Time{})
	netconn.KeepAlive(netconn.Socket(h.client))
	c := &plainConn{Conn: h.client, listener: h.listener, first: h, ended: make(chan struct{}), late: make(chan struct{})}
	c.in.Grow(copy(c.in.Free(), h.memory.FromClient.Bytes()))
	if !h.listener.plain.give(c) {
		return upgrade.ErrDraining
	}
	// It may last, and needs none of this.
	h.proxy.memory.Put(h.memory)
	<-c.ended
	h.memory = h.proxy.memory.Get()

	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.next.IsZero():
		h.memory.FromClient.Grow(copy(h.memory.FromClient.Free(), c.in.Bytes()))
		h.id, h.start = rand.Uint64(), c.next
		_ = h.client.SetDeadline(h.start.Add(h.listener.headTimeout))
		return nil
	case c.isAborted:
		netconn.Cut(h.client)
	case c.isUntold:
		return upgrade.ErrInternal
	default:
		netconn.LingerClose(h.client)
	}
	return errServed
}

func (c *plainConn) panics() recovery.Handler { return c.listener.proxy.panics }

// Read implements net.Conn. While a request is served, net/http calls it on a goroutine that recovers no panic.
func (c *plainConn) Read(p []byte) (n int, err error) {
	defer c.panics().Catch(room, func() { n, err = 0, c.fail() })
	return c.read(p)
}

func (c *plainConn) read(p []byte) (int, error) {
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

// state returns a channel that is closed when the request under way is over; nil: there is none. The error says that no further one
// is read.
func (c *plainConn) state() (served <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.isEnded():
		return nil, net.ErrClosed
	case c.fault != nil:
		return nil, c.fault
	case !c.next.IsZero():
		return nil, io.EOF
	case c.request != nil:
		return c.served, nil
	default:
		return nil, nil
	}
}

func (c *plainConn) isEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// readAhead reads what comes behind the request under way, or waits for the end of that where there is no room for more.
func (c *plainConn) readAhead(served <-chan struct{}) error {
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
	}
}

// readHead reads the next head. The connection may be idle before it as long as net/http says; the head itself has head_timeout.
func (c *plainConn) readHead() error {
	r := new(plainRequest)
	for {
		if len(c.in.Bytes()) > 0 {
			if r.start.IsZero() {
				r.start = time.Now()
				_ = c.Conn.SetReadDeadline(r.start.Add(c.listener.headTimeout))
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
		if netconn.IsTimeout(err) && !r.start.IsZero() {
			return c.pass(r, 0)
		}
		if err != nil {
			return err
		}
	}
}

// pass gives a head to net/http, unless it isn't for that; size 0: it is none.
func (c *plainConn) pass(r *plainRequest, size int) error {
	if size > 0 {
		r.route = c.listener.plainRoute(&r.Request)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isEnded() {
		return net.ErrClosed
	}
	if r.route == nil {
		c.next = r.start
		return io.EOF
	}
	r.client = c.first.from
	c.listener.identify(&r.client, &r.Request, rand.Uint64())
	r.text = append([]byte(nil), c.in.Bytes()[:size]...)
	if _, err := r.Parse(r.text); err != nil {
		panic("BUG: a head that was read once is refused")
	}
	c.in.Discard(size)
	c.head, c.body = r.text, r.Body()
	c.request, c.served, c.discards = r, make(chan struct{}), time.Time{}
	return nil
}

// readBody reads on in the body of the request.
func (c *plainConn) readBody(p []byte) (n int, err error) {
	if err := c.beginBodyRead(); err != nil {
		return 0, err
	}
	defer c.endBodyRead()
	if len(c.in.Bytes()) > 0 {
		n, err = c.body.Scan(c.in.Bytes()[:min(len(p), len(c.in.Bytes()))])
		copy(p, c.in.Bytes()[:n])
		c.in.Discard(n)
		return n, c.blame(err)
	}
	// What is behind the body has to find room in the buffer.
	p = p[:min(len(p), len(c.in.Free()))]
	got, err := c.Conn.Read(p)
	n, scanErr := c.body.Scan(p[:got])
	c.in.Grow(copy(c.in.Free(), p[n:got]))
	if scanErr != nil || c.body.Done() {
		err = scanErr
	}
	return n, c.blame(err)
}

// beginBodyRead says how long the next part of a body may take to come. The error says that none is read.
func (c *plainConn) beginBodyRead() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.fault != nil:
		return c.fault
	case c.request == nil:
		return net.ErrClosed
	}
	until := c.discards
	if until.IsZero() {
		until = time.Now().Add(c.request.route.WriteTimeout)
	}
	c.isReadingBody = true
	return c.Conn.SetReadDeadline(until)
}

func (c *plainConn) endBodyRead() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isReadingBody = false
}

// blame notes a malformed body, for the answer.
func (c *plainConn) blame(err error) error {
	if errors.Is(err, upgrade.ErrBadChunk) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.fault = errBadBody
	}
	return err
}

// errBadBody is what a client is told whose chunks are malformed.
var errBadBody = &upgrade.Rejection{Status: http.StatusBadRequest, Reason: "bad_chunk", Text: "a chunk of the request's body is malformed"}

// fail ends reading after a panic. To an error of this type, net/http sends no answer of its own.
func (c *plainConn) fail() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = &net.OpError{Op: "read", Net: "tcp", Err: upgrade.ErrInternal}
	c.isUntold = c.body.Done()
	return c.fault
}

// current returns the request under way; nil: there is none.
func (c *plainConn) current() *plainRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.request
}

// blamed returns what is wrong with reading the request under way, as its answer; nil: nothing.
func (c *plainConn) blamed() (fault error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isUntold = false
	return c.fault
}

// finish ends the request under way: net/http has sent the answer and wants the next one.
func (c *plainConn) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.request != nil {
		c.request = nil
		close(c.served)
	}
}

// answered notes that the request's handler is done. net/http discards what is left of the body. An answer that was broken off the
// client can tell only by a reset.
func (c *plainConn) answered(isWhole bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isAborted = c.isAborted || !isWhole
	c.discards = time.Now().Add(netconn.LingerTime)
	if c.isReadingBody {
		_ = c.Conn.SetReadDeadline(c.discards) // that read was for the backend, which wants no more
	}
}

// Write implements net.Conn. A client that takes nothing for write_timeout is lost. For an interim answer,
// net/http's transport calls it on a goroutine that recovers no panic.
func (c *plainConn) Write(p []byte) (n int, err error) {
	defer c.panics().Catch(room, func() { n, err = 0, c.tear() })
	if r := c.current(); r != nil {
		_ = c.Conn.SetWriteDeadline(time.Now().Add(r.route.WriteTimeout))
	}
	return c.Conn.Write(p)
}

// tear ends writing after a panic: how much of the answer was sent is unknown.
func (c *plainConn) tear() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isAborted = true
	return upgrade.ErrInternal
}

// SetReadDeadline implements net.Conn. net/http ends a read of its own by a deadline in the past.
func (c *plainConn) SetReadDeadline(t time.Time) error {
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

// Close implements net.Conn: net/http is through with the connection, whose end is the handshake's business.
func (c *plainConn) Close() error {
	c.finish()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isEnded() {
		return net.ErrClosed
	}
	close(c.ended)
	return c.Conn.SetReadDeadline(time.Unix(1, 0)) // who reads still, by a stop of the server, stops too
}
