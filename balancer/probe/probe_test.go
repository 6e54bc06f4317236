package probe

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"

	"sluice/internal/units"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen serves each connection to a listener on loopback until the test ends.
func listen(t testing.TB, network, address string, serve func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() { _ = ln.Close(); serving.Wait() })
	if network == "unix" {
		return "unix:" + address
	}
	return ln.Addr().String()
}

// answering reads a request's head, answers text, and waits for the end.
func answering(text string) func(net.Conn) {
	return func(conn net.Conn) {
		readHead(conn)
		_, _ = io.WriteString(conn, text)
		_, _ = io.Copy(io.Discard, conn)
	}
}

func readHead(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		if line, err := lines.ReadString('\n'); err != nil || line == "\r\n" {
			return
		}
	}
}

// echoing is a backend that speaks WebSocket; frames are sent before it reads any.
func echoing(frames ...ws.Frame) func(net.Conn) {
	return func(conn net.Conn) {
		if _, err := ws.Upgrade(conn); err != nil {
			return
		}
		for _, f := range frames {
			_ = ws.WriteFrame(conn, f)
		}
		for {
			header, err := ws.ReadHeader(conn)
			if err != nil || header.Length > 125 {
				return
			}
			payload := make([]byte, header.Length)
			if _, err := io.ReadFull(conn, payload); err != nil {
				return
			}
			ws.Cipher(payload, header.Mask, 0)
			switch header.OpCode {
			case ws.OpPing:
				_ = ws.WriteFrame(conn, ws.NewPongFrame(payload))
			case ws.OpClose:
				_ = ws.WriteFrame(conn, ws.NewCloseFrame(payload))
				return
			}
		}
	}
}

// silent accepts and never answers.
func silent(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// probeOnce probes one backend of that address.
func probeOnce(t *testing.T, c Config, address string) error {
	t.Helper()
	if c.Timeout == 0 {
		c.Timeout = units.Duration(5 * time.Second)
	}
	return c.Do(t.Context(), backendAt(address), nil)
}

// backendAt returns the backend at an address, "host:port" or "unix:/path".
func backendAt(address string) Backend {
	network, host := "tcp", address
	if path, isUnix := strings.CutPrefix(address, "unix:"); isUnix {
		network, address = "unix", path
	}
	return Backend{Host: host, Dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}}
}

// refused is an address that refuses connections: the kernel never chooses its port for a listener.
const refused = "127.0.0.1:1"

func TestProbes(t *testing.T) {
	const loopback = "127.0.0.1:0"
	chatty := []ws.Frame{ws.NewTextFrame([]byte("hello")), ws.NewPingFrame([]byte("you?")), ws.NewPongFrame([]byte("another!"))}
	for _, test := range []struct {
		name    string
		config  Config
		address string
		want    string // in the error; empty: healthy
	}{
		{"tcp", Config{Kind: TCP}, listen(t, "tcp", loopback, silent), ""},
		{"tcp, a unix socket", Config{Kind: TCP}, listen(t, "unix", filepath.Join(t.TempDir(), "s"), silent), ""},
		{"tcp, a refused connection", Config{Kind: TCP}, refused, "refused"},
		{"http", Config{Kind: HTTP, Path: "/"}, listen(t, "tcp", loopback, answering("HTTP/1.1 204 No Content\r\n\r\n")), ""},
		{"http, an interim answer first", Config{Kind: HTTP, Path: "/"},
			listen(t, "tcp", loopback, answering("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")), ""},
		{"http, 503", Config{Kind: HTTP, Path: "/"}, listen(t, "tcp", loopback, answering("HTTP/1.1 503 No\r\n\r\n")), "answer 503"},
		{"http, an expected status", Config{Kind: HTTP, Path: "/", Status: []int{404, 418}},
			listen(t, "tcp", loopback, answering("HTTP/1.1 418 Teapot\r\n\r\n")), ""},
		{"http, another than expected", Config{Kind: HTTP, Path: "/", Status: []int{404}},
			listen(t, "tcp", loopback, answering("HTTP/1.1 200 OK\r\n\r\n")), "answer 200"},
		{"http, not HTTP", Config{Kind: HTTP, Path: "/"}, listen(t, "tcp", loopback, answering("SSH-2.0\r\n\r\n")), "malformed"},
		{"http, an endless head", Config{Kind: HTTP, Path: "/"},
			listen(t, "tcp", loopback, answering("HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 1<<17))), "read the answer"},
		{"http, nothing but interim answers", Config{Kind: HTTP, Path: "/"},
			listen(t, "tcp", loopback, answering(strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 100))), "interim"},
		{"http, a black hole", Config{Kind: HTTP, Path: "/", Timeout: units.Duration(50 * time.Millisecond)},
			listen(t, "tcp", loopback, silent), "timeout"},
		{"websocket", Config{Kind: WebSocket, Path: "/"}, listen(t, "tcp", loopback, echoing()), ""},
		{"websocket, other frames before the pong", Config{Kind: WebSocket, Path: "/"}, listen(t, "tcp", loopback, echoing(chatty...)), ""},
		{"websocket, closed before the pong", Config{Kind: WebSocket, Path: "/"},
			listen(t, "tcp", loopback, echoing(ws.NewCloseFrame(nil))), "closed"},
		{"websocket, too many frames", Config{Kind: WebSocket, Path: "/"},
			listen(t, "tcp", loopback, echoing(repeat(ws.NewTextFrame([]byte("spam")), 100)...)), "too many"},
		{"websocket, a frame without end", Config{Kind: WebSocket, Path: "/"},
			listen(t, "tcp", loopback, echoing(ws.NewBinaryFrame(make([]byte, 1<<17)))), "EOF"},
		{"websocket, 404", Config{Kind: WebSocket, Path: "/"}, listen(t, "tcp", loopback, answering("HTTP/1.1 404 No\r\n\r\n")), "answer 404"},
		{"websocket, another key", Config{Kind: WebSocket, Path: "/"},
			listen(t, "tcp", loopback, answering("HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n")), "another key"},
		{"websocket, a handshake that is not answered", Config{Kind: WebSocket, Path: "/", Timeout: units.Duration(50 * time.Millisecond)},
			listen(t, "tcp", loopback, silent), "timeout"},
		{"websocket, no pong", Config{Kind: WebSocket, Path: "/", Timeout: units.Duration(50 * time.Millisecond)},
			listen(t, "tcp", loopback, func(conn net.Conn) { _, _ = ws.Upgrade(conn); silent(conn) }), "pong"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := probeOnce(t, test.config, test.address)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("probe = %v; want healthy", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("probe = %v; want an error with %q", err, test.want)
			}
		})
	}
}

func repeat(f ws.Frame, n int) []ws.Frame {
	frames := make([]ws.Frame, n)
	for i := range frames {
		frames[i] = f
	}
	return frames
}

func TestProbeRequest(t *testing.T) {
	for _, kind := range []string{HTTP, WebSocket} {
		heads := make(chan *http.Request, 1)
		backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { heads <- r }))
		t.Cleanup(backend.Close)
		address := backend.Listener.Addr().String()
		_ = probeOnce(t, Config{Kind: kind, Path: "/health?deep=1", Host: "chat.example.com"}, address)
		if r := <-heads; r.Host != "chat.example.com" || r.RequestURI != "/health?deep=1" {
			t.Errorf("%s: a request for %s of %s", kind, r.RequestURI, r.Host)
		}
		_ = probeOnce(t, Config{Kind: kind, Path: "/"}, address)
		if r := <-heads; r.Host != address {
			t.Errorf("%s: Host %s; want the address %s", kind, r.Host, address)
		}
	}
}

func TestCanceledProbeDoesNotWaitForASilentBackend(t *testing.T) {
	accepted := make(chan struct{}, 10)
	address := listen(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
		accepted <- struct{}{}
		silent(conn)
	})
	c := Config{Kind: WebSocket, Path: "/", Timeout: units.Duration(time.Minute)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Do(ctx, backendAt(address), nil) }()
	<-accepted
	cancel()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("a probe that was cut short found the backend healthy")
		}
	case <-time.After(10 * time.Second):
		t.Error("the probe goes on 10s after its end")
	}
}
