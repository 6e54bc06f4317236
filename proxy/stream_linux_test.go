package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/net/http2"

	"sluice/internal/h2test"
	"sluice/proxy/driver"
	"sluice/proxy/handshake"
	"sluice/proxy/limits"
	"sluice/proxy/session"
)

// A way is how clients of HTTP/2 reach a gateway.
type way struct {
	name   string
	secure *tls.Config
}

var ways = []way{{"plain", nil}, {"TLS", &tls.Config{InsecureSkipVerify: true}}}

// withWays runs a test with each way.
func withWays(t *testing.T, test func(t *testing.T, w way)) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			test(t, w)
		})
	}
}

// newSetup2 returns the setup of a gateway whose clients may speak HTTP/2.
func (w way) newSetup(backends ...string) *setup {
	s := newSetup("loop", backends...)
	s.Listeners[0].HTTP2 = HTTP2WebSocket
	if w.secure != nil {
		config := newTLSServer().config.Clone()
		config.NextProtos = []string{"h2", "http/1.1"}
		s.Listeners[0].TLS = tlsServer{config}
	}
	return s
}

// connect connects a client to the listener "public".
func (w way) connect(t *testing.T, g *gateway) *h2test.Conn {
	t.Helper()
	c, err := h2test.DialClient(g.address(), w.secure, h2test.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// raw connects a client whose frames the test makes.
func (w way) raw(t *testing.T, g *gateway) *h2test.Raw {
	t.Helper()
	conn, err := h2test.Dial(g.address(), w.secure)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	r := h2test.NewRaw(conn)
	if err := r.Begin(); err != nil {
		t.Fatal(err)
	}
	return r
}

// switchingTo returns the valid answer to the request of a backend's wire.
func (w *wire) switchingTo(more ...string) string {
	return head(append([]string{"HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Accept: " + acceptOf(w.field("Sec-WebSocket-Key"))}, more...)...)
}

// openStream returns both ends of a relayed session whose client is a stream.
func openStream(t *testing.T, c *h2test.Conn, backend rawBackend, more ...h2test.Field) (client, backendEnd *wire) {
	t.Helper()
	s, err := c.Open(h2test.WebSocket("gateway.test", "/", more...), false)
	if err != nil {
		t.Fatal(err)
	}
	backendEnd = backend.accept(t)
	backendEnd.send(t, backendEnd.switchingTo())
	wantStatus(t, s, 200)
	return streamWire(s), backendEnd
}

func streamWire(s *h2test.Stream) *wire {
	return &wire{Conn: s, reader: bufio.NewReader(s), isClient: true}
}

func wantStatus(t *testing.T, s *h2test.Stream, status int) *h2test.Response {
	t.Helper()
	_ = s.SetDeadline(time.Now().Add(patience))
	r, err := s.Response()
	if err != nil || r.Status != status {
		t.Fatalf("the answer %+v, %v; want %d", r, err, status)
	}
	return r
}

// wantRefused opens a stream and checks the answer.
func wantRefused(t *testing.T, c *h2test.Conn, status int, word string, fields ...h2test.Field) *h2test.Response {
	t.Helper()
	s, err := c.Open(fields, false)
	if err != nil {
		t.Fatal(err)
	}
	r := wantStatus(t, s, status)
	body, err := io.ReadAll(s)
	if err != nil || !strings.Contains(string(body), word) {
		t.Fatalf("the body of the %d is %q, %v; want %q in it", status, body, err, word)
	}
	return r
}

// wantReset checks that a stream is reset.
func wantReset(t *testing.T, s *h2test.Stream, code http2.ErrCode) {
	t.Helper()
	_ = s.SetDeadline(time.Now().Add(patience))
	_, err := s.Read(make([]byte, 1))
	var reset *h2test.ResetError
	if !errors.As(err, &reset) || reset.Code != code {
		t.Fatalf("Read = %v; want a reset with %v", err, code)
	}
}

// wantNoPlaces waits until the gateway holds places for n connections, and for nothing else.
func (g *gateway) wantPlaces(t *testing.T, connections int64) {
	t.Helper()
	eventually(t, "places given back", func() bool {
		return g.placesHeld(limits.Connections) == connections && g.placesHeld(limits.Handshakes) == 0 &&
			g.placesHeld(limits.Requests) == 0 && g.placesHeld(limits.Sessions) == 0
	})
}

func TestSessionsOverStreams(t *testing.T) {
	withWays(t, func(t *testing.T, w way) {
		backend := listenRaw(t)
		g := w.newSetup(backend.Addr().String()).run(t)
		c := w.connect(t, g)
		if !c.CanConnect() {
			t.Fatal("WebSocket isn't offered")
		}
		one, oneBackend := openStream(t, c, backend, h2test.Fields("sec-websocket-protocol", "chat", "cookie", "a=1", "cookie", "b=2", "x-forwarded-for", "1.2.3.4")...)
		for field, want := range map[string]string{
			"Connection": "Upgrade", "Upgrade": "websocket", "sec-websocket-version": "13", "Host": "gateway.test",
			"sec-websocket-protocol": "chat", "cookie": "a=1; b=2",
		} {
			if got := oneBackend.field(field); got != want {
				t.Errorf("the backend's %s is %q, want %q; its head:\n%s", field, got, want, oneBackend.head)
			}
		}
		if !strings.HasPrefix(oneBackend.head, "GET / HTTP/1.1\r\n") || strings.Contains(oneBackend.head, "1.2.3.4") {
			t.Errorf("the backend's head:\n%s", oneBackend.head)
		}
		two, twoBackend := openStream(t, c, backend)
		wantLive(t, one, oneBackend)
		wantLive(t, two, twoBackend)
		page, err := g.Sessions().Page(&session.Query{}, "", 10)
		if err != nil || len(page.Sessions) != 2 {
			t.Fatalf("%+v, %v; want 2 sessions", page, err)
		}
		for _, v := range page.Sessions {
			if v.Client.HTTP != "2" || v.Backend.HTTP != "1.1" || (v.Client.TLS != "") != (w.secure != nil) {
				t.Errorf("the session's client %+v, backend %+v", v.Client, v.Backend)
			}
		}
		if n := g.metric(t, "sluice_http2_streams_active", "listener=public"); n != 2 {
			t.Errorf("%v active streams, want 2", n)
		}
		if n := g.metric(t, "sluice_http2_connections_active", "side=client"); n != 1 {
			t.Errorf("%v active connections, want 1", n)
		}
		if n := g.placesHeld(limits.Connections); n != 1 {
			t.Errorf("%d places of connections, want 1", n)
		}
		one.send(t, one.closing(1000))
		oneBackend.wantClose(t, 1000)
		oneBackend.send(t, oneBackend.closing(1000))
		one.wantClose(t, 1000)
		one.wantEnd(t)
		wantLive(t, two, twoBackend)
		line := g.lines(t, 1)[0].ContextMap()
		if line["http"] != "2" || line["backend_http"] != "1.1" || line["status"] != int64(200) {
			t.Errorf("the access line %v", line)
		}
		twoBackend.send(t, twoBackend.closing(1000))
		two.wantClose(t, 1000)
		two.send(t, two.closing(1000))
		twoBackend.wantClose(t, 1000)
		two.wantEnd(t)
		g.wantPlaces(t, 1)
		_ = c.Close()
		g.wantPlaces(t, 0)
		g.wantIdle(t)
	})
}

func TestTheAnswerOverAStream(t *testing.T) {
	withWays(t, func(t *testing.T, w way) {
		backend := listenRaw(t)
		g := w.newSetup(backend.Addr().String()).run(t)
		s, err := w.connect(t, g).Open(h2test.WebSocket("gateway.test", "/", h2test.Fields(
			"sec-websocket-protocol", "a, b", "sec-websocket-extensions", "permessage-deflate; client_max_window_bits")...), false)
		if err != nil {
			t.Fatal(err)
		}
		b := backend.accept(t)
		b.send(t, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"+b.switchingTo("Sec-WebSocket-Protocol: b", "Sec-WebSocket-Extensions: permessage-deflate",
			"Set-Cookie: a=1", "Set-Cookie: b=2", "X-Own: yes")+b.text("with the answer"))
		r := wantStatus(t, s, 200)
		var got []string
		for _, f := range r.Fields {
			got = append(got, f.Name+"="+f.Value)
		}
		const want = "sec-websocket-protocol=b sec-websocket-extensions=permessage-deflate set-cookie=a=1 set-cookie=b=2 x-own=yes"
		if strings.Join(got, " ") != want {
			t.Errorf("the answer has %q, want %q", got, want)
		}
		streamWire(s).wantText(t, "with the answer")
	})
}

func TestFramesThatComeBeforeTheAnswerArriveOverStreams(t *testing.T) {
	withWays(t, func(t *testing.T, w way) {
		backend := listenRaw(t)
		g := w.newSetup(backend.Addr().String()).run(t)
		s, err := w.connect(t, g).Open(h2test.WebSocket("gateway.test", "/"), false)
		if err != nil {
			t.Fatal(err)
		}
		c := streamWire(s)
		c.send(t, c.text("first"))
		b := backend.accept(t)
		long := strings.Repeat("x", 60_000)
		c.send(t, c.text("second")+c.text(long)[:50_000])
		b.send(t, b.switchingTo())
		wantStatus(t, s, 200)
		c.send(t, c.text(long)[50_000:])
		b.wantText(t, "first")
		b.wantText(t, "second")
		if f := b.next(t); len(f.Payload) != len(long) {
			t.Errorf("%d bytes of the long message, want %d", len(f.Payload), len(long))
		}
		wantLive(t, c, b)
	})
}

func TestABackendOverTLSOfAStream(t *testing.T) {
	withWays(t, func(t *testing.T, w way) {
		ln, err := tls.Listen("tcp", "127.0.0.1:0", newTLSServer().config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ln.Close() })
		backend := rawBackend{ln}
		s := w.newSetup("wss://"+closedAddress(t), "wss://"+ln.Addr().String())
		s.Pools[0].TLS = func(string) *tls.Config { return &tls.Config{InsecureSkipVerify: true} }
		s.Routes[0].CloseTimeout = milliseconds(100)
		g := s.run(t)
		c := w.connect(t, g)
		for range 3 {
			one, oneBackend := openStream(t, c, backend)
			oneBackend.send(t, oneBackend.text("hello"))
			one.wantText(t, "hello")
			wantLive(t, one, oneBackend)
		}
		// What comes with the answer lies in crypto/tls.
		st, err := c.Open(h2test.WebSocket("gateway.test", "/"), false)
		if err != nil {
			t.Fatal(err)
		}
		b := backend.accept(t)
		b.send(t, b.switchingTo()+b.text("with the answer"))
		wantStatus(t, st, 200)
		streamWire(st).wantText(t, "with the answer")
		refused, err := c.Open(h2test.WebSocket("gateway.test", "/"), false)
		if err != nil {
			t.Fatal(err)
		}
		backend.accept(t).send(t, head("HTTP/1.1 403 Forbidden", "Content-Length: 3")+"no\n")
		wantStatus(t, refused, 403)
		if body, err := io.ReadAll(refused); string(body) != "no\n" || err != nil {
			t.Errorf("the body %q, %v", body, err)
		}
		gone, err := c.Open(h2test.WebSocket("gateway.test", "/"), false)
		if err != nil {
			t.Fatal(err)
		}
		b = backend.accept(t)
		if err := gone.Reset(http2.ErrCodeCancel); err != nil {
			t.Fatal(err)
		}
		b.wantGone(t)
		_ = c.Close()
		g.wantPlaces(t, 0)
		g.wantIdle(t)
	})
}

func TestWhatAStreamMayNotAskFor(t *testing.T) {
	withWays(t, func(t *testing.T, w way) {
		backend := listenRaw(t)
		s := w.newSetup(backend.Addr().String())
		s.Routes[0].Origins = []string{"https://page.test"}
		g := s.run(t)
		c := w.connect(t, g)
		ask := func(more ...string) []h2test.Field {
			return h2test.WebSocket("gateway.test", "/", h2test.Fields(more...)...)
		}
		without := func(fields []h2test.Field, name string) (rest []h2test.Field) {
			for _, f := range fields {
				if f.Name != name {
					rest = append(rest, f)
				}
			}
			return rest
		}
		with := func(fields []h2test.Field, name, value string) []h2test.Field {
			fields = without(fields, name)
			return append([]h2test.Field{{Name: name, Value: value}}, fields...)
		}
		wantRefused(t, c, 403, "Origin", ask("origin", "https://evil.test")...)
		wantRefused(t, c, 400, "Version", append(without(ask("origin", "https://page.test"), "sec-websocket-version"), h2test.Fields("sec-websocket-version", "12")...)...)
		wantRefused(t, c, 501, "", with(ask(), ":protocol", "connect-udp")...)
		wantRefused(t, c, 400, "", ask("sec-websocket-protocol", "a b")...)
		wantRefused(t, c, 400, "", with(ask(), ":path", "/a/../b")...)
		wantRefused(t, c, 400, "Host", without(ask(), ":authority")...)
		wantRefused(t, c, 400, "16 KiB", ask("x-long", strings.Repeat("x", 20_000))...)
		for name, fields := range map[string][]h2test.Field{
			"connection":        ask("connection", "upgrade"),
			"upgrade":           ask("upgrade", "websocket"),
			"transfer-encoding": ask("transfer-encoding", "chunked"),
			"no :path":          without(ask(), ":path"),
			"no :scheme":        without(ask(), ":scheme"),
			":protocol of GET":  with(ask(), ":method", "GET"),
		} {
			st, err := c.Open(fields, false)
			if err != nil {
				t.Fatal(err)
			}
			t.Log(name)
			wantReset(t, st, http2.ErrCodeProtocol)
		}
		one, oneBackend := openStream(t, c, backend, h2test.Fields("origin", "https://page.test")...)
		wantLive(t, one, oneBackend)
		// HAProxy sends the key of its client; the backend gets another.
		keyed, keyedBackend := openStream(t, c, backend, h2test.Fields("origin", "https://page.test", "sec-websocket-key", sampleKey, "sec-websocket-accept", sampleAccept)...)
		wantLive(t, keyed, keyedBackend)
		if got := keyedBackend.field("Sec-WebSocket-Key"); got == "" || strings.Contains(got, sampleKey) || keyedBackend.field("Sec-WebSocket-Accept") != "" {
			t.Errorf("the backend gets the key %q, Accept %q", got, keyedBackend.field("Sec-WebSocket-Accept"))
		}
		// No version means 13.
		st, err := c.Open(without(ask("origin", "https://page.test"), "sec-websocket-version"), false)
		if err != nil {
			t.Fatal(err)
		}
		b := backend.accept(t)
		b.send(t, b.switchingTo())
		wantStatus(t, st, 200)
		wantLive(t, streamWire(st), b)
	})
}

func TestCONNECTWithoutProtocolIsRefused(t *testing.T) {
	withWays(t, func(t *testing.T, w way) {
		backend := listenRaw(t)
		s := w.newSetup(backend.Addr().String())
		s.Routes[0].HTTP = true
		g := s.run(t)
		c := w.connect(t, g)
		wantRefused(t, c, 400, "", h2test.Fields(":method", "CONNECT", ":authority", "gateway.test:80")...)
		backend.wantNoConnection(t)
	})
}

// With "http" no WebSocket is offered, and nothing of it is accepted.
func TestRequestsOnly(t *testing.T) {
	backend := listenRaw(t)
	s := ways[0].newSetup(backend.Addr().String())
	s.Listeners[0].HTTP2 = HTTP2Requests
	g := s.run(t)
	c := ways[0].connect(t, g)
	if c.CanConnect() {
		t.Fatal("WebSocket is offered")
	}
	st, err := c.Open(h2test.WebSocket("gateway.test", "/"), false)
	if err != nil {
		t.Fatal(err)
	}
	wantReset(t, st, http2.ErrCodeProtocol)
	backend.wantNoConnection(t)
}

func TestHTTP2IsOffByDefault(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		g := newSetup(driver, closedAddress(t)).run(t)
		c := g.dial(t)
		c.send(t, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		c.wantRefusal(t, 400, "HTTP")
	})
}

// The preface may come in parts, and what isn't one is a head as ever.
func TestThePrefaceInParts(t *testing.T) {
	backend := listenRaw(t)
	s := ways[0].newSetup(backend.Addr().String())
	s.Routes[0].HTTP = false
	g := s.run(t)
	for _, size := range []int{1, 5, 16, 23} {
		conn := g.dial(t)
		first := preface[:size]
		conn.send(t, string(first))
		// The gateway has read it: another client that came after it is served.
		g.open(t, backend)
		r := h2test.NewRaw(skipping{conn.Conn, size})
		if err := r.Begin(); err != nil {
			t.Fatal(err)
		}
		if err := r.Headers(1, true, h2test.Request("GET", "gateway.test", "/")...); err != nil {
			t.Fatal(err)
		}
		if fields, _, err := r.AwaitHead(1); err != nil || fields[0].Value != "426" {
			t.Fatalf("after %d bytes of the preface: %v, %v", size, fields, err)
		}
		other := g.dial(t)
		other.send(t, string(first)+"X\r\n")
		other.wantRefusal(t, 400, "")
	}
}

// A skipping connection leaves out the first bytes that are written, which were sent before.
type skipping struct {
	net.Conn
	n int
}

func (c skipping) Write(p []byte) (int, error) {
	if strings.HasPrefix(string(p), string(preface)) {
		_, err := c.Conn.Write(p[c.n:])
		return len(p), err
	}
	return c.Conn.Write(p)
}

func TestAStreamThatEndsBeforeItsAnswer(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(s *h2test.Stream) error
	}{
		{"END_STREAM", (*h2test.Stream).CloseWrite},
		{"RST_STREAM", func(s *h2test.Stream) error { return s.Reset(http2.ErrCodeCancel) }},
		{"the connection", func(s *h2test.Stream) error { return s.Conn().Close() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			withWays(t, func(t *testing.T, w way) {
				backend := listenRaw(t)
				g := w.newSetup(backend.Addr().String()).run(t)
				c := w.connect(t, g)
				s, err := c.Open(h2test.WebSocket("gateway.test", "/"), false)
				if err != nil {
					t.Fatal(err)
				}
				b := backend.accept(t)
				if err := test.end(s); err != nil {
					t.Fatal(err)
				}
				b.wantGone(t)
				g.wantIdle(t)
				if line := g.lines(t, 1)[0].ContextMap(); line["reason"] != "client_lost" || line["http"] != "2" {
					t.Errorf("the access line %v", line)
				}
				_ = c.Close()
				g.wantPlaces(t, 0)
			})
		})
	}
}

func TestARequestThatEndsItsStreamIsNoSession(t *testing.T) {
	backend := listenRaw(t)
	g := ways[0].newSetup(backend.Addr().String()).run(t)
	c := ways[0].connect(t, g)
	s, err := c.Open(h2test.WebSocket("gateway.test", "/"), true)
	if err != nil {
		t.Fatal(err)
	}
	wantReset(t, s, http2.ErrCodeCancel)
	backend.wantNoConnection(t)
	s, err = c.Open(h2test.WebSocket("gateway.test", "/../"), true)
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, s, 400)
	g.wantPlaces(t, 1)
}

// A session's client is lost with its stream, as RST_STREAM says it, or with the connection.
func TestAStreamThatEndsInASession(t *testing.T) {
	withWays(t, func(t *testing.T, w way) {
		backend := listenRaw(t)
		s := w.newSetup(backend.Addr().String())
		s.Routes[0].CloseTimeout = milliseconds(100)
		g := s.run(t)
		c := w.connect(t, g)
		one, oneBackend := openStream(t, c, backend)
		two, twoBackend := openStream(t, c, backend)
		_, threeBackend := openStream(t, c, backend)
		if err := one.Conn.(*h2test.Stream).Reset(http2.ErrCodeCancel); err != nil {
			t.Fatal(err)
		}
		oneBackend.wantClose(t, 1001)
		if err := two.Conn.(*h2test.Stream).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		twoBackend.wantClose(t, 1001)
		_ = c.Close()
		threeBackend.wantClose(t, 1001)
		g.wantPlaces(t, 0)
	})
}

func TestLimitsAndRatesOfStreams(t *testing.T) {
	backend := listenRaw(t)
	s := ways[0].newSetup(backend.Addr().String())
	s.Listeners[0].MaxSessionsPerIP = 2
	g := s.run(t)
	c := ways[0].connect(t, g)
	openStream(t, c, backend)
	openStream(t, c, backend)
	wantRefused(t, c, 429, "sessions", h2test.WebSocket("gateway.test", "/")...)

	s = ways[0].newSetup(backend.Addr().String())
	s.Listeners[0].HandshakeRate, s.Listeners[0].HandshakeBurst = 1, 2
	g = s.run(t)
	c = ways[0].connect(t, g)
	openStream(t, c, backend)
	st, err := c.Open(h2test.WebSocket("gateway.test", "/"), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Reset(http2.ErrCodeCancel); err != nil { // it counts
		t.Fatal(err)
	}
	r := wantRefused(t, c, 429, "requests", h2test.WebSocket("gateway.test", "/")...)
	if r.Field("retry-after") == "" {
		t.Errorf("the 429 doesn't say when: %v", r.Fields)
	}

	s = ways[0].newSetup(backend.Addr().String())
	s.Listeners[0].MaxHandshakes = 2
	g = s.run(t)
	c = ways[0].connect(t, g)
	for range 2 {
		if _, err := c.Open(h2test.WebSocket("gateway.test", "/"), false); err != nil {
			t.Fatal(err)
		}
		backend.accept(t)
	}
	wantRefused(t, c, 503, "handshakes", h2test.WebSocket("gateway.test", "/")...)
}

func TestADrainOfStreams(t *testing.T) {
	withWays(t, func(t *testing.T, w way) {
		backend := listenRaw(t)
		s := w.newSetup(backend.Addr().String())
		s.Routes[0].CloseTimeout = milliseconds(5000)
		g := s.run(t)
		c, idle := w.connect(t, g), w.connect(t, g)
		one, oneBackend := openStream(t, c, backend)
		done := make(chan struct{})
		go func() {
			defer close(done)
			g.Shutdown(context.Background(), 0, 0)
		}()
		if code, err := idle.AwaitGoAway(); code != http2.ErrCodeNo || err != nil {
			t.Errorf("GOAWAY with %v, %v", code, err)
		}
		if code, err := c.AwaitGoAway(); code != http2.ErrCodeNo || err != nil {
			t.Errorf("GOAWAY with %v, %v", code, err)
		}
		<-idle.Done()
		one.wantClose(t, 1012)
		one.send(t, one.closing(1012))
		oneBackend.wantClose(t, 1012)
		oneBackend.send(t, oneBackend.closing(1012))
		one.wantEnd(t)
		<-c.Done()
		<-done
		if closed, cut, ended := g.Sessions().Farewell(); closed != 1 || cut != 0 || ended != 0 {
			t.Errorf("%d closed, %d cut, %d ended", closed, cut, ended)
		}
	})
}

// A listener that a reload changes tells its clients to go; their sessions stay.
func TestAReloadOfAListenerWithStreams(t *testing.T) {
	withWays(t, func(t *testing.T, w way) {
		backend := listenRaw(t)
		s := w.newSetup(backend.Addr().String())
		g := s.run(t)
		c := w.connect(t, g)
		one, oneBackend := openStream(t, c, backend)
		next := s.Sections
		next.Listeners = []Listener{next.Listeners[0]}
		next.Listeners[0].HTTP2 = HTTP2Requests
		mustReload(t, g, next)
		if _, err := c.AwaitGoAway(); err != nil {
			t.Fatal(err)
		}
		wantLive(t, one, oneBackend)
		if other := w.connect(t, g); other.CanConnect() {
			t.Error("WebSocket is offered after the reload")
		}
		one.send(t, one.closing(1000))
		oneBackend.wantClose(t, 1000)
		oneBackend.send(t, oneBackend.closing(1000))
		one.wantClose(t, 1000)
		one.wantEnd(t)
		<-c.Done()
	})
}

func TestAWeakCipherSuiteIsRefused(t *testing.T) {
	g := ways[1].newSetup(closedAddress(t)).run(t)
	conn, err := h2test.Dial(g.address(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12,
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := h2test.NewRaw(conn)
	if err := r.Begin(); err != nil {
		t.Fatal(err)
	}
	if code, err := r.AwaitGoAway(); code != http2.ErrCodeInadequateSecurity || err != nil {
		t.Errorf("GOAWAY with %v, %v", code, err)
	}
}

func TestStreamsNeedLoops(t *testing.T) {
	s := newSetup("goroutine", closedAddress(t))
	s.Listeners[0].HTTP2 = HTTP2WebSocket
	drive, err := driver.New(s.transport.driver, 1, s.Panics)
	if err != nil {
		t.Fatal(err)
	}
	defer drive.Close(context.Background())
	s.Driver, s.Log, s.Access, s.Metrics = drive, zap.NewNop(), zap.NewNop(), prometheus.NewRegistry()
	if _, err := New(s.Config); err == nil {
		t.Error("a gateway without loops speaks HTTP/2")
	}
}

// A PROXY header comes before HTTP/2, in one segment with its preface or not, and names the client of each stream.
func TestHTTP2BehindAProxyHeader(t *testing.T) {
	withWays(t, func(t *testing.T, w way) {
		backend := listenRaw(t)
		s := w.newSetup(backend.Addr().String())
		s.Listeners[0].ProxyProtocol, s.Listeners[0].TrustedProxies = true, []string{"127.0.0.1"}
		g := s.run(t)
		conn := g.dial(t)
		conn.send(t, "PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n")
		var client net.Conn = conn.Conn
		if w.secure != nil {
			config := w.secure.Clone()
			config.NextProtos = []string{"h2"}
			client = tls.Client(client, config)
		}
		c, err := h2test.NewClient(client, h2test.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		one, oneBackend := openStream(t, c, backend)
		if got := oneBackend.field("X-Forwarded-For"); got != "192.0.2.7" {
			t.Errorf("X-Forwarded-For is %q", got)
		}
		wantLive(t, one, oneBackend)
	})
}

// What a trusted proxy says of its clients counts for each stream by itself.
func TestStreamsOfATrustedProxyHaveClientsOfTheirOwn(t *testing.T) {
	backend := listenRaw(t)
	s := ways[0].newSetup(backend.Addr().String())
	s.Listeners[0].TrustedProxies, s.Listeners[0].MaxSessionsPerIP = []string{"127.0.0.1"}, 1
	g := s.run(t)
	c := ways[0].connect(t, g)
	openStream(t, c, backend, h2test.Fields("x-forwarded-for", "192.0.2.7")...)
	openStream(t, c, backend, h2test.Fields("x-forwarded-for", "192.0.2.8")...)
	wantRefused(t, c, 429, "sessions", h2test.WebSocket("gateway.test", "/", h2test.Fields("x-forwarded-for", "192.0.2.7")...)...)
}

// Steps that may block are lent to goroutines, as those of connections.
func TestAStreamWaitsForAPlaceAndForAName(t *testing.T) {
	withWays(t, func(t *testing.T, w way) {
		backend := listenRaw(t)
		_, port, err := net.SplitHostPort(backend.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		s := w.newSetup(net.JoinHostPort("localhost", port))
		s.Pools[0].Backend[0].MaxSessions = 1
		s.Pools[0].Queue, s.Pools[0].QueueTimeout = 2, milliseconds(int(patience.Milliseconds()))
		g := s.run(t)
		c := w.connect(t, g)
		one, oneBackend := openStream(t, c, backend)
		wantLive(t, one, oneBackend)
		leaves, err := c.Open(h2test.WebSocket("gateway.test", "/"), false)
		if err != nil {
			t.Fatal(err)
		}
		waits, err := c.Open(h2test.WebSocket("gateway.test", "/"), false)
		if err != nil {
			t.Fatal(err)
		}
		early := streamWire(waits)
		early.send(t, early.text("early"))
		if err := leaves.Reset(http2.ErrCodeCancel); err != nil {
			t.Fatal(err)
		}
		g.lines(t, 1) // the lost client's
		oneBackend.send(t, oneBackend.closing(1000))
		one.wantClose(t, 1000)
		one.send(t, one.closing(1000))
		b := backend.accept(t)
		b.send(t, b.switchingTo())
		wantStatus(t, waits, 200)
		b.wantText(t, "early")
		wantLive(t, early, b)
	})
}

func TestARedirectionOverAStream(t *testing.T) {
	s := ways[0].newSetup(closedAddress(t))
	s.Listeners[0].RedirectHTTPS = true
	g := s.run(t)
	c := ways[0].connect(t, g)
	r := wantRefused(t, c, 308, "", h2test.WebSocket("gateway.test", "/a?b")...)
	if got := r.Field("location"); got != "https://gateway.test/a?b" {
		t.Errorf("the redirection leads to %q", got)
	}
}

// Streams that are reset as soon as they are opened keep nothing, and those of others go on.
func TestRapidResetsKeepNothing(t *testing.T) {
	withWays(t, func(t *testing.T, w way) {
		backend := listenRaw(t)
		g := w.newSetup(backend.Addr().String()).run(t)
		one, oneBackend := openStream(t, w.connect(t, g), backend)
		r := w.raw(t, g)
		for id := uint32(1); id < 1000; id += 2 {
			if r.Headers(id, false, h2test.WebSocket("gateway.test", "/")...) != nil || r.Framer.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
				break // the gateway has had enough
			}
		}
		if code, err := r.AwaitGoAway(); code != http2.ErrCodeEnhanceYourCalm || err != nil {
			t.Errorf("GOAWAY with %v, %v", code, err)
		}
		wantLive(t, one, oneBackend)
		eventually(t, "one session and no handshake", func() bool {
			return g.placesHeld(limits.Handshakes) == 0 && g.placesHeld(limits.Sessions) == 1 && g.placesHeld(limits.Connections) == 1
		})
	})
}

// Connections without a stream are closed where connections run short.
func TestIdleHTTP2ConnectionsMakeRoom(t *testing.T) {
	backend := listenRaw(t)
	s := ways[0].newSetup(backend.Addr().String())
	s.Listeners[0].MaxConnections = 8
	g := s.run(t)
	busy := ways[0].connect(t, g)
	one, oneBackend := openStream(t, busy, backend)
	var idle []*h2test.Conn
	for range 6 {
		idle = append(idle, ways[0].connect(t, g))
	}
	g.open(t, backend)
	eventually(t, "room", func() bool { return g.placesHeld(limits.Connections) < 8 })
	closed := 0
	for _, c := range idle {
		if _, _, isGoing := c.GoAway(); isGoing {
			closed++
		}
	}
	if closed == 0 {
		t.Error("no idle connection was told to go")
	}
	wantLive(t, one, oneBackend)
}

// Sessions over HTTP/2 stay in the old process, whose clients open new connections.
func TestSessionsOverStreamsStayInAnUpgrade(t *testing.T) {
	withWays(t, func(t *testing.T, w way) {
		backend := listenRaw(t)
		s := w.newSetup(backend.Addr().String())
		old, heir := s.run(t), w.newSetup(backend.Addr().String()).run(t)
		c, idle := w.connect(t, old), w.connect(t, old)
		one, oneBackend := openStream(t, c, backend)
		if moved, stayed := old.handOver(t, heir); moved != 0 || len(stayed) != 1 || stayed["http2"] != 1 {
			t.Errorf("%d sessions moved, %v stayed; want one over HTTP/2 to stay", moved, stayed)
		}
		wantLive(t, one, oneBackend)
		old.StopAccepting()
		<-idle.Done()
		if _, err := c.AwaitGoAway(); err != nil {
			t.Error(err)
		}
		wantLive(t, one, oneBackend)
	})
}

// A panic over one stream ends that one alone.
func TestAPanicOverAStream(t *testing.T) {
	withWays(t, func(t *testing.T, w way) {
		backend := listenRaw(t)
		panics := make(chan any, 10)
		s := w.newSetup(backend.Addr().String())
		s.Panics = func(_ string, cause any, _ []byte) { panics <- cause }
		s.Tracer = tracerThatPanics{}
		s.Routes[0].CloseTimeout = milliseconds(100)
		g := s.run(t)
		c := w.connect(t, g)
		one, oneBackend := openStream(t, c, backend)
		wantRefused(t, c, 502, "", h2test.WebSocket("gateway.test", "/", h2test.Fields("traceparent", "panic")...)...)
		if cause := <-panics; cause != "provoked" {
			t.Errorf("the panic %v", cause)
		}
		wantLive(t, one, oneBackend)
		_ = c.Close()
		g.wantPlaces(t, 0)
	})
}

// A tracerThatPanics records nothing.
type tracerThatPanics struct{ handshake.Trace }

func (tracerThatPanics) Begin(_ time.Time, parent handshake.TraceParent) handshake.Trace {
	if parent.Parent == "panic" {
		panic("provoked")
	}
	return tracerThatPanics{}
}

func (tracerThatPanics) Fields() (traceparent, tracestate string) { return "", "" }

func (tracerThatPanics) IsRecorded() bool { return false }

// A connection of HTTP/2 keeps one descriptor for a backend, and its streams may need many.
func TestStreamsTakeNoDescriptorsOfOthers(t *testing.T) {
	backend := listenRaw(t)
	s := ways[0].newSetup(backend.Addr().String())
	s.MaxConnections = 3
	g := s.run(t)
	c := ways[0].connect(t, g)
	for range 3 {
		one, oneBackend := openStream(t, c, backend)
		wantLive(t, one, oneBackend)
	}
	wantRefused(t, c, 503, "sessions", h2test.WebSocket("gateway.test", "/")...)
	wantRefused(t, c, 503, "requests", h2test.Request("GET", "gateway.test", "/")...)
}
