package proxy

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sluice/internal/units"
	"sluice/proxy/route"
	"sluice/upgrade"
)

// rehearsed returns the sections of a setup, and a Report that appends each problem to told.
func (s *setup) rehearsed() (c Sections, report units.Report, told *[]string) {
	told = new([]string)
	report = func(key, problem string, got any, _ string) {
		*told = append(*told, fmt.Sprintf("%s: %s, got %v", key, problem, got))
	}
	return s.Sections, report, told
}

func TestRoutesThatGetRequestsAreNoProblem(t *testing.T) {
	taken := listenRaw(t)
	s := newRoutingSetup("goroutine", taken)
	s.Listeners[0].Address = taken.Addr().String() // no socket is opened
	// Requests of a rehearsal must not count for limits.
	s.Listeners[0].MaxSessions, s.Listeners[0].MaxSessionsPerIP, s.Listeners[0].HandshakeRate, s.Listeners[0].MaxHandshakes = 1, 1, 1, 1
	s.Pools[0].Backend[0].MaxSessions = 1
	s.Routes[0].Origins = []string{"https://*", "https://*.example.com", "http://[::1]:3000", "same", "null", "file://", "app://-"}
	before := runtime.NumGoroutine()
	c, report, told := s.rehearsed()
	Rehearse(c, report)
	if len(*told) > 0 {
		t.Errorf("problems:\n%s", strings.Join(*told, "\n"))
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines, %d before", after, before)
	}
}

// On the first listener another route, with other origins, gets all requests.
func TestARehearsalAsksARouteThroughAListenerThatReachesIt(t *testing.T) {
	s := newSetup("goroutine", "127.0.0.1:1")
	s.Listeners = append(s.Listeners, newListener("other", "127.0.0.1:0"))
	s.Routes[0].Origins = []string{"https://*"}
	s.Routes = append(s.Routes, newRouteConfig("pool"))
	s.Routes[1].Listener, s.Routes[1].Origins = "public", []string{"https://a.example"}
	c, report, told := s.rehearsed()
	Rehearse(c, report)
	if len(*told) > 0 {
		t.Errorf("problems:\n%s", strings.Join(*told, "\n"))
	}
}

func TestAGatewayThatOnlyRedirectsIsNoProblem(t *testing.T) {
	s := newSetup("goroutine", "127.0.0.1:1")
	s.Listeners[0].RedirectHTTPS = true
	c, report, told := s.rehearsed()
	Rehearse(c, report)
	if len(*told) > 0 {
		t.Errorf("problems:\n%s", strings.Join(*told, "\n"))
	}
}

func TestAPanicIsAProblemOfTheSectionThatItHappensIn(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(r *rehearsal) // called before build, and again after it
		want   string
	}{
		{"a route as it is built", func(r *rehearsal) { r.sections.Routes[1].Pool = "none" }, "route[1]: panics: BUG: a route to no pool, got <nil>"},
		{"a request", func(r *rehearsal) {
			if len(r.next.routes) > 0 {
				r.next.routes[1].Pool = nil
			}
		}, "route[1]: panics: runtime error: invalid memory address or nil pointer dereference, got GET /chat, Host: a"},
		{"a request with Origin", func(r *rehearsal) {
			if len(r.next.routes) > 0 {
				r.next.routes[1].Origins[1].Hosts = 99
			}
		}, "route[1].origins[1]: panics: BUG: unknown kind of an origin, got GET /chat, Host: a, Origin: https://b.example"},
	} {
		s := newSetup("goroutine", "127.0.0.1:1")
		route := newRouteConfig("pool")
		route.Path, route.Origins = "/chat", []string{"https://a.example", "https://b.example"}
		s.Routes = append(s.Routes, route)
		c, report, told := s.rehearsed()
		r := newRehearsal(c, report)
		test.damage(r)
		if r.build() {
			test.damage(r)
			r.play()
		}
		if !slices.Equal(*told, []string{test.want}) {
			t.Errorf("%s: problems\n%s\nwant\n%s", test.name, strings.Join(*told, "\n"), test.want)
		}
	}
}

func TestEveryKindOfRouteIsRehearsedWithoutAFalseProblem(t *testing.T) {
	s := newSetup("goroutine", "127.0.0.1:1")
	s.Routes = matchedRoutes()
	add := func(conditions func(c *route.Config)) {
		c := newRouteConfig("pool")
		conditions(&c)
		s.Routes = append(s.Routes, c)
	}
	add(func(c *route.Config) {
		c.Path, c.Header = "/1", map[string]string{"Host": "other", "Connection": "~(?i)upgrade"}
	})
	add(func(c *route.Config) { c.Path, c.Header = "/2", map[string]string{"Transfer-Encoding": "gzip"} })
	add(func(c *route.Config) { c.Path, c.Header = "/3", map[string]string{"Content-Length": "5"} })
	add(func(c *route.Config) { c.Path, c.Method, c.HTTP = "/4", []string{"POST"}, false })
	add(func(c *route.Config) { c.Path, c.Query = "/5", map[string]string{"v": "~^\\bimpossible$^"} })
	add(func(c *route.Config) { c.PathRegexp = "^/6/[.][.]/" })
	add(func(c *route.Config) { c.PathExact, c.Priority = "/7", -1 })
	add(func(c *route.Config) { c.Path, c.Pool, c.Redirect = "/8", "", "https://{host}{uri}" })
	add(func(c *route.Config) {
		c.PathExact, c.Pool, c.Respond, c.Deny = "/9", "", &route.Respond{Status: 204}, []string{"0.0.0.0/0", "::/0"}
	})
	add(func(c *route.Config) { c.Host, c.PathExact = "x.*", "/grün%2f;x" })
	c, report, told := s.rehearsed()
	Rehearse(c, report)
	if len(*told) > 0 {
		t.Errorf("problems:\n%s", strings.Join(*told, "\n"))
	}
}

func TestARehearsalMakesARequestThatMeetsAllConditions(t *testing.T) {
	s := newSetup("goroutine", "127.0.0.1:1")
	s.Routes = matchedRoutes()
	c, report, _ := s.rehearsed()
	r := newRehearsal(c, report)
	r.build()
	for i, of := range r.next.routes {
		ask, isKnown := r.requestFor(of)
		if !isKnown {
			t.Errorf("no request for route %d is known", i)
			continue
		}
		var req upgrade.Request
		if _, err := req.Parse(ask.head()); err != nil || !of.Matches("public", &req) {
			t.Errorf("%q doesn't match route %d: %v", ask.head(), i, err)
		}
	}
}
