package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"sluice/proxy/handshake"
	"sluice/proxy/limits"
	"sluice/proxy/route"
)

// panics are the panics that a gateway under test has recovered.
type panics struct {
	mu    sync.Mutex
	rooms []string // guarded by mu
}

func (p *panics) handle(room string, _ any, _ []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rooms = append(p.rooms, room)
}

func (p *panics) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.rooms)
}

// want waits until exactly these rooms have reported panics.
func (p *panics) want(t *testing.T, rooms ...string) {
	t.Helper()
	told := func() string {
		p.mu.Lock()
		defer p.mu.Unlock()
		return strings.Join(p.rooms, " ")
	}
	eventually(t, "reports of panics", func() bool { return len(told()) >= len(strings.Join(rooms, " ")) })
	if got, want := told(), strings.Join(rooms, " "); got != want {
		t.Errorf("panics of %q were reported; want %q", got, want)
	}
}

// breakRoute replaces the route with that path by a route whose picks panic.
func (g *gateway) breakRoute(path string) {
	all := slices.Clone(g.routes.Load().Routes)
	for i, r := range all {
		if r.Path == path {
			all[i] = &route.Route{Conditions: r.Conditions, Config: r.Config, Name: r.Name, PoolName: r.PoolName, Plain: r.Plain}
		}
	}
	table := route.NewTable(all)
	g.routes.Store(&table)
}

// handshakes returns the number of handshakes under way.
func handshakes(g *gateway) int { return int(g.placesHeld(limits.Handshakes)) }

func TestAHandshakeThatPanicsIsA502AndNoOtherSessionNotices(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		for _, isSecure := range []bool{false, true} {
			t.Run(fmt.Sprintf("TLS %t", isSecure), func(t *testing.T) {
				backend, p := listenRaw(t), new(panics)
				s := newSetup(driver, backend.Addr().String())
				s.Panics = p.handle
				s.Routes[0].Path = "/live"
				s.Routes = append(s.Routes, newRouteConfig("pool"))
				s.Routes[1].Path = "/broken"
				s.Listeners[0].MaxHandshakes = 3
				run, dial := s.run, (*gateway).dial
				if isSecure {
					run, dial = s.runSecure, (*gateway).dialSecure
				}
				g := run(t)
				g.breakRoute("/broken")
				client := dial(g, t)
				client.send(t, asking("/live"))
				b := backend.accept(t)
				b.send(t, switching())
				client.wantOpen(t)
				const times = 5 // more than max_handshakes
				for i := range times {
					c := dial(g, t)
					c.send(t, asking("/broken"))
					c.wantRefusal(t, 502, "failed")
					c.wantEnd(t)
					_ = c.Close()
					eventually(t, "the end of the handshake", func() bool { return handshakes(g) == 0 })
					line := g.lines(t, i+1)[i].ContextMap()
					if line["reason"] != "internal_error" || line["status"] != int64(502) {
						t.Errorf("the access line says %v, %v; want internal_error, 502", line["reason"], line["status"])
					}
				}
				if n := p.count(); n != times {
					t.Errorf("%d panics were reported; want %d", n, times)
				}
				wantLive(t, client, b)
				if n := g.metric(t, "sluice_handshakes_rejected_total", "reason=internal_error"); n != times {
					t.Errorf("%v handshakes are counted; want %d", n, times)
				}
				eventually(t, "one session", func() bool { return g.placesHeld(limits.Sessions) == 1 })
				_ = client.Close()
				_ = b.Close()
				g.wantIdle(t)
			})
		}
	})
}

// A brokenTracer panics at one step of a handshake's path.
type brokenTracer struct{ step string }

func (b brokenTracer) Begin(time.Time, handshake.TraceParent) handshake.Trace { return b }
func (brokenTracer) IsRecorded() bool                                         { return true }
func (b brokenTracer) Fields() (string, string)                               { return "", "" }
func (b brokenTracer) End(handshake.TraceEnd)                                 {}
func (b brokenTracer) Step(s handshake.TraceStep) {
	if s.Name == b.step {
		panic("injected")
	}
}

func TestAHandshakeThatPanicsReleasesAllThatItHolds(t *testing.T) {
	for _, step := range []string{"accept", "route", "pick", "dial", "answer"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			backend, p := listenRaw(t), new(panics)
			s := newSetup("goroutine", backend.Addr().String())
			s.Panics, s.Tracer = p.handle, brokenTracer{step}
			s.Listeners[0].MaxHandshakes = 2
			g := s.run(t)
			for range 3 {
				c := g.dial(t)
				c.send(t, asking("/"))
				if step == "answer" {
					backend.accept(t).send(t, switching())
				}
				c.wantRefusal(t, 502, "failed")
				_ = c.Close()
				eventually(t, "the end of the handshake", func() bool { return handshakes(g) == 0 })
			}
			p.want(t, room, room, room)
			g.wantIdle(t)
			eventually(t, "the release of all places", func() bool {
				return g.placesHeld(limits.Connections)+g.placesHeld(limits.Sessions) == 0 && g.sessions.Count() == 0
			})
			if n := g.metric(t, "sluice_sessions_active"); n != 0 {
				t.Errorf("sluice_sessions_active = %v; want 0", n)
			}
		})
	}
}

// A brokenTLS panics in every other handshake.
type brokenTLS struct {
	TLSServer
	mu    sync.Mutex
	count int // guarded by mu
}

func (b *brokenTLS) Handshake(ctx context.Context, conn net.Conn) (*tls.Conn, string, error) {
	b.mu.Lock()
	b.count++
	isBroken := b.count%2 == 1
	b.mu.Unlock()
	if isBroken {
		panic("injected")
	}
	return b.TLSServer.Handshake(ctx, conn)
}

func TestATLSHandshakeThatPanicsEndsAlone(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend, p := listenRaw(t), new(panics)
		s := newSetup(driver, backend.Addr().String())
		s.Panics = p.handle
		s.Listeners[0].TLS = &brokenTLS{TLSServer: newTLSServer()}
		g := s.run(t)
		first := g.dial(t)
		first.send(t, "\x16\x03\x01")
		first.wantGone(t)
		p.want(t, room)
		second := g.dialSecure(t)
		second.send(t, asking("/"))
		b := backend.accept(t)
		b.send(t, switching())
		second.wantOpen(t)
		wantLive(t, second, b)
	})
}

// A panic at the end of a session must not keep its place in the pool.
func TestASessionWhoseEndPanicsReleasesAllThatItHolds(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend, p := listenRaw(t), new(panics)
		s := newSetup(driver, backend.Addr().String())
		s.Panics = p.handle
		s.breaks = func(p *Proxy) { p.metrics.duration = nil }
		g := s.run(t)
		client, b := g.open(t, backend)
		_ = client.Close()
		_ = b.Close()
		g.wantIdle(t)
		eventually(t, "the release of all places", func() bool {
			return g.placesHeld(limits.Connections)+g.placesHeld(limits.Sessions) == 0 && g.sessions.Count() == 0
		})
		p.want(t, room)
	})
}

// A brokenCore panics when it writes a line with a certain message.
type brokenCore struct {
	zapcore.Core
	message string
}

func (b brokenCore) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.Message == b.message {
		panic("injected")
	}
	return b.Core.Check(e, c)
}

func (b brokenCore) With(f []zapcore.Field) zapcore.Core {
	return brokenCore{b.Core.With(f), b.message}
}

// breakAccessLines makes access lines with that message panic.
func (s *setup) breakAccessLines(message string) {
	s.breaks = func(p *Proxy) {
		p.access = p.access.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core { return brokenCore{c, message} }))
	}
}

func TestAPanicAsAHandshakeBecomesASessionReleasesEverythingOnce(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend, p := listenRaw(t), new(panics)
		s := newSetup(driver, backend.Addr().String())
		s.Panics = p.handle
		s.AccessLines.When = AtBoth
		s.Listeners[0].MaxHandshakes = 0
		s.breakAccessLines("session started")
		g := s.run(t)
		client := g.dial(t)
		client.send(t, asking("/"))
		b := backend.accept(t)
		b.send(t, switching())
		eventually(t, "a report of the panic, and the release of the places", func() bool {
			return p.count() == 1 && g.placesHeld(limits.Connections)+g.placesHeld(limits.Sessions) == 0
		})
		eventually(t, "the listener referred to by its socket alone", func() bool { return (*g.listeners.Load())[0].refs.Load() == 1 })
	})
}

func TestAPanicAsALostHandshakeIsLoggedReleasesItsPlace(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		p := new(panics)
		s := newSetup(driver, "127.0.0.1:1")
		s.Panics = p.handle
		s.Listeners[0].MaxHandshakes = 3
		s.breakAccessLines("session")
		g := s.run(t)
		client := g.dial(t)
		client.send(t, "GET / HTTP/1.1\r\nHo")
		eventually(t, "a handshake under way", func() bool { return handshakes(g) == 1 })
		_ = client.Close()
		eventually(t, "a report of the panic", func() bool { return p.count() == 1 })
		eventually(t, "the end of the handshake", func() bool { return handshakes(g) == 0 })
	})
}
