package probe

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"sluice/internal/netconn"
	"sluice/internal/recovery"
)

// maxBytes bounds what a probe reads of a backend.
const maxBytes = 64 << 10

// room is the name that a handler of panics is told: a probe is a part of its pool.
const room = "balancer"

// readers keeps the buffers of 1,000 backends' probes from being garbage each five seconds.
var readers = sync.Pool{New: func() any { return bufio.NewReader(nil) }}

// A Backend is what is probed.
type Backend struct {
	// Dial connects to the backend; the probe owns the connection.
	Dial func(ctx context.Context) (net.Conn, error)
	// Host is that of the request if the configuration names none.
	Host string
	// IsHTTP2: it speaks HTTP/2. Scheme is that of its requests then, "http" or "https".
	IsHTTP2 bool
	Scheme  string
}

// Do probes b once. It returns nil if b is healthy, and blocks for the timeout at most, or until ctx
// ends. Panics is told of a panic of the connection on a goroutine of Do's own; one on the caller's
// goroutine is the caller's.
func (c *Config) Do(ctx context.Context, b Backend, panics recovery.Handler) error {
	host := c.Host
	if host == "" {
		host = b.Host
	}
	return b.use(ctx, c.Timeout.Std(), panics, func(conn net.Conn, r *bufio.Reader) error {
		switch {
		case c.Kind == TCP:
			return nil
		case b.IsHTTP2:
			return c.checkStream(conn, r, b.Scheme, host)
		case c.Kind == WebSocket:
			return c.checkWebSocket(conn, r, host)
		default:
			return c.checkHTTP(conn, r, host)
		}
	})
}

// Responds returns nil if b shows any reaction to a request: an answer of any status, or an end of the
// connection. A backend that is stopped accepts connections and shows none. It blocks like Do.
func Responds(ctx context.Context, timeout time.Duration, b Backend, panics recovery.Handler) error {
	return b.use(ctx, timeout, panics, func(conn net.Conn, r *bufio.Reader) error {
		if b.IsHTTP2 {
			s, err := openStream(conn, r, b.Scheme, b.Host, "/", false)
			if err == nil {
				_, err = s.answer()
			}
			if netconn.IsTimeout(err) {
				return fmt.Errorf("no reaction to a request within %v", timeout)
			}
			return nil
		}
		if err := writeRequest(conn, "/", b.Host, "Connection: close\r\n"); err != nil && !netconn.IsTimeout(err) {
			return nil
		}
		if _, err := r.ReadByte(); netconn.IsTimeout(err) {
			return fmt.Errorf("no reaction to a request within %v", timeout)
		}
		return nil
	})
}

// use connects to b and calls check with the connection. It blocks for the timeout at most, or until ctx
// ends.
func (b Backend) use(ctx context.Context, timeout time.Duration, panics recovery.Handler, check func(net.Conn, *bufio.Reader) error) error {
	deadline := time.Now().Add(timeout)
	dialCtx, cancel := context.WithDeadline(ctx, deadline)
	conn, err := b.Dial(dialCtx)
	cancel()
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(deadline)
	// A read from a silent backend ends with ctx, too.
	defer context.AfterFunc(ctx, func() {
		panics.Guard(room, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	})()
	r := readers.Get().(*bufio.Reader)
	r.Reset(io.LimitReader(conn, maxBytes))
	defer func() {
		r.Reset(nil)
		readers.Put(r)
	}()
	return check(conn, r)
}
