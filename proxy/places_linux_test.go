package proxy

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"sluice/proxy/limits"
)

// dialFrom connects to the listener "public" from an address of loopback.
func (g *gateway) dialFrom(t *testing.T, address string) *wire {
	t.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 0)), Timeout: patience}
	conn, err := d.Dial("tcp", g.address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &wire{Conn: conn, reader: bufio.NewReader(conn), isClient: true}
}

// wantSession opens a session from an address, and ends it.
func (g *gateway) wantSession(t *testing.T, backend rawBackend, from string, more ...string) {
	t.Helper()
	c := g.dialFrom(t, from)
	c.send(t, asking("/", more...))
	b := backend.accept(t)
	b.send(t, switching())
	c.wantOpen(t)
	wantLive(t, c, b)
	_, _ = c.Close(), b.Close()
}

// Faults B1.
func TestOneAddressDoesNotTakeEveryPlaceOfAHandshake(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		for name, begin := range map[string]string{"silent": "", "half a head": "GET / HTTP/1.1\r\n"} {
			backend := listenRaw(t)
			s := newSetup(driver, backend.Addr().String())
			s.Listeners[0].MaxHandshakes = 8
			g := s.run(t)
			var refused *wire
			for i := range 6 {
				c := g.dialFrom(t, "127.0.0.1")
				if i == 5 {
					refused = c
					break
				}
				c.send(t, begin)
				eventually(t, "a handshake under way", func() bool { return g.placesHeld(limits.Handshakes) == int64(i+1) })
			}
			refused.wantRefusal(t, 503, "its share of the gateway's handshakes")
			g.wantSession(t, backend, "127.0.0.2")
			if n := g.metric(t, "sluice_handshakes_rejected_total", "reason=handshakes_share"); n != 1 {
				t.Errorf("%s: %v refusals are counted, want 1", name, n)
			}
			if n := g.log.FilterMessage("clients are refused").Len(); n != 1 {
				t.Errorf("%s: %d lines of the log say that clients are refused, want 1", name, n)
			}
		}
	})
}

// Faults B1.
func TestTheClientsOfATrustedProxyAreCountedOneByOne(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Listeners[0].MaxHandshakes, s.Listeners[0].TrustedProxies = 8, []string{"127.0.0.1"}
		g := s.run(t)
		// The proxy may open as many connections as it likes.
		for range 4 {
			g.dialFrom(t, "127.0.0.1")
		}
		for range 3 { // of one client; they leave one place free
			c := g.dialFrom(t, "127.0.0.1")
			c.send(t, asking("/", "X-Forwarded-For: 192.0.2.1"))
			backend.accept(t)
		}
		eventually(t, "handshakes under way", func() bool { return g.placesHeld(limits.Handshakes) == 7 })
		c := g.dialFrom(t, "127.0.0.1")
		c.send(t, asking("/", "X-Forwarded-For: 192.0.2.1"))
		c.wantRefusal(t, 503, "its share of the gateway's handshakes")
		g.wantSession(t, backend, "127.0.0.1", "X-Forwarded-For: 192.0.2.2")
	})
}

// Faults B1.
func TestAClientOfAPROXYHeaderHasItsShare(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Listeners[0].MaxHandshakes = 8
		s.Listeners[0].ProxyProtocol, s.Listeners[0].TrustedProxies = true, []string{"127.0.0.1"}
		g := s.run(t)
		of := func(client string) string { return "PROXY TCP4 " + client + " 192.0.2.9 4711 443\r\n" }
		for range 5 {
			g.dialFrom(t, "127.0.0.1").send(t, of("192.0.2.1")+asking("/"))
			backend.accept(t)
		}
		c := g.dialFrom(t, "127.0.0.1")
		c.send(t, of("192.0.2.1")+asking("/"))
		c.wantRefusal(t, 503, "its share of the gateway's handshakes")
		other := g.dialFrom(t, "127.0.0.1")
		other.send(t, of("192.0.2.2")+asking("/"))
		backend.accept(t).send(t, switching())
		other.wantOpen(t)
	})
}

// Faults B1.
func TestWhatIsNoHandshakeHoldsNoPlaceOfOne(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Listeners[0].MaxHandshakes = 2
		g := s.run(t)
		for name, use := range map[string]func(c *wire){
			"an idle connection": func(c *wire) {
				c.send(t, getting("/"))
				b := backend.accept(t)
				b.send(t, answering("hello"))
				c.wantBody(t, 200, "hello")
				_ = b.Close()
			},
			"a stream of events": func(c *wire) {
				c.send(t, getting("/"))
				backend.accept(t).send(t, head("HTTP/1.1 200 OK", "Content-Type: text/event-stream")+"data: 1\n\n")
				c.answer(t)
			},
			"a long poll": func(c *wire) {
				c.send(t, getting("/"))
				backend.accept(t)
			},
			"a slow body": func(c *wire) {
				c.send(t, head("POST / HTTP/1.1", "Host: gateway.test", "Content-Length: 100")+"a")
				backend.accept(t)
			},
			"a long answer to a WebSocket request": func(c *wire) {
				c.send(t, asking("/"))
				backend.accept(t).send(t, head("HTTP/1.1 200 OK", "Content-Length: 100")+"a")
				c.answer(t)
			},
			"a session": func(c *wire) {
				c.send(t, asking("/"))
				backend.accept(t).send(t, switching())
				c.wantOpen(t)
			},
		} {
			use(g.dial(t))
			eventually(t, name+" holds no place of a handshake", func() bool { return g.placesHeld(limits.Handshakes) == 0 })
		}
		eventually(t, "the end of the idle connection's request", func() bool { return g.Listeners()[0].Requests == 3 })
		if n := g.Listeners()[0]; n.Connections != 6 || n.Sessions != 2 {
			t.Errorf("%+v; want 6 connections, and 2 sessions, of which one may become one", n)
		}
		g.wantSession(t, backend, "127.0.0.2")
	})
}

// Faults B1.
func TestIdleConnectionsGiveWay(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		for name, limit := range map[string]func(s *setup){
			"max_connections": func(s *setup) { s.Listeners[0].MaxConnections = 4 },
			"descriptors":     func(s *setup) { s.MaxConnections = 4 },
			"max_handshakes":  func(s *setup) { s.Listeners[0].MaxHandshakes = 4 },
		} {
			backend := listenRaw(t)
			s := newSetup(driver, backend.Addr().String())
			limit(s)
			g := s.run(t)
			for i := range 10 {
				c := g.dialFrom(t, fmt.Sprintf("127.0.0.%d", i+1))
				c.send(t, getting("/", "Connection: keep-alive"))
				b := backend.accept(t)
				b.send(t, answering("hello", "Connection: close"))
				c.wantBody(t, 200, "hello")
				eventually(t, "room for another connection: "+name, func() bool {
					l := g.Listeners()[0]
					return l.Idle <= 4 && (l.MaxConnections == 0 || l.Connections < l.MaxConnections)
				})
			}
			if n := g.metric(t, "sluice_handshakes_rejected_total"); n != 0 {
				t.Errorf("%s: %v clients are refused", name, n)
			}
		}
	})
}

// Faults C2: each connection of a client has two descriptors, and idle connections to backends have only those that are left.
func TestIdleConnectionsToBackendsGiveWay(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		const most = 8
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.MaxConnections, s.MaxSessions = most, most
		g := s.run(t)
		var asked, answers []*wire
		for i := range most - 2 {
			c := g.dialFrom(t, fmt.Sprintf("127.0.0.%d", i+1))
			c.send(t, getting("/"))
			asked, answers = append(asked, c), append(answers, backend.accept(t))
		}
		for i, c := range asked {
			answers[i].send(t, answering("hello"))
			c.wantBody(t, 200, "hello")
			_ = c.Close()
		}
		eventually(t, "all idle", func() bool { return g.placesHeld(limits.Connections) == 0 && g.placesHeld(limits.Requests) == 0 })
		if n := g.plainConns.Load(); n != most-2 {
			t.Fatalf("%d connections to the backend wait for a request, want %d", n, most-2)
		}
		for i := range most {
			c := g.dialFrom(t, fmt.Sprintf("127.0.0.%d", i+1))
			c.send(t, asking("/"))
			b := backend.accept(t)
			b.send(t, switching())
			c.wantOpen(t)
			eventually(t, "descriptors for all that may come", func() bool { return g.plainConns.Load() <= max(1, 2*int64(most-1-i)) })
		}
	})
}

// Faults B1.
func TestRefusalsAndPlainRequestsCountInTheRate(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Listeners[0].HandshakeRate = 1
		s.Routes[0].Path, s.Routes[0].Origins = "/chat", []string{"https://example.com"}
		g := s.run(t)
		for i, request := range []string{
			asking("/nowhere"), // 404
			asking("/chat", "Origin: https://elsewhere.example"), // 403
			"GET /chat HTTP/1.1\n",                               // 400
			getting("/chat"),                                     // of the plain path
		} {
			from := fmt.Sprintf("127.0.0.%d", i+1)
			c := g.dialFrom(t, from)
			c.send(t, request)
			if strings.HasPrefix(request, "GET /chat HTTP/1.1\r\nHost: gateway.test\r\n\r\n") {
				backend.accept(t).send(t, answering("hello", "Connection: close"))
			}
			if status := c.answer(t).StatusCode; status == 429 {
				t.Errorf("%.30q: the first one gets 429", request)
			}
			for _, next := range []string{request, asking("/chat")} {
				c := g.dialFrom(t, from)
				c.send(t, next)
				if got := c.wantRefusal(t, 429, "too many requests").Header.Get("Retry-After"); got == "" {
					t.Error("no Retry-After")
				}
			}
		}
		backend.wantNoConnection(t)
		if n := g.metric(t, "sluice_handshakes_rejected_total", "reason=rate"); n != 8 {
			t.Errorf("%v refusals have the reason rate, want 8", n)
		}
	})
}

// Faults B1.
func TestPlainRequestsHaveALimitAndShares(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Listeners[0].MaxHandshakes = 1 // so 4 requests
		g := s.run(t)
		stream := func(from string) *wire {
			eventually(t, "no handshake under way", func() bool { return g.placesHeld(limits.Handshakes) == 0 })
			c := g.dialFrom(t, from)
			c.send(t, getting("/"))
			return c
		}
		for i := range 4 {
			from := "127.0.0.1"
			if i == 3 {
				stream(from).wantRefusal(t, 503, "its share of the gateway's plain requests")
				from = "127.0.0.2"
			}
			stream(from)
			backend.accept(t)
		}
		stream("127.0.0.3").wantRefusal(t, 503, "as many plain requests")
		backend.wantNoConnection(t)
		if n := g.metric(t, "sluice_handshakes_rejected_total", "reason=requests"); n != 2 {
			t.Errorf("%v refused requests are counted, want 2", n)
		}
		for _, line := range g.lines(t, 2) {
			if reason := line.ContextMap()["reason"]; reason != "requests" && reason != "requests_share" {
				t.Errorf("an access line has the reason %v", reason)
			}
		}
	})
}

func TestLimitsOverTheDescriptorsAreLoweredAndToldOf(t *testing.T) {
	s := newSetup("goroutine", closedAddress(t))
	s.MaxConnections = 100
	s.Listeners[0].MaxConnections = 1000
	g := s.run(t)
	l := g.Listeners()[0]
	if l.MaxConnections != 100 || l.MaxHandshakes != 100 || l.MaxRequests != 100 {
		t.Errorf("%+v; want limits of 100", l)
	}
	if n := g.log.FilterMessage("a limit is lowered to what the process has descriptors for").Len(); n != 2 {
		t.Errorf("%d warnings, want one of max_connections and one of max_handshakes", n)
	}
}
