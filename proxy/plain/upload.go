package plain

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"sluice/internal/netconn"
	"sluice/upgrade"
)

// minBodyBytes is how much of a request's body has to come within each write_timeout that the gateway waits for it: less is as good as
// nothing, and a client could hold a backend's place with it for ever. What is left of a body at its end may be less.
const minBodyBytes = 1 << 10

// What a client is told whose body doesn't pass.
var (
	errBadBody      = &upgrade.Rejection{Status: http.StatusBadRequest, Reason: "bad_chunk", Text: "a chunk of the request's body is malformed"}
	errBodyTimeout  = &upgrade.Rejection{Status: http.StatusRequestTimeout, Reason: "body_timeout", Text: "the request's body did not arrive in time"}
	errBodyTooLarge = &upgrade.Rejection{Status: http.StatusRequestEntityTooLarge, Reason: "body_too_large", Text: "the request's body is larger than this address accepts"}
)

// readBody reads on in the body of the request.
func (c *Conn) readBody(p []byte) (n int, err error) {
	begun := time.Now()
	if err := c.beginBodyRead(begun); err != nil {
		return 0, err
	}
	got := 0
	defer func() { err = c.endBodyRead(begun, got, err) }()
	if got = min(len(p), len(c.in.Bytes())); got > 0 {
		n, err = c.body.Scan(c.in.Bytes()[:got])
		copy(p, c.in.Bytes()[:n])
		c.in.Discard(n)
		return n, err
	}
	// What comes after the body has to find room in the buffer.
	p = p[:min(len(p), len(c.in.Free()))]
	got, err = c.Conn.Read(p)
	n, scanErr := c.body.Scan(p[:got])
	c.in.Grow(copy(c.in.Free(), p[n:got]))
	if scanErr != nil || c.body.Done() {
		err = scanErr
	}
	return n, err
}

// beginBodyRead sets how long the next part of a body may take to come. On an error none is read.
func (c *Conn) beginBodyRead(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.fault != nil:
		return c.fault
	case c.request == nil:
		return net.ErrClosed
	}
	until := c.discardUntil
	if until.IsZero() {
		until = now.Add(c.bodyWait)
	}
	c.isReadingBody = true
	return c.Conn.SetReadDeadline(until)
}

// endBodyRead accounts for what has come since begun, and returns the error of that read. It notes what the client is to be told.
func (c *Conn) endBodyRead(begun time.Time, got int, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isReadingBody = false
	c.bodyWait -= time.Since(begun)
	if c.bodyBytes += got; c.bodyBytes >= minBodyBytes && c.request != nil {
		c.bodyWait, c.bodyBytes = c.request.Route.WriteTimeout, 0
	}
	switch {
	case err == nil:
		return nil
	case c.fault != nil:
		return c.fault
	case errors.Is(err, upgrade.ErrBadChunk):
		c.fault = errBadBody
	case netconn.IsTimeout(err) && c.discardUntil.IsZero() && !c.isAborted:
		c.fault = errBodyTimeout
	}
	return err
}

// blame notes what the client of that request is told of its body, unless that is known already.
func (c *Conn) blame(r *Request, fault *upgrade.Rejection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.request == r && c.fault == nil {
		c.fault = fault
	}
}

// stopBody ends the reading of that request's body, also a read that is under way: the backend has gone without an answer.
func (c *Conn) stopBody(r *Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.request != r || c.fault != nil {
		return
	}
	c.fault = upgrade.ErrBadAnswer
	if c.isReadingBody {
		_ = c.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// A clientBody is the body of a client's request, without its framing. It is not closed with the request to a backend: another backend
// may want it. It knows who broke it off. net/http's transport reads it on a goroutine of its own, which recovers no panic.
type clientBody struct {
	io.Reader
	request   *Request
	left      int64       // that may still come; owned by the reader
	isBroken  atomic.Bool // by the client
	isStopped atomic.Bool // by the end of the backend's connection
}

func (b *clientBody) Read(p []byte) (n int, err error) {
	conn := b.request.conn
	defer conn.panics().Catch(room, func() {
		b.isBroken.Store(true)
		n, err = 0, upgrade.ErrInternal
	})
	n, err = b.Reader.Read(p)
	if b.left -= int64(n); b.left < 0 {
		conn.blame(b.request, errBodyTooLarge)
		n, err = 0, errBodyTooLarge
	}
	switch {
	case err == nil, err == io.EOF:
		return n, err
	case b.isStopped.Load(), errors.Is(err, http.ErrBodyReadAfterClose):
		return n, net.ErrClosed // the failure is the backend's, or its answer came before the end of the body
	}
	var broken net.Error
	if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, &broken) {
		conn.blame(b.request, errBadBody) // net/http has bounds of its own for what is between the chunks
	}
	b.isBroken.Store(true)
	return n, err
}

func (b *clientBody) Close() error { return nil }

// A streamBody is the body of a request for one attempt over HTTP/2, whose transport closes it when the stream has ended, and before it was
// read where the request goes to another connection.
type streamBody struct {
	*clientBody
	hasAnswer *atomic.Bool // a part of the answer has come
	hasBegun  atomic.Bool  // it was read
	hasEnded  atomic.Bool  // it was read whole, or broke off
}

func (b *streamBody) Read(p []byte) (int, error) {
	b.hasBegun.Store(true)
	n, err := b.clientBody.Read(p)
	if err != nil {
		b.hasEnded.Store(true)
	}
	return n, err
}

// Close implements io.Closer. A stream that ends without an answer while the client still sends ends the request's body.
func (b *streamBody) Close() error {
	if b.hasBegun.Load() && !b.hasEnded.Load() && !b.hasAnswer.Load() {
		b.stop()
	}
	return nil
}

// stop ends the reading of the body: the backend has gone without an answer.
func (b *clientBody) stop() {
	b.isStopped.Store(true)
	b.request.conn.stopBody(b.request)
}
