package proxy

import (
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/proxy/route"
)

// matchedRoutes are routes of all kinds. Each has its index as name, which the backend gets in X-Route.
func matchedRoutes() (all []route.Config) {
	add := func(conditions func(c *route.Config)) {
		c := newRouteConfig("pool")
		conditions(&c)
		c.Name = strconv.Itoa(len(all))
		c.RequestHeader = map[string]string{"X-Route": c.Name}
		all = append(all, c)
	}
	add(func(c *route.Config) {})                                                                                // 0
	add(func(c *route.Config) { c.Hosts = []string{"a.test", "b.test"} })                                        // 1
	add(func(c *route.Config) { c.Host = "*.b.test" })                                                           // 2
	add(func(c *route.Config) { c.Host = "app.*" })                                                              // 3
	add(func(c *route.Config) { c.Host = "a.test"; c.Path = "/x" })                                              // 4
	add(func(c *route.Config) { c.Host = "a.test"; c.PathExact = "/x" })                                         // 5
	add(func(c *route.Config) { c.Host = "a.test"; c.Path = "/x/y" })                                            // 6
	add(func(c *route.Config) { c.Host = "re.test"; c.PathRegexp = `^/v[0-9]+/` })                               // 7
	add(func(c *route.Config) { c.Host = "re.test"; c.PathRegexp = `[.]js$`; c.Method = []string{"GET"} })       // 8, before 7
	add(func(c *route.Config) { c.Host = "re.test"; c.PathRegexp = `^/` })                                       // 9, after 7
	add(func(c *route.Config) { c.Host = "m.test"; c.Method = []string{"GET", "PUT"} })                          // 10
	add(func(c *route.Config) { c.Host = "m.test" })                                                             // 11
	add(func(c *route.Config) { c.Host = "f.test" })                                                             // 12
	add(func(c *route.Config) { c.Host = "f.test"; c.Query = map[string]string{"v": "*"} })                      // 13
	add(func(c *route.Config) { c.Host = "f.test"; c.Query = map[string]string{"v": "a b", "w": "~^[0-9]+$"} })  // 14
	add(func(c *route.Config) { c.Host = "f.test"; c.Header = map[string]string{"x-version": "2"} })             // 15
	add(func(c *route.Config) { c.Host = "f.test"; c.Header = map[string]string{"X-Version": "2", "X-B": "*"} }) // 16
	add(func(c *route.Config) { c.Host = "f.test"; c.Header = map[string]string{"X-Version": "~^3[.]"} })        // 17
	add(func(c *route.Config) {
		c.Host = "f.test"
		c.Method = []string{"GET"}
		c.Query = map[string]string{"m": ""}
	}) // 18
	add(func(c *route.Config) { c.Path = "/first"; c.Priority = 1 }) // 19
	return all
}

func TestEachConditionAndItsRankDecideForBothPaths(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Routes = matchedRoutes()
		g := s.run(t)
		for _, test := range []struct{ host, target, line, want string }{
			{"none.test", "/x", "", "0"},
			{"a.test", "/", "", "1"},
			{"B.test", "/x", "", "1"},
			{"c.b.test", "/", "", "2"},
			{"app.b.test", "/", "", "2"}, // a wildcard before comes before one after
			{"app.test", "/", "", "3"},
			{"app", "/", "", "0"},
			{"a.test", "/x", "", "5"},
			{"a.test", "/%78?y", "", "5"},
			{"a.test", "/x/", "", "4"},
			{"a.test", "/x/y", "", "6"},
			{"a.test", "/xy", "", "1"},
			{"a.test", "/x;v=1", "", "400"},
			{"a.test", "/%2fx", "", "400"},
			{"a.test", "/x/z%2fz;v", "", "4"},
			{"re.test", "/v1/a", "", "7"},
			{"re.test", "/v1/a.js", "", "8"},
			{"re.test", "/v%31/", "", "7"},
			{"re.test", "/v1", "", "9"},
			{"re.test", "/v1%2f", "", "400"},
			{"re.test", "/v1;x/a", "", "400"},
			{"m.test", "/", "", "10"},
			{"f.test", "/", "", "12"},
			{"f.test", "/?v", "", "13"},
			{"f.test", "/?v=a+b&w=x", "", "13"},
			{"f.test", "/?w=%31%32&v=a%20b", "", "14"},
			{"f.test", "/?w=1&v=a+b", "X-Version: 2", "15"},
			{"f.test", "/?w=1&v=a+b", "X-Version: 1\r\nX-Version: 2", "15"},
			{"f.test", "/", "X-VERSION: 2\r\nX-B: x", "16"},
			{"f.test", "/", "X-Version: 3.1", "17"},
			{"f.test", "/", "X-Version: 31", "12"},
			{"f.test", "/?m", "X-Version: 2\r\nX-B: x", "18"},
			{"a.test", "/first", "", "19"},
		} {
			var lines []string
			if test.line != "" {
				lines = strings.Split(test.line, "\r\n")
			}
			for _, ask := range []string{asking(test.target, lines...), getting(test.target, append(lines, "Connection: close")...)} {
				c := g.dial(t)
				c.send(t, strings.Replace(ask, "gateway.test", test.host, 1))
				if test.want == "400" {
					c.wantRefusal(t, 400, "")
					continue
				}
				if got := backend.accept(t).field("X-Route"); got != test.want {
					t.Errorf("%s%s %q: route %s, want %s of %q", test.host, test.target, test.line, got, test.want, ask)
				}
				_ = c.Close()
			}
		}
		for method, want := range map[string]string{"PUT": "10", "DELETE": "11"} {
			c := g.dial(t)
			c.send(t, head(method+" / HTTP/1.1", "Host: m.test", "Content-Length: 0", "Connection: close"))
			if got := backend.accept(t).field("X-Route"); got != want {
				t.Errorf("%s: route %s, want %s", method, got, want)
			}
			_ = c.Close()
		}
	})
}

// A condition is met by what a backend may take for the field, and not by what no backend gets from such a peer.
func TestAConditionCountsTheFieldsThatThePeerMaySend(t *testing.T) {
	for name, test := range map[string]struct {
		field, sent     string
		isTrusted, cert bool
		isMet           bool
	}{
		"anyone's":                     {"X-Debug", "X-Debug: 1", false, false, true},
		"in another spelling":          {"X-Debug", "x_DEBUG: 1", false, false, true},
		"a stranger's proto":           {"X-Forwarded-Proto", "X-Forwarded-Proto: 1", false, false, false},
		"a trusted proxy's":            {"X-Forwarded-Proto", "X-Forwarded-Proto: 1", true, false, true},
		"a trusted proxy's misspelt":   {"X-Forwarded-Proto", "X_Forwarded_Proto: 1", true, false, false},
		"a stranger's address":         {"X-Real-IP", "X-Real-IP: 1", false, false, false},
		"a stranger's certificate":     {"X-Client-Cert-Subject", "X-Client-Cert-Subject: 1", false, false, false},
		"a proxy's certificate":        {"X-Client-Cert-Subject", "X-Client-Cert-Subject: 1", true, false, false},
		"a certificate that is right":  {"X-Client-Cert-Subject", "X-Client-Cert-Subject: 1", true, true, true},
		"a certificate that is spoilt": {"X-Client-Cert-Subject", "X_Client_Cert_Subject: 1", true, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			withTransports(t, func(t *testing.T, driver string) {
				s := newSetup(driver, listenRaw(t).Addr().String())
				if test.isTrusted {
					s.Listeners[0].TrustedProxies = []string{"127.0.0.1"}
				}
				s.Listeners[0].TrustedClientCertificate = test.cert
				guarded := newRouteConfig("")
				guarded.Header, guarded.Respond = map[string]string{test.field: "1"}, &route.Respond{Status: 403, Body: "guarded"}
				other := newRouteConfig("")
				other.Respond = &route.Respond{Status: 404, Body: "other"}
				s.Routes = []route.Config{other, guarded}
				g := s.run(t)
				for _, ask := range []string{asking("/", test.sent), getting("/", test.sent)} {
					c := g.dial(t)
					c.send(t, ask)
					if isMet := c.answer(t).StatusCode == 403; isMet != test.isMet {
						t.Errorf("%q meets the condition: %v, want %v", ask, isMet, test.isMet)
					}
				}
			})
		})
	}
}

func TestRoutesAreShownWithTheirConditions(t *testing.T) {
	s := newSetup("goroutine", "127.0.0.1:1")
	c := newRouteConfig("pool")
	c.Host, c.Hosts, c.PathExact, c.Method, c.Priority = "Example.com", []string{"*.example.com", "app.*"}, "/x", []string{"PUT", "GET"}, 3
	c.Header, c.Query = map[string]string{"x-version": "2", "X-Token": "1"}, map[string]string{"room": "~^[0-9]$"}
	expression := newRouteConfig("pool")
	expression.PathRegexp, expression.Name = "^/v[0-9]", "versions"
	s.Routes = append(s.Routes, c, expression)
	want := []RouteView{
		{
			Name: "Example.com,*.example.com,app.*=/x PUT,GET X-Token=… X-Version=2 ?room=~^[0-9]$", Host: "example.com", Pool: "pool", HTTP: true,
			Hosts: []string{"example.com", "*.example.com", "app.*"}, PathExact: "/x", Method: []string{"GET", "PUT"},
			Header: map[string]string{"X-Version": "2", "X-Token": "…"}, Query: map[string]string{"room": "~^[0-9]$"}, Priority: 3,
		},
		{Name: "/", Path: "/", Pool: "pool", HTTP: true, Header: map[string]string{}, Query: map[string]string{}},
		{Name: "versions", PathRegexp: "^/v[0-9]", Pool: "pool", HTTP: true, Header: map[string]string{}, Query: map[string]string{}},
	}
	if diff := cmp.Diff(want, s.run(t).Routes()); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}
