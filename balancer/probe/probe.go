package probe

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

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
}

// Do probes b once. It returns nil if b is healthy, and blocks for the timeout at most, or until ctx
// ends. Panics is told of a panic of the connection on a goroutine of Do's own; one on the caller's
// goroutine is the caller's.
func (c *Config) Do(ctx context.Context, b Backend, panics recovery.Handler) error {
	if err := c.do(ctx, b, panics); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	return nil
}

func (c *Config) do(ctx context.Context, b Backend, panics recovery.Handler) error {
	deadline := time.Now().Add(c.Timeout.Std())
	dialCtx, cancel := context.WithDeadline(ctx, deadline)
	conn, err := b.Dial(dialCtx)
	cancel()
	if err != nil {
		return err
	}
	defer conn.Close()
	if c.Kind == TCP {
		return nil
	}
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
	host := c.Host
	if host == "" {
		host = b.Host
	}
	if c.Kind == WebSocket {
		return c.checkWebSocket(conn, r, host)
	}
	return c.checkHTTP(conn, r, host)
}
