package proxy

import (
	"io"
	"net"
	"sync"
	"sync/atomic"

	"sluice/proxy/driver"
	"sluice/proxy/h2"
	"sluice/proxy/h2/http1"
	"sluice/upgrade"
)

// A streamConn is a client's stream of HTTP/2 as a connection of HTTP/1.1 that carries one request, for steps that a goroutine executes. The
// head of the request has been written by http1.AppendRequest; Read returns the body as that head frames it. Write takes one response.
//
// After the body, Read waits for the client's reset. The end of the stream is that of the request alone, and a client that has gone resets.
type streamConn struct {
	net.Conn
	stream      lentStream
	isWebSocket bool
	isEnded     atomic.Bool // the response is complete
	isClosing   atomic.Bool // CloseWrite was called

	body http1.Body // owned by the goroutine that reads

	mu sync.Mutex

	response http1.Response // guarded by mu
}

// A lentStream is what a streamConn needs of a driver.StreamConn.
type lentStream interface {
	net.Conn
	http1.Stream
	AwaitReset() error
	Reset(code h2.Code)
}

var _ lentStream = (*driver.StreamConn)(nil)

// newStreamConn returns the connection for a stream that was lent. r is its request, which may have a fault.
func newStreamConn(stream lentStream, r *upgrade.Request) *streamConn {
	return &streamConn{
		Conn: stream, stream: stream, isWebSocket: r.IsWebSocket(), body: http1.RequestBody(r),
		response: http1.Response{IsHead: string(r.Method()) == "HEAD", IsConnect: r.IsWebSocket()},
	}
}

// Read implements net.Conn. After CloseWrite it returns io.EOF: what a client still sends is refused, not waited for.
func (c *streamConn) Read(p []byte) (n int, err error) {
	if c.isClosing.Load() {
		return 0, io.EOF
	}
	if !c.body.IsDone() {
		if n, err = c.body.Read(c.stream, p); n > 0 || err != io.EOF || c.isWebSocket {
			return n, err
		}
	}
	return 0, c.stream.AwaitReset()
}

// Write implements net.Conn. The stream's own direction ends with the response, or, if that has no length, with CloseWrite.
func (c *streamConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.response.Write(c.stream, p); err != nil {
		return 0, err
	}
	c.isEnded.Store(c.response.IsComplete())
	return len(p), nil
}

// CloseWrite ends the stream's own direction. If the response isn't complete, it resets the stream.
func (c *streamConn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isClosing.Store(true)
	if err := c.response.End(c.stream); err != nil {
		c.stream.Reset(h2.InternalError)
		return err
	}
	c.isEnded.Store(true)
	return nil
}

// Close implements net.Conn. After a complete response, it has the client told to send no more of its request. RFC 9113 section 8.1: "a server
// MAY request that the client abort transmission of a request without error by sending a RST_STREAM with an error code of NO_ERROR after
// sending a complete response". Otherwise it resets the stream.
func (c *streamConn) Close() error {
	if !c.isEnded.Load() && !c.isClosing.Load() && !c.isWebSocket {
		c.stream.Reset(h2.InternalError)
	}
	return c.stream.Close()
}
