package proxy

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"sluice/balancer"
	"sluice/proxy/route"
)

// requests are a WebSocket request and a plain one, and an answer to each: rules of routes hold for both.
var requests = map[string]struct {
	ask    func(path string, more ...string) string
	answer func(more ...string) string
	status int
}{
	"WebSocket": {asking, switching, 101},
	"another answer to WebSocket": {asking, func(more ...string) string {
		return head(append([]string{"HTTP/1.1 403 Forbidden", "Content-Length: 0"}, more...)...)
	}, 403},
	"plain": {getting, func(more ...string) string { return answering("", more...) }, 200},
}

// withRewriting sends a request of each kind through a gateway with that route, over each transport. judge gets what the backend has got, and
// what the client has got if the backend's answer has those fields.
func withRewriting(t *testing.T, change func(*route.Config), path string, sent, answered []string, judge func(t *testing.T, g *gateway, s *setup, b *wire, h http.Header)) {
	for name, kind := range requests {
		t.Run(name, func(t *testing.T) {
			withTransports(t, func(t *testing.T, driver string) {
				backend := listenRaw(t)
				s := newSetup(driver, backend.Addr().String())
				change(&s.Routes[0])
				g := s.run(t)
				c := g.dial(t)
				c.send(t, kind.ask(path, sent...))
				b := backend.accept(t)
				b.send(t, kind.answer(answered...))
				response := c.answer(t)
				if response.StatusCode != kind.status {
					t.Fatalf("status %d, want %d", response.StatusCode, kind.status)
				}
				judge(t, g, s, b, response.Header)
			})
		})
	}
}

func TestThePathIsRewritten(t *testing.T) {
	for name, test := range map[string]struct {
		change     func(*route.Config)
		path, want string
	}{
		"a prefix":  {func(r *route.Config) { r.Path, r.RewritePath = "/chat", "/v1" }, "/ch%61t/ro%6Fm?x=%20", "/v1/ro%6Fm?x=%20"},
		"the root":  {func(r *route.Config) { r.Path, r.RewritePath = "/chat", "/" }, "/chat", "/"},
		"the whole": {func(r *route.Config) { r.PathExact, r.RewritePath = "/chat", "/v1/new%20one" }, "/chat?x", "/v1/new%20one?x"},
		"by an expression": {func(r *route.Config) {
			r.PathRegexp, r.RewritePath = `^/rooms/([0-9]+)/(?P<rest>.*)$`, "/api/${rest}/$1"
		}, "/rooms/7/a%20b?x", "/api/a%20b/7?x"},
		"a prefix that is removed": {func(r *route.Config) { r.Path, r.StripPrefix = "/chat", "/chat" }, "/chat//evil.example?x", "/evil.example?x"},
	} {
		t.Run(name, func(t *testing.T) {
			withRewriting(t, test.change, test.path, nil, nil, func(t *testing.T, _ *gateway, _ *setup, b *wire, _ http.Header) {
				if line, _, _ := strings.Cut(b.head, "\r\n"); line != "GET "+test.want+" HTTP/1.1" {
					t.Errorf("the backend gets %q, want %q", line, test.want)
				}
			})
		})
	}
}

func TestARequestIsRefusedIfItsNewPathWouldBeNone(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Routes[0].PathRegexp, s.Routes[0].RewritePath = `^/a(\.)b(\.)$`, "/$1$2/secret"
		g := s.run(t)
		for _, text := range []string{asking("/a.b%2e"), getting("/a%2Eb.")} {
			c := g.dial(t)
			c.send(t, text)
			c.wantRefusal(t, 400, "dots")
		}
		backend.wantNoConnection(t)
	})
}

func TestTheBackendGetsTheHostOfTheRoute(t *testing.T) {
	for header, want := range map[string]string{"": "gateway.test", "chat.internal:8080": "chat.internal:8080", "backend": ""} {
		withRewriting(t, func(r *route.Config) { r.HostHeader = header }, "/", nil, nil, func(t *testing.T, _ *gateway, s *setup, b *wire, _ http.Header) {
			want := want
			if want == "" {
				want = strings.TrimPrefix(s.Pools[0].Backend[0].Address, "wss://")
			}
			if b.field("Host") != want || b.field("X-Forwarded-Host") != "gateway.test" {
				t.Errorf("host_header %q: Host %q, X-Forwarded-Host %q; want %q", header, b.field("Host"), b.field("X-Forwarded-Host"), want)
			}
		})
	}
}

func TestFieldsOfRequestsAndAnswersAreReplaced(t *testing.T) {
	withRewriting(t, func(r *route.Config) {
		r.RequestHeader = map[string]string{"X-Who": "{client_ip} {method} {host} {uri} {backend}", "X-None": "{subject}"}
		r.RemoveHeader = []string{"X-Debug"}
		r.ResponseHeader = map[string]string{"Strict-Transport-Security": "max-age=31536000", "X-Back": "{route} {backend}", "X-Gone": "a{subject}"}
		r.RemoveResponseHeader = []string{"Server"}
	}, "/a%20b?x", []string{"X-Who: me", "X-None: me", "X-Debug: 1"},
		[]string{"Server: secret/1.0", "strict-transport-security: max-age=0", "X-Back: theirs", "X-Gone: theirs", "X-Kept: 1", "Set-Cookie: a=b"},
		func(t *testing.T, _ *gateway, s *setup, b *wire, h http.Header) {
			backend := s.Pools[0].Backend[0].Address
			if got := b.field("X-Who"); got != "127.0.0.1 GET gateway.test /a%20b?x "+backend || b.field("X-None") != "" || b.field("X-Debug") != "" {
				t.Errorf("the backend gets %q", b.head)
			}
			if len(h["Server"]) > 0 || strings.Join(h["Strict-Transport-Security"], "|") != "max-age=31536000" || strings.Join(h["X-Back"], "|") != "/ "+backend ||
				len(h["X-Gone"]) > 0 || h.Get("X-Kept") != "1" || strings.Join(h["Set-Cookie"], "|") != "a=b" {
				t.Errorf("the client gets %v", h)
			}
		})
}

func TestTheStickyCookieIsAddedToTheFieldsOfTheRoute(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		for name, kind := range requests {
			if kind.status == 403 {
				continue
			}
			backend := listenRaw(t)
			s := newSetup(driver, backend.Addr().String())
			s.Pools[0].Policy, s.Pools[0].Sticky.Secret = balancer.PolicySticky, "0123456789abcdef"
			s.Routes[0].ResponseHeader = map[string]string{"Set-Cookie": "route=1"}
			c := s.run(t).dial(t)
			c.send(t, kind.ask("/"))
			backend.accept(t).send(t, kind.answer("Set-Cookie: theirs=1"))
			if got := c.answer(t).Header["Set-Cookie"]; len(got) != 2 || got[0] != "route=1" || !strings.HasPrefix(got[1], "sluice=") {
				t.Errorf("%s: cookies %q", name, got)
			}
		}
	})
}

func TestAnInterimAnswerHasNoFieldThatTheRouteSetsOrRemoves(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Routes[0].ResponseHeader = map[string]string{"X-Fixed": "ours", "X-Filled": "{host}"}
		s.Routes[0].RemoveResponseHeader = []string{"Server"}
		c := s.run(t).dial(t)
		c.send(t, getting("/"))
		lines := []string{"Link: </a>", "Server: theirs", "X-Fixed: theirs", "X_Filled: theirs"}
		backend.accept(t).send(t, head(append([]string{"HTTP/1.1 103 Early Hints"}, lines...)...)+answering("", lines...))
		for _, want := range []int{103, 200} {
			if response := c.answer(t); response.StatusCode != want || response.Header.Get("Link") != "</a>" || strings.Contains(fmt.Sprint(response.Header), "theirs") {
				t.Errorf("status %d, %v; want %d", response.StatusCode, response.Header, want)
			}
		}
	})
}

func TestAnAnswerWithoutABodyKeepsItsLengthBesideReplacedFields(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Routes[0].ResponseHeader = map[string]string{"Content-Type": "text/ours"}
		s.Routes[0].RemoveResponseHeader = []string{"Date", "ETag"}
		c := s.run(t).dial(t)
		for _, answer := range []string{
			head("HTTP/1.1 304 Not Modified", "Content-Length: 7", "Content-Type: text/theirs", "ETag: x", "Date: y"),
			head("HTTP/1.1 426 Upgrade Required", "Content-Length: 0", "Upgrade: h2c", "Connection: Upgrade", "Content-Type: text/theirs"),
			answering("body", "Content-Type: text/theirs", "Connection: Content-Type"),
		} {
			c.send(t, getting("/", "Connection: close"))
			b := backend.accept(t)
			b.send(t, answer)
			c.mayWait()
			text, err := io.ReadAll(c.reader)
			if err != nil || strings.Count(string(text), "Content-Type: text/ours\r\n") != 1 || strings.Contains(string(text), "theirs") ||
				strings.Contains(strings.ToLower(string(text)), "etag") || strings.Contains(string(text), "Date:") {
				t.Errorf("the client gets %q, %v", text, err)
			}
			if wants := strings.Contains(answer, " 304 "); wants && !strings.Contains(string(text), "Content-Length: 7\r\n") {
				t.Errorf("the client gets %q, without the length", text)
			}
			if wants := strings.Contains(answer, " 426 "); wants && !strings.Contains(string(text), "Upgrade: h2c\r\n") {
				t.Errorf("the client gets %q, without Upgrade", text)
			}
			_ = b.Close()
			c = dialAddr(t, c.RemoteAddr())
		}
	})
}

func TestRefusalsOfTheGatewayHaveNoFieldsOfTheRoute(t *testing.T) {
	withFronts(t, func(t *testing.T, driver string) {
		s := newSetup(driver, closedAddress(t))
		s.Routes[0].ResponseHeader = map[string]string{"X-Ours": "1"}
		g := s.run(t)
		for name, kind := range requests {
			c := g.dial(t)
			c.send(t, kind.ask("/"))
			if response := c.wantRefusal(t, 502, "reached"); len(response.Header["X-Ours"]) > 0 {
				t.Errorf("%s: header %v", name, response.Header)
			}
		}
	})
}

// Whatever a client says, it is one value of one field, for the backend and in answers.
func TestNoClientAddsAFieldByAPlaceholder(t *testing.T) {
	values := "{client_ip}|{host}|{hostport}|{path}|{query}|{uri}|{method}|{scheme}|{port}|{request_id}|{tls_version}|{sni}|{subject}|{route}|{backend}"
	for _, path := range []string{"/a%0d%0aX-Evil:%201", "/a?x\xff%0d%0aX-Evil:%201", "//a;b?<script>\"'`{host}", "/\xc3\xb6{uri}"} {
		withRewriting(t, func(r *route.Config) {
			r.RequestHeader = map[string]string{"X-All": values}
			r.ResponseHeader = map[string]string{"X-All": values}
			r.PathParameters, r.EncodedSlashes = "pass", "pass"
		}, path, []string{"X-Request-Id: a\tb\xff", "X-Client-Cert-Subject: CN=evil"}, nil, func(t *testing.T, _ *gateway, _ *setup, b *wire, h http.Header) {
			if b.field("X-Evil") != "" || strings.Contains(b.field("X-All"), "CN=evil") || !strings.Contains(b.field("X-All"), "|127.0.0.1:") && !strings.Contains(b.field("X-All"), "wss://") {
				t.Errorf("path %q: the backend gets %q", path, b.head)
			}
			if len(h["X-All"]) != 1 || len(h["X-Evil"]) > 0 || h.Get("X-All") != b.field("X-All") {
				t.Errorf("path %q: the client gets %q, the backend %q", path, h, b.field("X-All"))
			}
		})
	}
}

// crypto/tls checks little of a server's name.
func TestWhatIsKnownOfTLSIsInPlaceholders(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Routes[0].RequestHeader = map[string]string{"X-TLS": "{tls_version} {scheme}", "X-SNI": "{sni}"}
		s.Listeners[0].ProxyProtocol, s.Listeners[0].ProxyProtocolFrom = true, []string{"127.0.0.1"}
		g := s.runSecure(t)
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			for name, kind := range requests {
				c := g.dial(t)
				c.send(t, "PROXY TCP4 192.0.2.7 192.0.2.8 1 2\r\n")
				c.Conn = tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true, ServerName: "x\r\nX-Evil: 1", MinVersion: version, MaxVersion: version})
				c.reader = bufio.NewReader(c.Conn)
				c.send(t, kind.ask("/"))
				b := backend.accept(t)
				want := map[uint16]string{tls.VersionTLS12: "1.2 https", tls.VersionTLS13: "1.3 https"}[version]
				if got := b.field("X-TLS"); got != want || b.field("X-Evil") != "" || b.field("X-SNI") != "x??X-Evil: 1" {
					t.Errorf("%s: the backend gets %q, want %q", name, b.head, want)
				}
				_ = c.Close()
			}
		}
	})
}

func TestTheListenersPortAndSchemeAreInPlaceholders(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Routes[0].RequestHeader = map[string]string{"X-Listener": "{scheme} {port} {tls_version}"}
		g := s.run(t)
		_, port, _ := strings.Cut(g.Proxy.Addr("public").String(), ":")
		want := "http " + port + " "
		if g.transport.isFront && g.transport.isSecure {
			want = "https " + port + " 1.3"
		}
		for name, kind := range requests {
			c := g.dial(t)
			c.send(t, kind.ask("/"))
			b := backend.accept(t)
			if got := b.field("X-Listener"); got != strings.TrimSpace(want) {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
			b.send(t, kind.answer())
			c.answer(t)
		}
	})
}

func TestALocationOfTheBackendComesBack(t *testing.T) {
	for name, test := range map[string]struct{ in, want []string }{
		"a path":          {[]string{"Location: /login?x", "Set-Cookie: a=b; Path=/; Secure"}, []string{"/chat/login?x", "a=b; Path=/chat; Secure"}},
		"another host":    {[]string{"Location: https://other.test/", "Set-Cookie: a=b"}, []string{"https://other.test/", "a=b"}},
		"its own name":    {[]string{"Location: http://chat.internal/x", "Set-Cookie: a=b; Path=/x"}, []string{"/chat/x", "a=b; Path=/chat/x"}},
		"the client's":    {[]string{"Location: https://gateway.test/x", "Set-Cookie: a=b"}, []string{"https://gateway.test/chat/x", "a=b"}},
		"with other host": {[]string{"Location: //evil.example/x", "Set-Cookie: a=b"}, []string{"//evil.example/x", "a=b"}},
	} {
		t.Run(name, func(t *testing.T) {
			withTransports(t, func(t *testing.T, driver string) {
				for name, kind := range requests {
					backend := listenRaw(t)
					s := newSetup(driver, backend.Addr().String())
					r := &s.Routes[0]
					r.Path, r.StripPrefix, r.RewriteLocation, r.HostHeader = "/chat", "/chat", true, "chat.internal"
					c := s.run(t).dial(t)
					c.send(t, kind.ask("/chat/a"))
					b := backend.accept(t)
					want := test.want
					if kind.status == 101 {
						b.send(t, kind.answer(test.in...))
						want = nil
						for _, line := range test.in {
							_, value, _ := strings.Cut(line, ": ")
							want = append(want, value)
						}
					} else {
						b.send(t, head(append([]string{"HTTP/1.1 302 Found", "Content-Length: 0"}, test.in...)...))
					}
					h := c.answer(t).Header
					if h.Get("Location") != want[0] || h.Get("Set-Cookie") != want[1] || len(h["Location"]) != 1 {
						t.Errorf("%s: the client gets %v, want %q", name, h, want)
					}
				}
			})
		})
	}
}

// ownAnswers runs a gateway whose second route, below /own, answers by itself, and a backend that gets nothing of it.
func ownAnswers(t *testing.T, driver string, change func(*route.Config)) (*gateway, rawBackend) {
	backend := listenRaw(t)
	s := newSetup(driver, backend.Addr().String())
	own := newRouteConfig("")
	own.Path = "/own"
	change(&own)
	s.Routes = append(s.Routes, own)
	return s.run(t), backend
}

func TestARouteRedirects(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		g, backend := ownAnswers(t, driver, func(r *route.Config) {
			r.Redirect, r.RedirectStatus = "https://{host}/new{path}?from={query}", 302
			r.ResponseHeader = map[string]string{"X-Ours": "{method}"}
		})
		for name, text := range map[string]string{
			"WebSocket": asking("/own/x?<b>"), "plain": getting("/own/x?<b>"), "with a body": head("POST /own/x?<b> HTTP/1.1", "Host: gateway.test", "Content-Length: 5") + "hello",
		} {
			c := g.dial(t)
			c.send(t, text)
			response := c.wantBody(t, 302, "")
			if got := response.Header.Get("Location"); got != "https://gateway.test/new/own/x?from=%3Cb%3E" || response.Header.Get("X-Ours") == "" || len(response.Header["Content-Type"]) > 0 {
				t.Errorf("%s: header %v", name, response.Header)
			}
		}
		backend.wantNoConnection(t)
		for _, line := range g.lines(t, 3) {
			if m := line.ContextMap(); m["route"] != "/own" || m["pool"] != "" || m["reason"] != "redirect" || m["status"] != int64(302) {
				t.Errorf("the access log says %v", m)
			}
		}
		if n := g.metric(t, "sluice_http_requests_total", "code=302", "pool=,", "route=/own"); n != 2 {
			t.Errorf("%v plain requests counted", n)
		}
		if n := g.metric(t, "sluice_handshakes_rejected_total", "reason=redirect", "route=/own"); n != 3 {
			t.Errorf("%v answers counted", n)
		}
	})
}

func TestARouteResponds(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		g, backend := ownAnswers(t, driver, func(r *route.Config) {
			r.Respond, r.HTTP = &route.Respond{Status: 200, Body: "{host} has no \"room\"\n"}, false
		})
		body := "gateway.test has no \"room\"\n"
		c := g.dial(t)
		c.send(t, getting("/own"))
		if h := c.wantBody(t, 200, body).Header; h.Get("Content-Type") != "text/plain; charset=utf-8" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("header %v", h)
		}
		c = g.dial(t)
		c.send(t, head("POST /own HTTP/1.1", "Host: gateway.test", "Content-Length: 3000000")+strings.Repeat("x", 10000))
		c.wantBody(t, 200, body)

		c = g.dial(t)
		c.send(t, asking("/own"))
		if g.transport.isFront { // a 200 would open a session
			c.wantRefusal(t, 400, "WebSocket")
		} else {
			c.wantBody(t, 200, body)
		}

		c = g.dial(t)
		c.send(t, head("HEAD /own HTTP/1.1", "Host: gateway.test", "Connection: close"))
		c.mayWait()
		response, err := http.ReadResponse(c.reader, &http.Request{Method: "HEAD"})
		if err != nil || response.StatusCode != 200 || response.ContentLength != int64(len(body)) {
			t.Errorf("in answer to HEAD: %v, %v", response, err)
		}
		if !g.transport.isFront { // what is after it there is the next answer
			c.wantEnd(t)
		}
		backend.wantNoConnection(t)
	})
}

func TestAnAnswerOfTheRouteEndsNoConnection(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		g, backend := ownAnswers(t, driver, func(r *route.Config) { r.Respond = &route.Respond{Status: 204} })
		c := g.dial(t)
		for range 2 {
			c.send(t, getting("/own"))
			if response := c.wantBody(t, 204, ""); response.Close || len(response.Header["Content-Length"]) > 0 || len(response.Header["Content-Type"]) > 0 {
				t.Errorf("close %v, header %v", response.Close, response.Header)
			}
		}
		c.send(t, getting("/other"))
		b := backend.accept(t)
		b.send(t, answering("theirs"))
		c.wantBody(t, 200, "theirs")
		c.send(t, asking("/own")) // the last one: a handshake that is refused
		if response := c.wantBody(t, 204, ""); !response.Close {
			t.Errorf("header %v", response.Header)
		}
		c.wantEnd(t)
	})
}

func TestAReloadMakesARouteOneThatAnswersByItselfAndBack(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		g := s.run(t)
		client, _ := g.open(t, backend)
		sections := s.Sections
		sections.Routes = []route.Config{newRouteConfig("")}
		sections.Routes[0].Redirect = "/elsewhere"
		if err := g.Reload(sections); err != nil {
			t.Fatal(err)
		}
		c := g.dial(t)
		c.send(t, asking("/"))
		c.wantBody(t, 308, "")
		if err := g.Reload(s.Sections); err != nil {
			t.Fatal(err)
		}
		again, b := g.open(t, backend)
		wantLive(t, again, b)
		client.send(t, client.text("still there"))
	})
}
