package balancer

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

	"sluice/balancer/discovery"
	"sluice/balancer/discovery/dnstest"
	"sluice/internal/units"
)

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
func probeOnce(t *testing.T, c HealthConfig, address string) error {
	t.Helper()
	pool := configOf(PolicyLeastConn, 0)
	pool.Backend = []BackendConfig{{Address: address, Weight: 1}}
	p := newPool(t, pool)
	if c.Timeout == 0 {
		c.Timeout = units.Duration(5 * time.Second)
	}
	return c.probe(t.Context(), p.members[0], Owner{Dial: dialPlain})
}

// refused is an address where nobody listens: the kernel gives its port to nobody who asks for any.
const refused = "127.0.0.1:1"

func TestProbes(t *testing.T) {
	const loopback = "127.0.0.1:0"
	chatty := []ws.Frame{ws.NewTextFrame([]byte("hello")), ws.NewPingFrame([]byte("you?")), ws.NewPongFrame([]byte("another!"))}
	for _, test := range []struct {
		name    string
		config  HealthConfig
		address string
		want    string // in the error; empty: healthy
	}{
		{"tcp", HealthConfig{Kind: ProbeTCP}, listen(t, "tcp", loopback, silent), ""},
		{"tcp, a unix socket", HealthConfig{Kind: ProbeTCP}, listen(t, "unix", filepath.Join(t.TempDir(), "s"), silent), ""},
		{"tcp, nobody listens", HealthConfig{Kind: ProbeTCP}, refused, "refused"},
		{"http", HealthConfig{Kind: ProbeHTTP, Path: "/"}, listen(t, "tcp", loopback, answering("HTTP/1.1 204 No Content\r\n\r\n")), ""},
		{"http, an interim answer first", HealthConfig{Kind: ProbeHTTP, Path: "/"},
			listen(t, "tcp", loopback, answering("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")), ""},
		{"http, 503", HealthConfig{Kind: ProbeHTTP, Path: "/"}, listen(t, "tcp", loopback, answering("HTTP/1.1 503 No\r\n\r\n")), "answer 503"},
		{"http, an expected status", HealthConfig{Kind: ProbeHTTP, Path: "/", Status: []int{404, 418}},
			listen(t, "tcp", loopback, answering("HTTP/1.1 418 Teapot\r\n\r\n")), ""},
		{"http, another than expected", HealthConfig{Kind: ProbeHTTP, Path: "/", Status: []int{404}},
			listen(t, "tcp", loopback, answering("HTTP/1.1 200 OK\r\n\r\n")), "answer 200"},
		{"http, not HTTP", HealthConfig{Kind: ProbeHTTP, Path: "/"}, listen(t, "tcp", loopback, answering("SSH-2.0\r\n\r\n")), "malformed"},
		{"http, an endless head", HealthConfig{Kind: ProbeHTTP, Path: "/"},
			listen(t, "tcp", loopback, answering("HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 1<<17))), "read the answer"},
		{"http, nothing but interim answers", HealthConfig{Kind: ProbeHTTP, Path: "/"},
			listen(t, "tcp", loopback, answering(strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 100))), "interim"},
		{"http, a black hole", HealthConfig{Kind: ProbeHTTP, Path: "/", Timeout: units.Duration(50 * time.Millisecond)},
			listen(t, "tcp", loopback, silent), "timeout"},
		{"websocket", HealthConfig{Kind: ProbeWebSocket, Path: "/"}, listen(t, "tcp", loopback, echoing()), ""},
		{"websocket, other frames before the pong", HealthConfig{Kind: ProbeWebSocket, Path: "/"}, listen(t, "tcp", loopback, echoing(chatty...)), ""},
		{"websocket, closed before the pong", HealthConfig{Kind: ProbeWebSocket, Path: "/"},
			listen(t, "tcp", loopback, echoing(ws.NewCloseFrame(nil))), "closed"},
		{"websocket, too many frames", HealthConfig{Kind: ProbeWebSocket, Path: "/"},
			listen(t, "tcp", loopback, echoing(repeat(ws.NewTextFrame([]byte("spam")), 100)...)), "too many"},
		{"websocket, a frame without end", HealthConfig{Kind: ProbeWebSocket, Path: "/"},
			listen(t, "tcp", loopback, echoing(ws.NewBinaryFrame(make([]byte, 1<<17)))), "EOF"},
		{"websocket, 404", HealthConfig{Kind: ProbeWebSocket, Path: "/"}, listen(t, "tcp", loopback, answering("HTTP/1.1 404 No\r\n\r\n")), "answer 404"},
		{"websocket, another key", HealthConfig{Kind: ProbeWebSocket, Path: "/"},
			listen(t, "tcp", loopback, answering("HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n")), "another key"},
		{"websocket, a handshake that is not answered", HealthConfig{Kind: ProbeWebSocket, Path: "/", Timeout: units.Duration(50 * time.Millisecond)},
			listen(t, "tcp", loopback, silent), "timeout"},
		{"websocket, no pong", HealthConfig{Kind: ProbeWebSocket, Path: "/", Timeout: units.Duration(50 * time.Millisecond)},
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
	for _, kind := range []string{ProbeHTTP, ProbeWebSocket} {
		heads := make(chan *http.Request, 1)
		backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { heads <- r }))
		t.Cleanup(backend.Close)
		address := backend.Listener.Addr().String()
		_ = probeOnce(t, HealthConfig{Kind: kind, Path: "/health?deep=1", Host: "chat.example.com"}, address)
		if r := <-heads; r.Host != "chat.example.com" || r.RequestURI != "/health?deep=1" {
			t.Errorf("%s: a request for %s of %s", kind, r.RequestURI, r.Host)
		}
		_ = probeOnce(t, HealthConfig{Kind: kind, Path: "/"}, address)
		if r := <-heads; r.Host != address {
			t.Errorf("%s: Host %s; want the address %s", kind, r.Host, address)
		}
	}
}

func TestCloseDoesNotWaitForASilentBackend(t *testing.T) {
	c := configOf(PolicyLeastConn, 0)
	accepted := make(chan struct{}, 10)
	c.Backend = []BackendConfig{{Weight: 1, Address: listen(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
		accepted <- struct{}{}
		silent(conn)
	})}}
	c.Health = HealthConfig{
		Kind: ProbeWebSocket, Path: "/", Rise: 1, Fall: 1,
		Interval: units.Duration(time.Minute), Timeout: units.Duration(time.Minute),
	}
	p := newPool(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Health.probe(ctx, p.members[0], Owner{Dial: dialPlain}) }()
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

func TestRunEndsWithAllThatItStarted(t *testing.T) {
	server := dnstest.New(t)
	server.Set("echo.test", "127.0.0.1", "127.0.0.2")
	c := resolved(server, discovery.RecordsA, "echo.test:9000", "127.0.0.3:9000")
	c.Health = HealthConfig{
		Kind: ProbeTCP, Rise: 1, Fall: 1, Interval: units.Duration(time.Millisecond), Timeout: units.Duration(time.Millisecond),
	}
	p := newPool(t, c)
	ended := make(chan struct{})
	go func() {
		p.Run(t.Context(), Owner{})
		close(ended)
	}()
	until(t, "a probe", func() bool { return p.Status()[0].Failures["probe"] > 3 })
	p.Close()
	<-ended
	if _, err := p.Pick(t.Context(), requestOf(0), nil); err != ErrNone {
		t.Errorf("Pick after Close = %v; want ErrNone", err)
	}
	if err := p.Set(c); err == nil {
		t.Error("Set after Close is no error")
	}
	if err := p.Drain("127.0.0.3:9000", 0); err != nil {
		t.Fatal(err)
	}
	if err := p.Undrain("127.0.0.3:9000"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Pick(t.Context(), requestOf(0), nil); err != ErrNone {
		t.Errorf("Pick after the end of a drain of a closed pool = %v; want ErrNone", err)
	}
	p.Run(t.Context(), Owner{}) // ends at once
	p.Close()
}
