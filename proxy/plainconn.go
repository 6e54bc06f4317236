package proxy

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"sluice/upgrade"
)

// A plainConn is a connection whose requests are plain HTTP, as net/http's server sees it. It lets pass only heads that package
// upgrade has read, one at a time: nothing reaches a backend that was read in another way than here. A head that is refused, or
// that asks for WebSocket, looks like the end of the stream to net/http; when that has finished what went before and closes the
// connection, the refusal is sent, or the handshake goes on.
type plainConn struct {
	net.Conn
	listener *listener
	first    *handshake // as which the connection began: its peer, its PROXY header
	ended    chan struct{}

	// Owned by whoever reads: net/http sees to it that there is one at a time.
	in   upgrade.Buffer
	body upgrade.Body // of the request that was let pass last
	head []byte       // what is left of its head for net/http

	mu sync.Mutex

	request   *plainRequest // guarded by mu; being served: the next head has to wait
	served    chan struct{} // guarded by mu; closed when request is over
	rejection error         // guarded by mu; what the next head got
	takesOver bool          // guarded by mu; the next head asks for WebSocket
	aborted   chan struct{} // guarded by mu; closed when a read is to return
}

// A plainRequest is one request for the plain path.
type plainRequest struct {
	upgrade.Request
	text   []byte // the head
	route  *route
	client clientInfo
	start  time.Time
}

func newPlainConn(h *handshake) *plainConn {
	c := &plainConn{Conn: h.client, listener: h.listener, first: h, ended: make(chan struct{}), aborted: make(chan struct{})}
	c.in.Grow(copy(c.in.Free(), h.memory.FromClient.Bytes()))
	return c
}

// Read implements net.Conn.
func (c *plainConn) Read(p []byte) (int, error) {
	for len(c.head) == 0 && c.body.Done() {
		if served := c.serving(); served != nil {
			// net/http reads while a request is served, to see whether its client goes. What comes is kept for later.
			if err := c.wait(served); err != nil {
				return 0, err
			}
			continue
		}
		if err := c.readHead(); err != nil {
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

// serving returns a channel that is closed when the request under way is over; nil: there is none.
func (c *plainConn) serving() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.request == nil {
		return nil
	}
	return c.served
}

// wait reads ahead until the request under way is over.
func (c *plainConn) wait(served <-chan struct{}) error {
	if len(c.in.Free()) > 0 {
		n, err := c.Conn.Read(c.in.Free())
		c.in.Grow(n)
		if n > 0 {
			return nil
		}
		return err
	}
	c.mu.Lock()
	aborted := c.aborted
	c.mu.Unlock()
	select {
	case <-served:
		return nil
	case <-aborted:
		return os.ErrDeadlineExceeded
	}
}

// readHead reads and checks the next head.
func (c *plainConn) readHead() error {
	r := &plainRequest{start: time.Now()}
	for {
		if len(c.in.Bytes()) > 0 {
			size, err := r.Parse(c.in.Bytes())
			if err != nil {
				return c.endWith(err, false)
			}
			if size > 0 {
				return c.letPass(r, size)
			}
		}
		n, err := c.Conn.Read(c.in.Free())
		c.in.Grow(n)
		if n == 0 && err != nil {
			return err
		}
	}
}

// letPass gives a head to net/http, unless it is another's business.
func (c *plainConn) letPass(r *plainRequest, size int) error {
	p := c.listener.proxy
	r.client = c.listener.clientOf(c.first.peer, &r.Request)
	r.client.requestID = formatID(rand.Uint64())
	r.route = p.routes.Load().find(c.listener.name, r.Hostname(), r.Path())
	switch {
	case r.IsWebSocket():
		return c.endWith(nil, true)
	case c.listener.redirectsHTTPS:
		return c.endWith(redirection(&r.Request), false)
	case r.route == nil:
		return c.endWith(upgrade.ErrNoRoute, false)
	case !r.route.passesHTTP:
		return c.endWith(upgrade.ErrNotWebSocket, false)
	case r.IsEncodedSlash() && !r.route.passesEncodedSlash:
		return c.endWith(upgrade.ErrEncodedSlash, false)
	}
	r.text = append([]byte(nil), c.in.Bytes()[:size]...)
	if _, err := r.Parse(r.text); err != nil {
		panic("BUG: a head that was read once is refused")
	}
	c.in.Discard(size)
	c.head, c.body = r.text, r.Body()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.request, c.served = r, make(chan struct{})
	return nil
}

// endWith makes the connection end, for net/http.
func (c *plainConn) endWith(rejection error, takesOver bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rejection, c.takesOver = rejection, takesOver
	return io.EOF
}

// readBody reads on in the body of the request.
func (c *plainConn) readBody(p []byte) (int, error) {
	if len(c.in.Bytes()) > 0 {
		n, err := c.body.Scan(c.in.Bytes()[:min(len(p), len(c.in.Bytes()))])
		copy(p, c.in.Bytes()[:n])
		c.in.Discard(n)
		return n, err
	}
	// What is behind the body has to find room in the buffer.
	p = p[:min(len(p), len(c.in.Free()))]
	if r := c.current(); r != nil {
		_ = c.Conn.SetReadDeadline(time.Now().Add(r.route.writeTimeout))
	}
	n, err := c.Conn.Read(p)
	k, scanErr := c.body.Scan(p[:n])
	c.in.Grow(copy(c.in.Free(), p[k:n]))
	if scanErr != nil || c.body.Done() {
		err = scanErr
	}
	return k, err
}

// current returns the request under way.
func (c *plainConn) current() *plainRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.request
}

// finish ends the request under way.
func (c *plainConn) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.request != nil {
		c.request = nil
		close(c.served)
	}
}

// Write implements net.Conn. A client that takes nothing for write_timeout is lost.
func (c *plainConn) Write(p []byte) (int, error) {
	if r := c.current(); r != nil {
		_ = c.Conn.SetWriteDeadline(time.Now().Add(r.route.writeTimeout))
	}
	return c.Conn.Write(p)
}

// SetReadDeadline implements net.Conn. net/http ends a read of its own by a deadline in the past.
func (c *plainConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	if !t.IsZero() && t.Before(time.Now()) {
		close(c.aborted)
		c.aborted = make(chan struct{})
	}
	c.mu.Unlock()
	return c.Conn.SetReadDeadline(t)
}

// CloseWrite is what net/http calls before it closes a connection whose input it has not read.
func (c *plainConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.New("connection cannot be half-closed")
}

// Close implements net.Conn: net/http is through with the connection.
func (c *plainConn) Close() error {
	c.finish()
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.ended:
		return net.ErrClosed
	default:
	}
	if !c.takesOver && c.rejection == nil {
		_ = c.Conn.Close()
	}
	close(c.ended)
	return nil
}

// servePlain serves requests by net/http until one of them isn't for it, or the connection ends. nil: that one asks for WebSocket,
// and what has come of it is in the handshake's buffer.
func (h *handshake) servePlain() error {
	_ = h.client.SetReadDeadline(time.Time{})
	c := newPlainConn(h)
	if !h.listener.plain.give(h.proxy.ctx, c) {
		return errClientLost
	}
	<-c.ended
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.takesOver {
		if c.rejection == nil {
			return errServed
		}
		return c.rejection
	}
	h.memory.FromClient.Reset()
	h.memory.FromClient.Grow(copy(h.memory.FromClient.Free(), c.in.Bytes()))
	h.memory.Request.Reset()
	h.id = rand.Uint64()
	h.start = time.Now()
	_ = h.client.SetDeadline(time.Time{})
	return nil
}

// servePlain runs net/http's server until the proxy ends.
func (l *listener) servePlain() {
	server := l.plainServer()
	stop := context.AfterFunc(l.proxy.ctx, func() { _ = server.Close() })
	defer stop()
	_ = server.Serve(l.plain) // always an error: the listener's end
}

// A plainListener hands connections to net/http's server.
type plainListener struct {
	conns chan net.Conn
	addr  net.Addr
	done  chan struct{}
	once  sync.Once
}

func newPlainListener(addr net.Addr) *plainListener {
	return &plainListener{conns: make(chan net.Conn), addr: addr, done: make(chan struct{})}
}

// give hands a connection over; false: the server has ended.
func (l *plainListener) give(ctx context.Context, c net.Conn) bool {
	select {
	case l.conns <- c:
		return true
	case <-l.done:
	case <-ctx.Done():
	}
	return false
}

// Accept implements net.Listener.
func (l *plainListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *plainListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener.
func (l *plainListener) Addr() net.Addr { return l.addr }
