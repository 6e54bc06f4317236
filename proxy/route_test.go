package proxy

import (
	"strings"
	"testing"

	"sluice/balancer"
	"sluice/proxy/route"
	"sluice/upgrade"
)

// The routes for the requests below. Each sets X-Route to its own name.
var routeTable = []struct {
	name, listener, host, path, strip string
	passes                            bool // encoded slashes and parameters
}{
	{name: "any", path: "/"},
	{name: "any/chat", path: "/chat"},
	{name: "any/chat/room", path: "/chat/room/"}, // a slash at the end has no meaning
	{name: "exact", host: "Example.com", path: "/"},
	{name: "exact/chat", host: "example.com", path: "/chat", strip: "/chat"},
	{name: "exact/deep", host: "example.com", path: "/a/b", strip: "/a"},
	{name: "wildcard", host: "*.example.com", path: "/w"},
	{name: "longer wildcard", host: "*.eu.example.com", path: "/w"},
	{name: "slashes", host: "slashes.test", path: "/files", passes: true},
	{name: "strict", host: "strict.test", path: "/"},
	{name: "second listener", listener: "second", host: "example.com", path: "/chat"},
	{name: "address", host: "[2001:DB8:0::1]", path: "/"},
	{name: "encoded", host: "encoded.test", path: "/grün", strip: "/grün"},
}

func TestRouting(t *testing.T) {
	for _, test := range []struct {
		host, target, route, sent string // route is "" for a 404, and "400" for a refusal
	}{
		// Hosts.
		{"example.com", "/", "exact", "/"},
		{"EXAMPLE.Com", "/", "exact", "/"},
		{"example.com.", "/", "exact", "/"},
		{"example.com:8443", "/", "exact", "/"},
		{"Example.com.:80", "/", "exact", "/"},
		{"sub.example.com", "/w", "wildcard", "/w"},
		{"a.b.example.com", "/w", "wildcard", "/w"},
		{"a.eu.example.com", "/w", "longer wildcard", "/w"},
		{"eu.example.com", "/w", "wildcard", "/w"},
		{".example.com", "/w", "400", ""},
		{"badexample.com", "/w", "any", "/w"},
		{"example.com.evil.test", "/", "any", "/"},
		{"sub.example.com", "/other", "any", "/other"},
		{"other.test", "/", "any", "/"},
		{"192.0.2.1:80", "/", "any", "/"},
		{"[2001:db8::1]:80", "/", "address", "/"},
		{"[2001:DB8::1]", "/", "address", "/"},
		{"[2001:db8:0::0:1]", "/", "address", "/"},
		{"[2001:db8::2]", "/", "any", "/"},
		// Paths: the longest prefix of whole segments wins.
		{"other.test", "/chat", "any/chat", "/chat"},
		{"other.test", "/chat/", "any/chat", "/chat/"},
		{"other.test", "/chat?x=/chat/room", "any/chat", "/chat?x=/chat/room"},
		{"other.test", "/chatter", "any", "/chatter"},
		{"other.test", "/Chat", "any", "/Chat"},
		{"other.test", "/chat/roo", "any/chat", "/chat/roo"},
		{"other.test", "/chat/room", "any/chat/room", "/chat/room"},
		{"other.test", "/chat/room/7", "any/chat/room", "/chat/room/7"},
		{"other.test", "/chat/rooms", "any/chat", "/chat/rooms"},
		// Encodings: matched in decoded form, and sent unchanged.
		{"other.test", "/%63hat/room%20one", "any/chat", "/%63hat/room%20one"},
		{"other.test", "/ch%61t/r%6Fom", "any/chat/room", "/ch%61t/r%6Fom"},
		{"other.test", "//chat", "any/chat", "//chat"},
		{"other.test", "/chat//room", "any/chat/room", "/chat//room"},
		{"other.test", "/chat%2Froom", "400", ""},
		{"other.test", "/chat%5croom", "400", ""},
		{"other.test", "/chat/../x", "400", ""},
		{"other.test", "/chat/%2E./x", "400", ""},
		{"other.test", "/./chat", "400", ""},
		{"other.test", "/chat/..;x/y", "400", ""},
		// An encoded slash passes where it changes no route. Faults C21.
		{"other.test", "/chat/a%2Fb", "any/chat", "/chat/a%2Fb"},
		{"other.test", "/a%2fb%5Cc", "any", "/a%2fb%5Cc"},
		{"other.test", "/api/contents/a%2Fchat", "any", "/api/contents/a%2Fchat"},
		{"other.test", "/chat/room%2fx", "400", ""},
		{"other.test", "/%2fchat", "400", ""},
		{"other.test", "/chat%2f", "400", ""},
		{"other.test", "/chatter%2f", "any", "/chatter%2f"},
		{"other.test", "/x%2f..%2fchat", "400", ""},
		{"strict.test", "/a%2fb", "400", ""},
		// A backend may drop the parameters of a segment.
		{"other.test", "/a;b=c/d;e", "any", "/a;b=c/d;e"},
		{"other.test", "/chat/x;jsessionid=1", "any/chat", "/chat/x;jsessionid=1"},
		{"other.test", "/chat;x/y", "400", ""},
		{"other.test", "/chat%3bx", "400", ""},
		{"other.test", "/;x/chat", "400", ""},
		{"other.test", "/chat/room;x", "400", ""},
		{"other.test", "/a;x%2fchat", "any", "/a;x%2fchat"},
		{"other.test", "/;x%2fchat", "400", ""}, // decoded first: /chat
		{"other.test", "/chat;x%2fy", "400", ""},
		{"slashes.test", "/files;x", "400", ""}, // not that route's
		{"slashes.test", "/files/a;x", "slashes", "/files/a;x"},
		{"slashes.test", "/files/a%2fb%5Cc", "slashes", "/files/a%2fb%5Cc"},
		{"slashes.test", "/files%2fa", "400", ""}, // not that route's
		{"slashes.test", "/files/%2e%2e%2fx", "400", ""},
		// strip_prefix.
		{"example.com", "/chat", "exact/chat", "/"},
		{"example.com", "/chat?x=1", "exact/chat", "/?x=1"},
		{"example.com", "/chat/", "exact/chat", "/"},
		{"example.com", "/chat/a%20b/c", "exact/chat", "/a%20b/c"},
		{"example.com", "/%63hat/x", "exact/chat", "/x"},
		{"example.com", "//chat//x", "exact/chat", "/x"},
		{"example.com", "/a/b/c", "exact/deep", "/b/c"},
		{"example.com", "/a/c", "exact", "/a/c"},
		{"encoded.test", "/gr%C3%BCn/x", "encoded", "/x"},
		// Absolute-form.
		{"example.com", "http://example.com/chat/x", "exact/chat", "/x"},
		{"example.com", "ws://EXAMPLE.com", "exact", "/"},
		{"example.com", "http://other.test/chat", "400", ""},
		{"example.com:80", "http://example.com/", "exact", "/"},
		{"example.com:81", "http://example.com/", "400", ""},
	} {
		t.Run(strings.ReplaceAll(test.host+" "+test.target, "/", "|"), func(t *testing.T) {
			withTransports(t, func(t *testing.T, driver string) {
				backend := listenRaw(t)
				g := newRoutingSetup(driver, backend).run(t)
				if g.transport.isFront && test.target[0] != '/' {
					t.Skip("HTTP/2 has no absolute form")
				}
				for _, ask := range []string{asking(test.target), getting(test.target, "Connection: close")} {
					c := g.dial(t)
					c.send(t, strings.Replace(ask, "gateway.test", test.host, 1))
					if test.route == "400" {
						c.wantRefusal(t, 400, "")
						continue
					}
					b := backend.accept(t)
					if got := b.field("X-Route"); got != test.route || !strings.HasPrefix(b.head, "GET "+test.sent+" HTTP/1.1\r\n") || b.field("Host") != test.host {
						t.Errorf("route %q, %q; want %q, %q", got, b.head, test.route, test.sent)
					}
					_ = c.Close()
				}
			})
		})
	}
}

func newRoutingSetup(driver string, backend rawBackend) *setup {
	s := newSetup(driver, backend.Addr().String())
	s.Listeners = append(s.Listeners, newListener("second", "127.0.0.1:0"))
	s.Routes = nil
	for _, r := range routeTable {
		c := newRouteConfig("pool")
		c.Listener, c.Host, c.Path, c.StripPrefix = r.listener, r.host, r.path, r.strip
		if r.passes {
			c.EncodedSlashes, c.PathParameters = "pass", "pass"
		}
		if r.name == "strict" {
			c.EncodedSlashes = "refuse"
		}
		c.RequestHeader = map[string]string{"X-Route": r.name}
		s.Routes = append(s.Routes, c)
	}
	return s
}

func TestARouteOfOneListenerComesBeforeARouteOfAll(t *testing.T) {
	backend := listenRaw(t)
	g := newRoutingSetup("goroutine", backend).run(t)
	for listener, want := range map[string]string{"public": "exact/chat", "second": "second listener"} {
		c := dialAddr(t, g.Addr(listener))
		c.send(t, strings.Replace(asking("/chat"), "gateway.test", "example.com", 1))
		if got := backend.accept(t).field("X-Route"); got != want {
			t.Errorf("listener %s: route %q, want %q", listener, got, want)
		}
	}
}

func TestARouteSetsAndRemovesFieldsOnBothPaths(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Routes[0].RequestHeader = map[string]string{"X-Team": "chat", "User-Agent": "gateway", "X-Forwarded-Host": "set.test"}
		s.Routes[0].RemoveHeader = []string{"X-Debug", "Cookie", "X-Request-Id"}
		g := s.run(t)
		forged := []string{"X-Team: forged", "x-team: again", "X_Team: underscored", "User-Agent: own", "X-Debug: 1", "X_DEBUG: 2", "Cookie: a=b", "X-Other: stays"}
		for _, ask := range []string{asking("/", forged...), getting("/", append(forged, "Connection: close")...)} {
			c := g.dial(t)
			c.send(t, ask)
			b := backend.accept(t)
			lower := strings.ToLower(b.head)
			for _, gone := range []string{"forged", "again", "underscored", "own\r\n", "x-debug", "x_debug", "cookie", "x-request-id"} {
				if strings.Contains(lower, gone) {
					t.Errorf("%s arrives: %q", gone, b.head)
				}
			}
			if b.field("X-Team") != "chat" || b.field("User-Agent") != "gateway" || b.field("X-Other") != "stays" || b.field("X-Forwarded-Host") != "set.test" {
				t.Errorf("the backend gets %q", b.head)
			}
			_ = c.Close()
		}
	})
}

// A name with underscores instead of hyphens names the same field.
// Faults B6.
func TestAFieldIsRemovedUnderEverySpellingOnBothPaths(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Routes[0].RemoveHeader = []string{"X_Forwarded_For", "x_request_id", "X_Forwarded_Proto"}
		g := s.run(t)
		for _, ask := range []string{asking("/"), getting("/", "Connection: close")} {
			c := g.dial(t)
			c.send(t, ask)
			b := backend.accept(t)
			for _, name := range []string{"X-Forwarded-For", "X-Request-Id", "X-Forwarded-Proto"} {
				wantField(t, b, name, "-")
			}
			wantField(t, b, "X-Forwarded-Host", "gateway.test")
			_ = c.Close()
		}
	})
}

func TestAListenerThatRedirectsSendsAllToHTTPS(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Listeners[0].RedirectHTTPS = true
		g := s.run(t)
		for _, test := range []struct{ ask, want string }{
			{getting("/a%20b?x=1"), "https://gateway.test/a%20b?x=1"},
			{asking("/chat"), "https://gateway.test/chat"},
			{strings.Replace(getting("/"), "gateway.test", "Gateway.test:8080", 1), "https://gateway.test/"},
			{strings.Replace(getting("/"), "gateway.test", "[::1]:8080", 1), "https://[::1]/"},
			{head("POST /form HTTP/1.1", "Host: gateway.test", "Content-Length: 4") + "body", "https://gateway.test/form"},
		} {
			c := g.dial(t)
			c.send(t, test.ask)
			if got := c.wantRefusal(t, 308, "https").Header.Get("Location"); got != test.want {
				t.Errorf("Location %q, want %q", got, test.want)
			}
		}
		backend.wantNoConnection(t)
	})
}

func TestARouteMayRefusePlainRequests(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Routes[0].HTTP = false
		g := s.run(t)
		c := g.dial(t)
		c.send(t, getting("/"))
		if h := c.wantRefusal(t, 426, "WebSocket only").Header; h.Get("Upgrade") != "websocket" || h.Get("Sec-WebSocket-Version") != "13" {
			t.Errorf("header %v", h)
		}
		backend.wantNoConnection(t)
		g.open(t, backend)
	})
}

func TestFindDoesNotAllocate(t *testing.T) {
	s := newRoutingSetup("goroutine", listenRaw(t))
	var all []*route.Route
	for i := range s.Routes {
		all = append(all, route.New(&s.Routes[i], &balancer.Config{}, nil))
	}
	table := route.NewTable(all)
	var r upgrade.Request
	if _, err := r.Parse([]byte(getting("/chat/room/7"))); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { table.Find("public", &r, r.Path()) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
