package proxy

import (
	"net/netip"
	"testing"
	"time"
)

func TestOverALimitTheAnswerComesBeforeABackendIsDialled(t *testing.T) {
	for name, test := range map[string]struct {
		limit  func(s *setup)
		status int
		word   string
	}{
		"max_sessions of the gateway":    {func(s *setup) { s.MaxSessions = 1 }, 503, "as many"},
		"max_sessions of the listener":   {func(s *setup) { s.Listeners[0].MaxSessions = 1 }, 503, "as many"},
		"max_sessions_per_ip":            {func(s *setup) { s.Listeners[0].MaxSessionsPerIP = 1 }, 429, "too many"},
		"handshake_rate":                 {func(s *setup) { s.Listeners[0].HandshakeRate = 1 }, 429, "too many"},
		"handshake_rate with a burst":    {func(s *setup) { s.Listeners[0].HandshakeRate, s.Listeners[0].HandshakeBurst = 100, 1 }, 429, "too many"},
		"max_handshakes, all of them on": {func(s *setup) { s.Listeners[0].MaxHandshakes = 1 }, 503, "as many"},
	} {
		t.Run(name, func(t *testing.T) {
			withDrivers(t, func(t *testing.T, driver string) {
				backend := listenRaw(t)
				s := newSetup(driver, backend.Addr().String())
				test.limit(s)
				g := s.run(t)
				client, b := g.open(t, backend)
				if s.Listeners[0].MaxHandshakes == 1 {
					eventually(t, "the first handshake over", func() bool { return g.Listeners()[0].Handshakes == 0 })
					waiting := g.dial(t)
					waiting.send(t, "GET")
					eventually(t, "a handshake under way", func() bool { return g.Listeners()[0].Handshakes == 1 })
				}
				c := g.dial(t)
				if s.Listeners[0].MaxHandshakes != 1 { // it is answered unread
					c.send(t, asking("/"))
				}
				if got := c.wantRefusal(t, test.status, test.word).Header.Get("Retry-After"); got == "" {
					t.Error("no Retry-After")
				}
				backend.wantNobody(t)
				wantLive(t, client, b)
			})
		})
	}
}

func TestPlacesOfAnAddressComeBack(t *testing.T) {
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
			eventually(t, "the place given back", func() bool {
				clients := (*g.listeners.Load())[0].clients
				clients.mu.Lock()
				defer clients.mu.Unlock()
				return clients.known[netip.MustParseAddr("127.0.0.1")] == nil
			})
			// A handshake that comes to nothing takes none with it.
			c = g.dial(t)
			c.send(t, asking("/"))
			cut(backend.accept(t).Conn)
			c.wantRefusal(t, 502, "answer")
		}
	})
}

func TestClientsOfOneIPv6NetworkCountAsOne(t *testing.T) {
	c := newClients(&ListenerConfig{MaxSessionsPerIP: 2, HandshakeRate: 0})
	now := time.Now()
	enter := func(s string) bool { return c.enter(netip.MustParseAddr(s), now) }
	if !enter("2001:db8::1") || !enter("2001:db8::2:0:0:1") || enter("2001:db8::ffff") {
		t.Error("a /64 has other than two places")
	}
	if !enter("2001:db8:0:1::1") || !enter("192.0.2.1") || !enter("192.0.2.2") {
		t.Error("other networks are counted with it")
	}
	c.leave(netip.MustParseAddr("2001:db8::1"), now)
	if !enter("2001:db8::3") {
		t.Error("a place that was left isn't free")
	}
}

func TestTheBucketOfAClientFillsAndIsForgotten(t *testing.T) {
	c := newClients(&ListenerConfig{HandshakeRate: 10, HandshakeBurst: 3})
	now, addr := time.Now(), netip.MustParseAddr("192.0.2.1")
	take := func() (n int) {
		for c.enter(addr, now) {
			c.leave(addr, now)
			n++
		}
		return n
	}
	if n := take(); n != 3 {
		t.Errorf("%d at once, want a burst of 3", n)
	}
	now = now.Add(100 * time.Millisecond)
	if n := take(); n != 1 {
		t.Errorf("%d after 100 ms at 10 a second, want 1", n)
	}
	now = now.Add(time.Hour)
	c.sweep(now)
	if len(c.known) != 0 {
		t.Errorf("%d clients are known an hour later", len(c.known))
	}
	if n := take(); n != 3 {
		t.Errorf("%d an hour later, want a burst of 3", n)
	}
}

// Addresses cost an attacker nothing: the table holds only those that still count for something.
func TestTheTableOfClientsDoesNotGrowWithAddressesThatAreGone(t *testing.T) {
	c := newClients(&ListenerConfig{HandshakeRate: 1000, MaxSessionsPerIP: 1})
	now := time.Now()
	for i := range uint32(100_000) {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		c.enter(addr, now)
		now = now.Add(time.Millisecond)
		c.leave(addr, now)
		if len(c.known) > 2*minSweep {
			t.Fatalf("%d clients are known, of which none has a session", len(c.known))
		}
	}
}
