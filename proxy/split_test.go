package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/balancer"
	"sluice/proxy/handshake"
	"sluice/proxy/reach"
	"sluice/proxy/route"
)

// namedBackend returns the address of a backend that says its name: to a WebSocket request in a field of the 101, to another one in the body.
func namedBackend(t *testing.T, name string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			_, _ = io.WriteString(w, name)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		lines := []string{"HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
			"Sec-WebSocket-Accept: " + acceptOf(r.Header.Get("Sec-WebSocket-Key")), "X-Backend: " + name}
		if _, err := io.WriteString(conn, head(lines...)); err == nil {
			_, _ = io.Copy(io.Discard, conn)
		}
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// newSplitSetup returns a setup whose route has the pools "stable" and "canary" with those weights. Their backends say these names.
func newSplitSetup(t *testing.T, driver string, stable, canary int, change func(*Pool)) *setup {
	s := newSetup(driver)
	s.Pools = nil
	for _, name := range []string{"stable", "canary"} {
		pool := newPool(name, namedBackend(t, name))
		if change != nil {
			change(&pool)
		}
		s.Pools = append(s.Pools, pool)
	}
	s.Routes[0].Pool, s.Routes[0].CloseTimeout = "", milliseconds(20) // these backends answer no close
	s.Routes[0].Pools = []route.Share{{Pool: "stable", Weight: stable}, {Pool: "canary", Weight: canary}}
	return s
}

// session opens a session and returns the pool that it is in, and the cookie that the client gets.
func (g *gateway) session(t *testing.T, fields ...string) (c *wire, pool, cookie string) {
	t.Helper()
	c = g.dial(t)
	c.send(t, asking("/", fields...))
	response := c.wantOpen(t)
	return c, response.Header.Get("X-Backend"), cookieOf(response)
}

// request sends a plain request and returns the pool that has answered it, and the cookie that the client gets.
func (g *gateway) request(t *testing.T, fields ...string) (pool, cookie string) {
	t.Helper()
	c := g.dial(t)
	c.send(t, getting("/", append([]string{"Connection: close"}, fields...)...))
	response := c.answer(t)
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != 200 {
		t.Fatalf("status %d, %q, %v", response.StatusCode, body, err)
	}
	return string(body), cookieOf(response)
}

func cookieOf(r *http.Response) string {
	pair, _, _ := strings.Cut(r.Header.Get("Set-Cookie"), ";")
	return pair
}

func TestTheChosenPoolIsInLogMetricsAndAPI(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		s, traces := newSplitSetup(t, driver, 0, 1, nil), make(endTracer, 2)
		s.Tracer = traces
		g := s.run(t)
		for _, pool := range []string{"stable", "canary"} {
			if !g.hasSeries(t, "sluice_sessions_total", "pool", pool) || !g.hasSeries(t, "sluice_sessions_active", "pool", pool) {
				t.Errorf("no series of the pool %s from the start", pool)
			}
		}
		if pool, _ := g.request(t); pool != "canary" {
			t.Errorf("a request goes to %q, want canary: the other pool's weight is 0", pool)
		}
		c, pool, _ := g.session(t)
		if pool != "canary" {
			t.Errorf("a session goes to %q, want canary", pool)
		}
		if end := <-traces; end.Pool != "canary" {
			t.Errorf("the trace has the pool %q", end.Pool)
		}
		eventually(t, "the session", func() bool { return len(g.Sessions().List()) == 1 })
		if v, _ := g.Sessions().View(reach.FormatID(g.Sessions().List()[0].ID)); v.Pool != "canary" {
			t.Errorf("the API has the session in %q", v.Pool)
		}
		want := []ShareView{{"stable", 0, 0}, {"canary", 1, 1}}
		if views := g.Routes(); len(views) != 1 || views[0].Pool != "" || !slices.Equal(views[0].Pools, want) || views[0].Sessions != 1 {
			t.Errorf("the API has the routes %+v, want one with the pools %v", views, want)
		}
		_ = c.Close()
		for i, line := range g.lines(t, 2) {
			if got := line.ContextMap()["pool"]; got != "canary" {
				t.Errorf("line %d has the pool %v", i, got)
			}
		}
		for _, metric := range []struct {
			name, labels string
		}{{"sluice_sessions_total", "result=established"}, {"sluice_http_requests_total", "code=200"}} {
			if n := g.metric(t, metric.name, "pool=canary", metric.labels); n != 1 {
				t.Errorf("%s of canary is %v, want 1", metric.name, n)
			}
			if n := g.metric(t, metric.name, "pool=stable"); n != 0 {
				t.Errorf("%s of stable is %v, want 0", metric.name, n)
			}
		}
	})
}

// An endTracer gets the ends of traces.
type endTracer chan handshake.TraceEnd

func (c endTracer) Begin(time.Time, handshake.TraceParent) handshake.Trace { return c }
func (endTracer) Fields() (traceparent, tracestate string)                 { return "", "" }
func (endTracer) IsRecorded() bool                                         { return true }
func (endTracer) Step(handshake.TraceStep)                                 {}
func (c endTracer) End(end handshake.TraceEnd)                             { c <- end }

func TestClientsAreDividedByTheWeights(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		g := newSplitSetup(t, driver, 1, 1, nil).run(t)
		sessions, requests := map[string]int{}, map[string]int{}
		for range 30 { // all in one pool: once in 2^29
			c, pool, _ := g.session(t)
			sessions[pool]++
			_ = c.Close()
			pool, _ = g.request(t)
			requests[pool]++
		}
		if len(sessions) != 2 || len(requests) != 2 {
			t.Errorf("sessions in the pools %v, requests in %v", sessions, requests)
		}
	})
}

func TestAKeyKeepsItsPoolOnBothPaths(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		g := newSplitSetup(t, driver, 1, 1, func(p *Pool) { p.Policy, p.Hash.Header = balancer.PolicyHash, "X-Room" }).run(t)
		seen := map[string]bool{}
		for i := range 30 {
			room := "X-Room: " + strconv.Itoa(i)
			c, want, _ := g.session(t, room)
			_ = c.Close()
			seen[want] = true
			for range 2 {
				if got, _ := g.request(t, room); got != want {
					t.Errorf("a request of room %d goes to %s, its session is in %s", i, got, want)
				}
			}
		}
		if len(seen) != 2 {
			t.Errorf("all keys are in the pool %v", seen)
		}
	})
}

func TestAStickyCookieKeepsItsPool(t *testing.T) {
	for _, cookies := range [][2]string{{"sluice", "sluice"}, {"one", "two"}} {
		t.Run(fmt.Sprint(cookies), func(t *testing.T) {
			withTransports(t, func(t *testing.T, driver string) {
				s := newSplitSetup(t, driver, 0, 1, func(p *Pool) { p.Policy, p.Sticky.Secret = balancer.PolicySticky, "0123456789abcdef" })
				s.Pools[0].Sticky.Cookie, s.Pools[1].Sticky.Cookie = cookies[0], cookies[1]
				g := s.run(t)
				_, cookie := g.request(t)
				if !strings.HasPrefix(cookie, cookies[1]+"=") {
					t.Fatalf("the client gets the cookie %q", cookie)
				}
				// From now on new clients go to the other pool.
				s.Routes = slices.Clone(s.Routes)
				s.Routes[0].Pools = []route.Share{{Pool: "stable", Weight: 1}, {Pool: "canary", Weight: 0}}
				mustReload(t, g, s.Sections)
				for range 3 {
					c, pool, again := g.session(t, "Cookie: a=b; "+cookie)
					if pool != "canary" || again != "" {
						t.Errorf("with the cookie of canary a session is in %s and gets the cookie %q", pool, again)
					}
					_ = c.Close()
					if pool, _ := g.request(t, "Cookie: "+cookie); pool != "canary" {
						t.Errorf("with the cookie of canary a request goes to %s", pool)
					}
				}
				for _, forged := range []string{"X-Cookie: none", "Cookie: " + cookies[1] + "=" + strings.Repeat("A", 22)} {
					c, pool, again := g.session(t, forged)
					if pool != "stable" || !strings.HasPrefix(again, cookies[0]+"=") {
						t.Errorf("with %q a session is in %s and gets the cookie %q", forged, pool, again)
					}
					_ = c.Close()
				}
			})
		})
	}
}

// A pool whose backends are down has no other one that takes its requests.
func TestNoPoolTakesTheRequestsOfAnother(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		s := newSplitSetup(t, driver, 0, 1, nil)
		s.Pools[1] = newPool("canary", closedAddress(t))
		g := s.run(t)
		c := g.dial(t)
		c.send(t, asking("/"))
		c.wantRefusal(t, 502, "backend")
		if pool := g.lines(t, 1)[0].ContextMap()["pool"]; pool != "canary" {
			t.Errorf("the refusal has the pool %v", pool)
		}
	})
}

func TestSessionsStayWhereTheyAreWhenWeightsChange(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		s := newSplitSetup(t, driver, 0, 1, nil)
		g := s.run(t)
		c, _, _ := g.session(t)
		s.DrainsRemoved = true
		s.Routes = slices.Clone(s.Routes)
		s.Routes[0].Pools = []route.Share{{Pool: "canary", Weight: 0}, {Pool: "stable", Weight: 1}}
		mustReload(t, g, s.Sections)
		if _, pool, _ := g.session(t); pool != "stable" {
			t.Errorf("after the reload a session is in %s", pool)
		}
		eventually(t, "a session in each pool", func() bool {
			return slices.Equal(g.Routes()[0].Pools, []ShareView{{"canary", 0, 1}, {"stable", 1, 1}})
		})
		// A pool that goes away ends its own sessions alone.
		s.Routes = slices.Clone(s.Routes)
		s.Routes[0].Pools = s.Routes[0].Pools[1:]
		s.Pools = s.Pools[:1]
		mustReload(t, g, s.Sections)
		c.wantClose(t, 1012)
		if n := g.metric(t, "sluice_sessions_active", "pool=stable"); n != 1 {
			t.Errorf("%v sessions of the pool that stays", n)
		}
		if views := g.Routes(); views[0].Pool != "stable" || views[0].Pools != nil {
			t.Errorf("the API has the route %+v", views[0])
		}
	})
}

func TestARouteWithSeveralPoolsThatHasNotChangedStays(t *testing.T) {
	s := newSplitSetup(t, "goroutine", 1, 1, nil)
	g := s.run(t)
	before := g.routes.Load().Routes[0]
	s.Routes, s.Pools = slices.Clone(s.Routes), slices.Clone(s.Pools)
	mustReload(t, g, s.Sections)
	if g.routes.Load().Routes[0] != before {
		t.Error("a reload that changes nothing has made a new route")
	}
	s.Pools = slices.Clone(s.Pools)
	s.Pools[1].Retries++
	mustReload(t, g, s.Sections)
	if g.routes.Load().Routes[0] == before {
		t.Error("a reload that changes the second pool keeps the route")
	}
}

// A connection that a client has authenticated is with a backend of one pool, which later requests need.
func TestAnAuthenticatedConnectionStaysInItsPool(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		one, two := newTrusting(t), newTrusting(t)
		s := newSplitSetup(t, driver, 1, 1, nil)
		s.Pools = []Pool{newPool("stable", one.address()), newPool("canary", two.address())}
		g := s.run(t)
		for range 5 {
			c := g.dial(t)
			c.send(t, getting("/", "Authorization: NTLM hello"))
			c.wantBody(t, 401, "")
			for range 5 {
				c.send(t, getting("/", "Authorization: NTLM alice"))
				c.wantBody(t, 200, "alice")
			}
			_ = c.Close()
		}
	})
}
