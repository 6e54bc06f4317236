package proxy

import (
	"testing"

	"sluice/internal/netconn"
)

func TestARequestOverALimitIsRefusedBeforeADial(t *testing.T) {
	for name, test := range map[string]struct {
		limit  func(s *setup)
		status int
		word   string
		reason string
	}{
		"max_sessions of the gateway":  {func(s *setup) { s.MaxSessions = 1 }, 503, "as many sessions", "sessions"},
		"max_sessions of the listener": {func(s *setup) { s.Listeners[0].MaxSessions = 1 }, 503, "as many sessions", "sessions"},
		// Faults C19.
		"max_sessions_per_ip":            {func(s *setup) { s.Listeners[0].MaxSessionsPerIP = 1 }, 429, "as many sessions as one", "sessions_per_ip"},
		"handshake_rate":                 {func(s *setup) { s.Listeners[0].HandshakeRate = 1 }, 429, "too many", "rate"},
		"handshake_rate with a burst":    {func(s *setup) { s.Listeners[0].HandshakeRate, s.Listeners[0].HandshakeBurst = 100, 1 }, 429, "too many", "rate"},
		"max_handshakes, all of them on": {func(s *setup) { s.Listeners[0].MaxHandshakes = 1 }, 503, "as many handshakes", "handshakes"},
		"max_connections":                {func(s *setup) { s.Listeners[0].MaxConnections = 1 }, 503, "as many connections", "connections"},
		"descriptors of the process":     {func(s *setup) { s.MaxConnections = 1 }, 503, "as many connections", "connections"},
	} {
		t.Run(name, func(t *testing.T) {
			withTransports(t, func(t *testing.T, driver string) {
				backend := listenRaw(t)
				s := newSetup(driver, backend.Addr().String())
				if s.transport.isFront && (test.reason == "handshakes" || test.reason == "connections") {
					t.Skip("many streams have one connection, and a head comes whole")
				}
				if name == "handshake_rate with a burst" && (s.transport.isFront || s.transport.isBack) {
					t.Skip("bridges may take the 10 ms after which another handshake is allowed")
				}
				test.limit(s)
				g := s.run(t)
				client, b := g.open(t, backend)
				if s.Listeners[0].MaxHandshakes == 1 {
					eventually(t, "the end of the first handshake", func() bool { return g.Listeners()[0].Handshakes == 0 })
					waiting := g.dial(t)
					waiting.send(t, "GET")
					eventually(t, "a handshake under way", func() bool { return g.Listeners()[0].Handshakes == 1 })
				}
				c := g.dial(t)
				if isRead := test.reason != "handshakes" && test.reason != "connections"; isRead {
					c.send(t, asking("/"))
				}
				if got := c.wantRefusal(t, test.status, test.word).Header.Get("Retry-After"); got == "" {
					t.Error("no Retry-After")
				}
				eventually(t, "the reason in the metrics", func() bool {
					return g.metric(t, "sluice_handshakes_rejected_total", "reason="+test.reason) == 1
				})
				backend.wantNoConnection(t)
				wantLive(t, client, b)
			})
		})
	}
}

func TestPlacesOfAnAddressAreReleased(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Listeners[0].MaxSessionsPerIP = 1
		g := s.run(t)
		for range 3 {
			c, b := g.open(t, backend)
			c.send(t, c.closing(1000))
			b.wantClose(t, 1000)
			b.send(t, b.closing(1000))
			b.wantGone(t)
			c.wantClose(t, 1000)
			_ = c.Close()
			g.wantIdle(t)
			eventually(t, "the release of the place", func() bool {
				return (*g.listeners.Load())[0].places.Known() == 0
			})
			// A handshake that fails releases its place as well.
			c = g.dial(t)
			c.send(t, asking("/"))
			netconn.Cut(backend.accept(t).Conn)
			c.wantRefusal(t, 502, "answer")
		}
	})
}
