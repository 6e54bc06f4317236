package echo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"sluice/internal/echo"
)

// patience is the time limit of any wait in a test.
const patience = 20 * time.Second

// engines are those that one suite tests. A listener without a descriptor gets one goroutine per connection on any system.
var engines = map[string]func(net.Listener) net.Listener{
	"loop":      func(ln net.Listener) net.Listener { return ln },
	"goroutine": func(ln net.Listener) net.Listener { return struct{ net.Listener }{ln} },
}

// server is a running echo backend.
type server struct {
	addr string
	stop func() // ends it and waits; a test fails where Serve does
}

func start(t *testing.T, wrap func(net.Listener) net.Listener, o echo.Options) server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	errc := make(chan error, 1)
	go func() { errc <- echo.Serve(ctx, wrap(ln), o) }()
	var s server
	s.addr = ln.Addr().String()
	s.stop = func() {
		cancel()
		select {
		case err := <-errc:
			errc <- nil // for the next call
			if err != nil {
				t.Errorf("Serve = %v", err)
			}
		case <-time.After(patience):
			t.Error("Serve doesn't end with its context")
		}
	}
	t.Cleanup(s.stop)
	return s
}

func eachEngine(t *testing.T, o echo.Options, test func(t *testing.T, addr string)) {
	for name, wrap := range engines {
		t.Run(name, func(t *testing.T) { test(t, start(t, wrap, o).addr) })
	}
}

// client is a raw connection on which each wait has a time limit.
type client struct {
	net.Conn
	t *testing.T
}

func connect(t *testing.T, addr string) *client {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &client{c, t}
}

func dial(t *testing.T, addr, path string) *client {
	t.Helper()
	c := connect(t, addr)
	c.write([]byte(request(path, "")))
	c.wantStatus(101)
	return c
}

func request(path, fields string) string {
	return fmt.Sprintf("GET %s HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n", path, fields)
}

func (c *client) write(p []byte) {
	c.t.Helper()
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.Write(p); err != nil {
		c.t.Fatalf("write %d bytes: %v", len(p), err)
	}
}

// wantStatus reads a response's head and its body, if it has one.
func (c *client) wantStatus(want int) (body string) {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	var head []byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		var b [1]byte
		if _, err := io.ReadFull(c, b[:]); err != nil {
			c.t.Fatalf("read the head: %v; got %q", err, head)
		}
		head = append(head, b[0])
	}
	if !bytes.HasPrefix(head, fmt.Appendf(nil, "HTTP/1.1 %d %s\r\n", want, http.StatusText(want))) {
		c.t.Fatalf("got %q; want status %d", head, want)
	}
	if want == 101 {
		if !bytes.Contains(head, []byte("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n")) {
			c.t.Fatalf("wrong Sec-WebSocket-Accept in %q", head) // the example of RFC 6455 section 1.3
		}
		return ""
	}
	return string(c.readAll())
}

func (c *client) want(want []byte) {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		c.t.Fatalf("got %.80x, %v; want %.80x", got[:n], err, want)
	}
}

func (c *client) wantFrame(f ws.Frame) {
	c.t.Helper()
	c.want(ws.MustCompileFrame(f))
}

// readAll reads up to a clean end.
func (c *client) readAll() []byte {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	p, err := io.ReadAll(c)
	if err != nil {
		c.t.Errorf("read to the end: %v; got %.80x", err, p)
	}
	return p
}

// readToEnd reads up to an end of any kind.
func (c *client) readToEnd() []byte {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	p, err := io.ReadAll(c)
	if isTimeout(err) {
		c.t.Error("the connection doesn't end")
	}
	return p
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// masked returns the bytes of f as a client sends it, and does not change f.
func masked(f ws.Frame) []byte {
	f.Payload = bytes.Clone(f.Payload)
	return ws.MustCompileFrame(ws.MaskFrame(f))
}

func randomBytes(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(rand.Uint32())
	}
	return p
}
