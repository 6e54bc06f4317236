package proxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/net/http2"

	"sluice/balancer"
	"sluice/internal/h2test"
	"sluice/proxy/relay"
)

// A streamBackend is a backend that speaks HTTP/2. The test answers its streams.
type streamBackend struct {
	*h2test.Server
	streams chan *h2test.Stream
}

// listenStreams returns a backend, over TLS if secure isn't nil.
func listenStreams(t *testing.T, secure *tls.Config, o h2test.Options) *streamBackend {
	t.Helper()
	b := &streamBackend{streams: make(chan *h2test.Stream, 1000)}
	var err error
	b.Server, err = h2test.Listen(secure, o, func(s *h2test.Stream) {
		b.streams <- s
		<-t.Context().Done()
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// accept waits for a stream.
func (b *streamBackend) accept(t *testing.T) *h2test.Stream {
	t.Helper()
	select {
	case s := <-b.streams:
		return s
	case <-time.After(patience):
		t.Fatal("no stream of the gateway")
		return nil
	}
}

// wireOf returns the backend's end of a stream.
func wireOf(s *h2test.Stream) *wire { return &wire{Conn: s, reader: bufio.NewReader(s)} }

// hasNoConnection reports whether all connections have ended.
func (b *streamBackend) hasNoConnection() bool {
	return !slices.ContainsFunc(b.Conns(), func(c *h2test.Conn) bool { return c.Err() == nil })
}

// open returns both ends of a relayed session.
func (b *streamBackend) open(t *testing.T, g *gateway) (client *wire, backend *h2test.Stream) {
	t.Helper()
	client = g.dial(t)
	client.send(t, asking("/"))
	backend = b.accept(t)
	if err := backend.Answer(200); err != nil {
		t.Fatal(err)
	}
	client.wantOpen(t)
	return client, backend
}

// newStreamSetup returns the setup of a gateway with backends that speak HTTP/2.
func newStreamSetup(backends ...string) *setup {
	s := newSetup("loop", backends...)
	s.Pools[0].Protocol = balancer.ProtocolHTTP2
	s.Pools[0].TLS = func(string) *tls.Config {
		return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{balancer.ProtocolHTTP2}}
	}
	return s
}

// secured returns the TLS of a backend that chooses one of these protocols.
func securedBackend(protocols ...string) *tls.Config {
	config := newTLSServer().config.Clone()
	config.NextProtos = protocols
	return config
}

func TestASessionIsAStreamOfAConnectionToItsBackend(t *testing.T) {
	for _, secure := range []*tls.Config{nil, securedBackend("h2")} {
		t.Run(fmt.Sprint("TLS ", secure != nil), func(t *testing.T) {
			b := listenStreams(t, secure, h2test.Options{})
			address := b.Addr()
			if secure != nil {
				address = "wss://" + address
			}
			g := newStreamSetup(address).run(t)
			c := g.dial(t)
			c.send(t, asking("/chat?room=1", "Sec-WebSocket-Protocol: a, b", "Cookie: x=1", "X-One: 1"))
			s := b.accept(t)
			for name, want := range map[string]string{
				":method": "CONNECT", ":protocol": "websocket", ":path": "/chat?room=1", ":authority": "gateway.test", ":scheme": map[bool]string{false: "http", true: "https"}[secure != nil],
				"sec-websocket-version": "13", "sec-websocket-protocol": "a, b", "cookie": "x=1", "x-one": "1", "x-forwarded-proto": "http",
				"sec-websocket-key": "", "connection": "", "upgrade": "", "host": "",
			} {
				if got := s.Field(name); got != want {
					t.Errorf("field %s is %q, want %q", name, got, want)
				}
			}
			_ = s.Answer(200, h2test.Fields("sec-websocket-protocol", "b", "set-cookie", "y=2")...)
			response := c.wantOpen(t)
			if got := response.Header.Get("Sec-WebSocket-Protocol") + response.Header.Get("Set-Cookie"); got != "by=2" {
				t.Errorf("the client got %v", response.Header)
			}
			wantLive(t, c, wireOf(s))
			if n := g.metric(t, "sluice_http2_connections_active", "side=backend"); n != 1 {
				t.Errorf("%v connections to backends, want 1", n)
			}
			if views := g.Sessions().List(); len(views) != 1 || views[0].HTTP(relay.Client)+views[0].HTTP(relay.Backend) != "1.12" {
				t.Errorf("sessions %+v", views)
			}
			c.send(t, c.closing(1000))
			w := wireOf(s)
			w.wantClose(t, 1000)
			w.send(t, w.closing(1000))
			c.wantClose(t, 1000)
			c.wantEnd(t)
			w.wantEnd(t)
			g.wantIdle(t)
		})
	}
}

func TestFramesThatComeWithTheAnswerOfAStreamArrive(t *testing.T) {
	b := listenStreams(t, nil, h2test.Options{})
	g := newStreamSetup(b.Addr()).run(t)
	c := g.dial(t)
	c.send(t, asking("/")+c.text("early"))
	s := b.accept(t)
	w := wireOf(s)
	_ = s.Answer(200)
	w.send(t, w.text("welcome"))
	w.wantText(t, "early")
	c.wantOpen(t)
	c.wantText(t, "welcome")
	wantLive(t, c, w)
}

// Each session finds the connection with the fewest streams, and a further connection is opened while each has one.
func TestSessionsSpreadOverTheConnectionsToABackend(t *testing.T) {
	b := listenStreams(t, nil, h2test.Options{})
	s := newStreamSetup(b.Addr())
	s.Pools[0].Connections, s.Pools[0].Streams = 3, 4
	g := s.run(t)
	for range 12 {
		b.open(t, g)
	}
	for _, conn := range b.Conns() {
		if n := conn.Streams(); n != 4 {
			t.Errorf("a connection has %d streams, want 4", n)
		}
	}
	if n := b.Accepted(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
	c := g.dial(t)
	c.send(t, asking("/"))
	c.wantRefusal(t, 503, "as many sessions as they may")
	if n := g.metric(t, "sluice_handshakes_rejected_total", "reason=backend_streams"); n != 1 {
		t.Errorf("%v handshakes rejected for want of a stream, want 1", n)
	}
	if n := g.metric(t, "sluice_backend_failures_total"); n != 0 {
		t.Errorf("%v failures of the backend, want none", n)
	}
}

func TestManyHandshakesAtOnceShareConnectionsThatAreBeingOpened(t *testing.T) {
	b := listenStreams(t, nil, h2test.Options{})
	s := newStreamSetup(b.Addr())
	s.Pools[0].Connections = 2
	g := s.run(t)
	var clients []*wire
	for range 60 {
		c := g.dial(t)
		c.send(t, asking("/"))
		clients = append(clients, c)
	}
	for range clients {
		_ = b.accept(t).Answer(200)
	}
	for _, c := range clients {
		c.wantOpen(t)
	}
	if n := b.Accepted(); n > 2 {
		t.Errorf("%d connections, want 2 at most", n)
	}
}

// The backend's own limit counts, too.
func TestABackendThatAllowsOneStreamGetsOneAConnection(t *testing.T) {
	b, other := listenStreams(t, nil, h2test.Options{MaxStreams: 1}), listenStreams(t, nil, h2test.Options{})
	s := newStreamSetup(b.Addr(), other.Addr())
	s.Pools[0].Backend[1].Backup = true
	s.Pools[0].Connections = 2
	s.Routes[0].CloseTimeout = milliseconds(100)
	g := s.run(t)
	b.open(t, g)
	c, _ := b.open(t, g)
	if n := b.Accepted(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
	_ = c.Close()
	eventually(t, "room", func() bool { return g.metric(t, "sluice_backend_sessions") == 1 })
	b.open(t, g)
}

func TestAnAnswerOtherThan200PassesWhole(t *testing.T) {
	b := listenStreams(t, nil, h2test.Options{})
	g := newStreamSetup(b.Addr()).run(t)
	for _, body := range []string{"", "no", strings.Repeat("long ", 30000)} {
		for _, hasLength := range []bool{false, true} {
			c := g.dial(t)
			c.send(t, asking("/"))
			s := b.accept(t)
			more := h2test.Fields("x-why", "because")
			if hasLength {
				more = append(more, h2test.Fields("content-length", fmt.Sprint(len(body)))...)
			}
			_ = s.Interim(103, h2test.Fields("link", "x")...)
			_ = s.Answer(403, more...)
			go func() {
				_, _ = io.WriteString(s, body)
				_ = s.CloseWrite()
			}()
			response := c.wantBody(t, 403, body)
			if response.Header.Get("X-Why") != "because" {
				t.Errorf("fields %v", response.Header)
			}
			c.wantEnd(t)
		}
	}
	g.wantIdle(t)
	if n := b.Accepted(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestWhatABackendOfStreamsDoesWrong(t *testing.T) {
	for _, test := range []struct {
		name    string
		secure  *tls.Config
		options h2test.Options
		does    func(s *h2test.Stream) // nil: it gets no stream
		status  int
		word    string
		reason  string // of the failure that counts
		cause   string
	}{
		{"no WebSocket", nil, h2test.Options{NoConnect: true}, nil, 502, "SETTINGS_ENABLE_CONNECT_PROTOCOL", "bad_answer", "SETTINGS_ENABLE_CONNECT_PROTOCOL"},
		{"another protocol of TLS", securedBackend("http/1.1"), h2test.Options{}, nil, 502, "no backend could be reached", "tls", ""},
		{"a reset", nil, h2test.Options{}, func(s *h2test.Stream) { _ = s.Reset(http2.ErrCodeInternal) }, 502, "can't be passed on", "handshake_reset", "INTERNAL_ERROR"},
		{"a refused stream, again and again", nil, h2test.Options{}, func(s *h2test.Stream) { _ = s.Reset(http2.ErrCodeRefusedStream) }, 502, "no backend could be reached", "dial", "REFUSED_STREAM"},
		{"a lost connection", nil, h2test.Options{}, func(s *h2test.Stream) { _ = s.Conn().Close() }, 502, "can't be passed on", "handshake_reset", ""},
		{"a subprotocol that wasn't offered", nil, h2test.Options{}, func(s *h2test.Stream) {
			_ = s.Answer(200, h2test.Fields("sec-websocket-protocol", "z")...)
		}, 502, "subprotocol", "bad_answer", "subprotocol"},
		{"an extension that wasn't offered", nil, h2test.Options{}, func(s *h2test.Stream) {
			_ = s.Answer(200, h2test.Fields("sec-websocket-extensions", "z")...)
		}, 502, "extension", "bad_answer", "extension"},
		{"no end of interim answers", nil, h2test.Options{}, func(s *h2test.Stream) {
			for range 20 {
				_ = s.Interim(102)
			}
		}, 502, "", "bad_answer", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := listenStreams(t, test.secure, test.options)
			address := b.Addr()
			if test.secure != nil {
				address = "wss://" + address
			}
			s := newStreamSetup(address)
			s.Pools[0].Ejection.Failures = 0
			g := s.run(t)
			done := make(chan struct{})
			defer close(done)
			go func() {
				for {
					select {
					case stream := <-b.streams:
						if test.does == nil {
							t.Error("the backend gets a stream")
							return
						}
						test.does(stream)
					case <-done:
						return
					}
				}
			}()
			c := g.dial(t)
			c.send(t, asking("/"))
			c.wantRefusal(t, test.status, test.word)
			if n := g.metric(t, "sluice_backend_failures_total", "reason="+test.reason); n != 1 {
				t.Errorf("%v failures count as %s, want 1", n, test.reason)
			}
			if lines := g.log.FilterMessage("handshake with a backend ended").All(); len(lines) == 0 || !strings.Contains(fmt.Sprint(lines[0].ContextMap()), test.cause) {
				t.Errorf("the log has %v, want a cause with %q", lines, test.cause)
			}
			g.wantIdle(t)
		})
	}
}

func TestAHandshakeThatGetsNoAnswerOfAStreamTimesOut(t *testing.T) {
	b := listenStreams(t, nil, h2test.Options{})
	s := newStreamSetup(b.Addr())
	s.Routes[0].HandshakeTimeout = milliseconds(50)
	g := s.run(t)
	c := g.dial(t)
	c.send(t, asking("/"))
	stream := b.accept(t)
	c.wantRefusal(t, 504, "in time")
	if _, err := stream.Read(make([]byte, 1)); err == nil {
		t.Error("the stream isn't reset")
	}
	g.wantIdle(t)
}

// A backend that accepts connections and never speaks.
func TestAHandshakeDoesNotWaitForSettingsForEver(t *testing.T) {
	b := listenRaw(t)
	s := newStreamSetup(b.Addr().String())
	s.Routes[0].ConnectTimeout = milliseconds(50)
	g := s.run(t)
	c := g.dial(t)
	c.send(t, asking("/"))
	silent := b.connected(t)
	c.wantRefusal(t, 504, "in time")
	silent.wantGone(t)
	eventually(t, "no connection", func() bool { return g.metric(t, "sluice_http2_connections_active", "side=backend") == 0 })
}

// A backend that speaks HTTP/1.1 alone.
func TestABackendThatDoesNotSpeakHTTP2IsAFailure(t *testing.T) {
	b := listenRaw(t)
	g := newStreamSetup(b.Addr().String()).run(t)
	go func() {
		for {
			c, err := b.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
		}
	}()
	c := g.dial(t)
	c.send(t, asking("/"))
	c.wantRefusal(t, 502, "no backend could be reached")
	if lines := g.log.FilterMessage("handshake with a backend ended").All(); len(lines) == 0 || !strings.Contains(fmt.Sprint(lines[0].ContextMap()), "HTTP/2") {
		t.Errorf("the log has %v", lines)
	}
}

func TestABackendWithoutALPNIsAFailure(t *testing.T) {
	b := listenRaw(t)
	g := newStreamSetup("wss://" + b.Addr().String()).run(t)
	go func() {
		for {
			c, err := b.Accept()
			if err != nil {
				return
			}
			_ = tls.Server(c, newTLSServer().config).Handshake()
		}
	}()
	c := g.dial(t)
	c.send(t, asking("/"))
	c.wantRefusal(t, 502, "no backend could be reached")
	if lines := g.log.FilterMessage("handshake with a backend ended").All(); len(lines) == 0 || !strings.Contains(fmt.Sprint(lines[0].ContextMap()), "ALPN") {
		t.Errorf("the log has %v", lines)
	}
	if n := g.metric(t, "sluice_backend_failures_total", "reason=tls"); n != 1 {
		t.Errorf("%v failures count as tls, want 1", n)
	}
}

func TestAfterAGOAWAYSessionsGoToAnotherConnection(t *testing.T) {
	b := listenStreams(t, nil, h2test.Options{})
	s := newStreamSetup(b.Addr())
	s.Pools[0].Connections = 1
	s.Routes[0].CloseTimeout = milliseconds(100)
	g := s.run(t)
	for range 5 {
		client, stream := b.open(t, g)
		old := stream.Conn()
		if err := old.SendGoAway(http2.ErrCodeNo); err != nil {
			t.Fatal(err)
		}
		other, _ := b.open(t, g)
		wantLive(t, client, wireOf(stream))
		_ = client.Close()
		_ = other.Close()
		eventually(t, "the end of the connection", func() bool { return old.Err() != nil })
	}
	g.wantIdle(t)
	if n := g.metric(t, "sluice_backend_failures_total"); n != 0 {
		t.Errorf("%v failures", n)
	}
}

// Streams that a GOAWAY refuses were not handled: they go to another connection, and no client notices.
func TestHandshakesDuringAGOAWAYAreSentAgain(t *testing.T) {
	b := listenStreams(t, nil, h2test.Options{})
	g := newStreamSetup(b.Addr()).run(t)
	refused := 0
	for range 20 {
		c := g.dial(t)
		c.send(t, asking("/"))
		s := b.accept(t)
		if refused < 10 && s.Conn().Opened()%2 == 1 {
			refused++
			_ = s.Reset(http2.ErrCodeRefusedStream)
			s = b.accept(t)
		}
		_ = s.Answer(200)
		c.wantOpen(t)
		wantLive(t, c, wireOf(s))
	}
	if refused == 0 {
		t.Error("no stream was refused")
	}
}

func TestALostConnectionIsALostBackendForEachOfItsSessions(t *testing.T) {
	b := listenStreams(t, nil, h2test.Options{})
	s := newStreamSetup(b.Addr())
	s.Pools[0].Connections = 1
	s.Routes[0].CloseTimeout = milliseconds(100)
	g := s.run(t)
	var clients []*wire
	var last *h2test.Stream
	for range 5 {
		c, stream := b.open(t, g)
		clients, last = append(clients, c), stream
	}
	_ = last.Conn().Close()
	for _, c := range clients {
		c.wantClose(t, 1012)
		c.wantEnd(t)
	}
	g.wantIdle(t)
	if n := g.log.FilterMessage("connection to a backend lost").Len(); n != 1 {
		t.Errorf("%d lines of the log tell of the lost connection, want 1", n)
	}
	b.open(t, g)
}

func TestOnlyTheStreamOfAResetEnds(t *testing.T) {
	b := listenStreams(t, nil, h2test.Options{})
	s := newStreamSetup(b.Addr())
	s.Pools[0].Connections = 1
	g := s.run(t)
	one, oneStream := b.open(t, g)
	two, twoStream := b.open(t, g)
	_ = oneStream.Reset(http2.ErrCodeCancel)
	one.wantClose(t, 1012)
	wantLive(t, two, wireOf(twoStream))
	_ = two.Close()
	w := wireOf(twoStream)
	w.wantClose(t, 1001)
}

func TestAClientLostWhileAConnectionIsOpenedReleasesThePick(t *testing.T) {
	b := listenRaw(t)
	g := newStreamSetup(b.Addr().String()).run(t)
	c := g.dial(t)
	c.send(t, asking("/"))
	b.connected(t)
	eventually(t, "a pick", func() bool { return g.metric(t, "sluice_backend_sessions") == 1 })
	_ = c.Close()
	g.wantIdle(t)
}

func TestLeastConnCountsStreams(t *testing.T) {
	one, two := listenStreams(t, nil, h2test.Options{}), listenStreams(t, nil, h2test.Options{})
	s := newStreamSetup(one.Addr(), two.Addr())
	s.Pools[0].Policy = balancer.PolicyLeastConn
	g := s.run(t)
	for range 10 {
		c := g.dial(t)
		c.send(t, asking("/"))
		select {
		case stream := <-one.streams:
			_ = stream.Answer(200)
		case stream := <-two.streams:
			_ = stream.Answer(200)
		case <-time.After(patience):
			t.Fatal("no stream")
		}
		c.wantOpen(t)
	}
	for _, b := range []*streamBackend{one, two} {
		if n := b.Opened(); n != 5 {
			t.Errorf("a backend has %d streams of 10, want 5", n)
		}
	}
}

// The connections of a pool that a reload removes, or that speaks another protocol after it, end after their last stream.
func TestAReloadEndsConnectionsOfAPoolThatIsGone(t *testing.T) {
	b, other := listenStreams(t, nil, h2test.Options{}), listenRaw(t)
	s := newStreamSetup(b.Addr())
	s.Routes[0].CloseTimeout = milliseconds(100)
	g := s.run(t)
	client, stream := b.open(t, g)
	idle, idleStream := b.open(t, g)
	eventually(t, "a second connection", func() bool { return idleStream.Conn() != stream.Conn() || b.Accepted() > 1 })
	_ = idle.Close()
	next := newSetup("loop", other.Addr().String())
	next.Pools[0].Name, next.Routes[0].Pool = "other", "other"
	next.Listeners[0].Address = "127.0.0.1:0"
	if err := g.Reload(next.Sections); err != nil {
		t.Fatal(err)
	}
	wantLive(t, client, wireOf(stream))
	c := g.dial(t)
	c.send(t, asking("/"))
	other.accept(t).send(t, switching())
	c.wantOpen(t)
	_ = client.Close()
	eventually(t, "no connection", b.hasNoConnection)
}

func TestAStopEndsConnectionsToBackends(t *testing.T) {
	b := listenStreams(t, nil, h2test.Options{})
	g := newStreamSetup(b.Addr()).run(t)
	c, stream := b.open(t, g)
	go g.Shutdown(t.Context(), 0, 0)
	c.wantClose(t, 1012)
	c.send(t, c.closing(1012))
	w := wireOf(stream)
	w.wantClose(t, 1012)
	w.send(t, w.closing(1012))
	c.wantEnd(t)
	code, err := stream.Conn().AwaitGoAway()
	if err != nil || code != http2.ErrCodeNo {
		t.Errorf("GOAWAY %v, %v", code, err)
	}
	eventually(t, "no connection", b.hasNoConnection)
}

// A client over TLS begins on a goroutine, and its backend's connection is a loop's.
func TestAClientOverTLSReachesABackendOfStreams(t *testing.T) {
	b := listenStreams(t, securedBackend("h2"), h2test.Options{})
	g := newStreamSetup("wss://" + b.Addr()).runSecure(t)
	c := g.dialSecure(t)
	c.send(t, asking("/"))
	s := b.accept(t)
	_ = s.Answer(200)
	c.wantOpen(t)
	wantLive(t, c, wireOf(s))

	c = g.dialSecure(t)
	c.send(t, asking("/"))
	_ = b.accept(t).Refuse(404, "nothing here")
	c.wantBody(t, 404, "nothing here")
}

// What a client sends waits for the window of its stream alone.
func TestAStreamThatIsNotReadDelaysNoOther(t *testing.T) {
	b := listenStreams(t, nil, h2test.Options{})
	s := newStreamSetup(b.Addr())
	s.Pools[0].Connections = 1
	g := s.run(t)
	stuck, stuckStream := b.open(t, g)
	live, liveStream := b.open(t, g)
	message := stuck.text(strings.Repeat("x", 200<<10))
	sent := make(chan error, 1)
	go func() {
		_ = stuck.SetDeadline(time.Now().Add(patience))
		_, err := io.WriteString(stuck.Conn, message)
		sent <- err
	}()
	for range 100 {
		wantLive(t, live, wireOf(liveStream))
	}
	wireOf(stuckStream).wantText(t, strings.Repeat("x", 200<<10))
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// Both sides are streams.
func TestAStreamOfAClientBecomesAStreamToTheBackend(t *testing.T) {
	for _, isSecure := range []bool{false, true} {
		t.Run(fmt.Sprint("TLS ", isSecure), func(t *testing.T) {
			secure, address := (*tls.Config)(nil), ""
			if isSecure {
				secure, address = securedBackend("h2"), "wss://"
			}
			b := listenStreams(t, secure, h2test.Options{})
			s := newStreamSetup(address + b.Addr())
			s.Listeners[0].HTTP2, s.Routes[0].CloseTimeout = HTTP2WebSocket, milliseconds(100)
			g := s.run(t)
			client, err := h2test.DialClient(g.address(), nil, h2test.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = client.Close() })
			open := func() (*h2test.Stream, *h2test.Stream) {
				c, err := client.Open(h2test.WebSocket("gateway.test", "/x"), false)
				if err != nil {
					t.Fatal(err)
				}
				return c, b.accept(t)
			}
			for range 20 {
				c, end := open()
				clientWire, w := wireOf(c), wireOf(end)
				clientWire.isClient = true
				clientWire.send(t, clientWire.text("early"))
				_ = end.Answer(200, h2test.Fields("x-own", "1")...)
				w.send(t, w.text("welcome"))
				if response, err := c.Response(); err != nil || response.Status != 200 || response.Field("x-own") != "1" {
					t.Fatalf("%+v, %v; want 200", response, err)
				}
				w.wantText(t, "early")
				clientWire.wantText(t, "welcome")
				wantLive(t, clientWire, w)
			}
			if views := g.Sessions().List(); views[0].HTTP(relay.Client)+views[0].HTTP(relay.Backend) != "22" {
				t.Errorf("HTTP %s to the client, %s to the backend", views[0].HTTP(relay.Client), views[0].HTTP(relay.Backend))
			}
			c, end := open()
			_ = end.Refuse(403, strings.Repeat("no ", 1000))
			if response, err := c.Response(); err != nil || response.Status != 403 {
				t.Fatalf("%+v, %v; want 403", response, err)
			}
			if body, err := io.ReadAll(c); err != nil || string(body) != strings.Repeat("no ", 1000) {
				t.Errorf("%.20q, %v", body, err)
			}
			_, end = open()
			_ = client.Close()
			if _, err := io.Copy(io.Discard, end); err == nil {
				t.Error("the backend's stream is ended in order, and the client has gone before the answer")
			}
			g.wantIdle(t)
		})
	}
}

func TestAProbeFindsOutWhetherABackendOffersWebSocketOverHTTP2(t *testing.T) {
	for _, test := range []struct {
		options h2test.Options
		isUp    bool
	}{{h2test.Options{}, true}, {h2test.Options{NoConnect: true}, false}} {
		b, err := h2test.Listen(securedBackend("h2"), test.options, echoPings)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		s := newStreamSetup("wss://" + b.Addr())
		s.Pools[0].Health.Kind, s.Pools[0].Health.Interval, s.Pools[0].Health.Timeout = "websocket", milliseconds(100), milliseconds(100)
		g := s.run(t)
		want := map[bool]string{true: "state=up", false: "state=down"}[test.isUp]
		eventually(t, want, func() bool { return g.metric(t, "sluice_backend_state", want) == 1 })
	}
}

// echoPings is a backend that answers the pings and the close of a session.
func echoPings(s *h2test.Stream) {
	_ = s.Answer(200)
	w := wireOf(s)
	for {
		f, err := readFrame(w.reader)
		if err != nil {
			return
		}
		if f.Header.OpCode == ws.OpPing {
			_, _ = io.WriteString(s, w.frame(ws.OpPong, string(f.Payload)))
		} else {
			_, _ = io.WriteString(s, w.frame(f.Header.OpCode, string(f.Payload)))
			return
		}
	}
}
