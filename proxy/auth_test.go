package proxy

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/prometheus/common/expfmt"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/bcrypt"

	"sluice/auth"
	"sluice/proxy/limits"
	"sluice/proxy/session"
)

// withUsers adds an [[auth]] of the kind basic, by which clients of the first route have to authenticate. alice's password is "wonder:land",
// bob's is "builder".
func (s *setup) withUsers(t *testing.T) {
	t.Helper()
	var content strings.Builder
	for name, password := range map[string]string{"alice": "wonder:land", "bob": "builder"} {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		content.WriteString(name + ":" + string(hash) + "\n")
	}
	path := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(path, []byte(content.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s.withAuth(t, &auth.Config{Name: "staff", Kind: auth.KindBasic, UsersFile: path})
}

// withAuth adds an [[auth]], by which clients of the first route have to authenticate.
func (s *setup) withAuth(t *testing.T, c *auth.Config) {
	t.Helper()
	a, err := auth.New(c, auth.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Authenticators = map[string]*auth.Authenticator{c.Name: a}
	s.Routes[0].Auth = c.Name
}

func basicLine(login string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(login))
}

func TestARouteWithAuthPassesItsUsersOnAllTransports(t *testing.T) {
	for name, kind := range requests {
		t.Run(name, func(t *testing.T) {
			withTransports(t, func(t *testing.T, driver string) {
				backend := listenRaw(t)
				s := newSetup(driver, backend.Addr().String())
				s.withUsers(t)
				s.Routes[0].RequestHeader = map[string]string{"X-User": "{subject}"}
				g := s.run(t)
				for range 2 { // the second time without bcrypt
					c := g.dial(t)
					c.send(t, kind.ask("/chat", basicLine("alice:wonder:land"), "X-User: bob"))
					b := backend.accept(t)
					if got := b.field("X-User"); got != "alice" {
						t.Errorf("the backend gets X-User: %q; want \"alice\"", got)
					}
					if got := b.field("Authorization"); "Authorization: "+got != basicLine("alice:wonder:land") {
						t.Errorf("the backend gets Authorization: %q; want the client's", got)
					}
					b.send(t, kind.answer())
					if response := c.answer(t); response.StatusCode != kind.status {
						t.Fatalf("status %d, want %d", response.StatusCode, kind.status)
					}
					_, _ = c.Close(), b.Close()
				}
				if n := g.metric(t, "sluice_auth_total", "auth=staff", "result=accepted"); n != 2 {
					t.Errorf("sluice_auth_total counts %v accepted; want 2", n)
				}
				g.wantIdle(t)
			})
		})
	}
}

func TestARouteWithAuthRefusesOthersOnAllTransports(t *testing.T) {
	for name, kind := range requests {
		if kind.status == 403 {
			continue // is of the backend's answer
		}
		t.Run(name, func(t *testing.T) {
			withTransports(t, func(t *testing.T, driver string) {
				backend := listenRaw(t)
				s := newSetup(driver, backend.Addr().String())
				s.withUsers(t)
				g := s.run(t)
				for i, test := range []struct {
					lines         []string
					result, cause string
				}{
					{nil, "missing", "no credentials"},
					{[]string{basicLine("alice:builder")}, "invalid", "wrong user or password"},
					{[]string{basicLine("carol:builder")}, "invalid", "wrong user or password"},
					{[]string{basicLine("bob:builder"), basicLine("alice:builder")}, "invalid", "more than one Authorization field"},
				} {
					before := g.metric(t, "sluice_auth_total", "auth=staff", "result="+test.result)
					c := g.dial(t)
					c.send(t, kind.ask("/chat", test.lines...))
					response := c.wantRefusal(t, http.StatusUnauthorized, "credentials")
					if got, want := response.Header.Get("WWW-Authenticate"), `Basic realm="staff", charset="UTF-8"`; got != want {
						t.Errorf("WWW-Authenticate: %q; want %q", got, want)
					}
					_ = c.Close()
					line := g.lines(t, i+1)[i].ContextMap()
					if line["reason"] != "auth" || line["error"] != test.cause || line["status"] != int64(401) {
						t.Errorf("access line %v; want the status 401, the reason auth and the error %q", line, test.cause)
					}
					if n := g.metric(t, "sluice_auth_total", "auth=staff", "result="+test.result) - before; n != 1 {
						t.Errorf("%v more %s decisions; want 1", n, test.result)
					}
				}
				if n := g.metric(t, "sluice_handshakes_rejected_total", "reason=auth"); n != 4 {
					t.Errorf("%v rejected handshakes; want 4", n)
				}
				backend.wantNoConnection(t)
			})
		})
	}
}

// What refuses a request without its credentials comes first: it costs less.
func TestAddressAndOriginAreCheckedBeforeCredentials(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		s := newSetup(driver, closedAddress(t))
		s.withUsers(t)
		s.Routes[0].Origins = []string{"https://app.test"}
		g := s.run(t)
		c := g.dial(t)
		c.send(t, asking("/", "Origin: https://evil.test", basicLine("alice:wonder:land")))
		c.wantRefusal(t, http.StatusForbidden, "Origin")

		s = newSetup(driver, closedAddress(t))
		s.withUsers(t)
		s.Routes[0].Deny = []string{"127.0.0.0/8"}
		g = s.run(t)
		for _, request := range []string{asking("/"), getting("/")} {
			c := g.dial(t)
			c.send(t, request)
			c.wantRefusal(t, http.StatusForbidden, "address")
		}
		if n := g.metric(t, "sluice_auth_total"); n != 0 {
			t.Errorf("%v decisions; want none", n)
		}
	})
}

func TestASecondRequestOfAConnectionNeedsCredentialsToo(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.withUsers(t)
		g := s.run(t)
		c := g.dial(t)
		c.send(t, getting("/", basicLine("alice:wonder:land")))
		b := backend.accept(t)
		b.send(t, answering("first"))
		c.wantBody(t, 200, "first")
		c.send(t, getting("/"))
		c.wantRefusal(t, http.StatusUnauthorized, "credentials")

		c = g.dial(t)
		c.send(t, getting("/", basicLine("alice:wonder:land")))
		b.readHead(t)
		b.send(t, answering("second"))
		c.wantBody(t, 200, "second")
		c.send(t, asking("/"))
		c.wantRefusal(t, http.StatusUnauthorized, "credentials")
		eventually(t, "places of requests are released", func() bool { return g.placesHeld(limits.Requests) == 0 && g.placesHeld(limits.Sessions) == 0 })
	})
}

func TestARouteWithOtherUsersAppliesAtTheReload(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		g := s.run(t)
		client, b := g.open(t, backend)
		s.withUsers(t)
		mustReload(t, g, s.Sections)
		c := g.dial(t)
		c.send(t, asking("/"))
		c.wantRefusal(t, http.StatusUnauthorized, "credentials")
		wantLive(t, client, b)

		s.withUsers(t) // another Authenticator, and the same section of the route
		mustReload(t, g, s.Sections)
		if got := g.routes.Load().Routes[0].Auth; got != s.Authenticators["staff"] {
			t.Error("the route has the Authenticator before")
		}
	})
}

// tokenSecret signs the tokens of these tests.
const tokenSecret = "a secret of the tests, of 256 bits at least"

// withTokens adds an [[auth]] of the kind jwt, by which clients of the first route have to authenticate.
func (s *setup) withTokens(t *testing.T, change func(*auth.Config)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(tokenSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &auth.Config{
		Name: "app", Kind: auth.KindJWT, SecretFile: path, Algorithms: []string{"HS256"}, Token: []string{"header"}, Subject: "sub",
		OnExpiry: auth.OnExpiryClose,
	}
	if change != nil {
		change(c)
	}
	c.Check(func(key, problem string, got any, want string) {
		t.Fatalf("%s: %s, got %v (want %s)", key, problem, got, want)
	})
	s.withAuth(t, c)
}

// tokenOf returns a token with these claims.
func tokenOf(said map[string]any) string {
	payload, err := json.Marshal(said)
	mustDo(err)
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(payload)
	mac := hmac.New(sha256.New, []byte(tokenSecret))
	mac.Write([]byte(text))
	return text + "." + encode(mac.Sum(nil))
}

// output returns all that a gateway has said: its logs, its metrics and its sessions.
func (g *gateway) output(t *testing.T) string {
	t.Helper()
	var text bytes.Buffer
	for _, lines := range []*observer.ObservedLogs{g.log, g.access} {
		for _, line := range lines.All() {
			fmt.Fprintln(&text, line.Message, line.ContextMap())
		}
	}
	families, err := g.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			t.Fatal(err)
		}
	}
	page, err := g.Sessions().Page(&session.Query{}, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewEncoder(&text).Encode(page); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// wantNothingOf checks that a text has no part of a token.
func wantNothingOf(t *testing.T, token, text string) {
	t.Helper()
	for _, part := range strings.Split(token, ".") {
		for ; len(part) >= 24; part = part[24:] {
			if i := strings.Index(text, part[:24]); i >= 0 && part[:24] != "eyJhbGciOiJIUzI1NiIsInR5" {
				t.Fatalf("a part of the token is in: %s", text[max(0, i-200):min(len(text), i+100)])
			}
		}
	}
}

func TestATokenOf8KBPassesFromEachPlaceAndIsInNoOutput(t *testing.T) {
	token := tokenOf(map[string]any{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix(), "filler": strings.Repeat("0123456789", 620)})
	if len(token) < 8<<10 {
		t.Fatalf("a token of %d bytes; want 8 KiB", len(token))
	}
	bad := token[:len(token)-4] + "AAAA"
	for place, put := range map[string]func(token string) (path, line string){
		"header":            func(token string) (string, string) { return "/chat?room=1", "Authorization: Bearer " + token },
		"header:X-Token":    func(token string) (string, string) { return "/chat?room=1", "X-Token: " + token },
		"cookie:session":    func(token string) (string, string) { return "/chat?room=1", "Cookie: a=b; session=" + token },
		"query:credentials": func(token string) (string, string) { return "/chat?room=1&credentials=" + token, "X-Own: stays" },
		"protocol:bearer.": func(token string) (string, string) {
			return "/chat?room=1", "Sec-WebSocket-Protocol: chat, bearer." + token
		},
	} {
		t.Run(place, func(t *testing.T) {
			withTransports(t, func(t *testing.T, driver string) {
				backend := listenRaw(t)
				s := newSetup(driver, backend.Addr().String())
				s.withTokens(t, func(c *auth.Config) {
					c.Token = []string{place}
					c.Headers = map[string]string{"X-User": "sub", "X-Mail": "mail"}
				})
				s.AccessLines = AccessLines{When: AtBoth, Query: true}
				g := s.run(t)
				for name, kind := range requests {
					c := g.dial(t)
					path, line := put(token)
					c.send(t, kind.ask(path, line, "x_user: mallory", "X-Mail: mallory"))
					b := backend.accept(t)
					if got := b.field("X-User"); got != "alice" || strings.Contains(b.head, "mallory") {
						t.Errorf("the backend gets X-User: %q in %q; want alice, and nothing of the client's", got, b.head)
					}
					if place == "protocol:bearer." {
						wantNothingOf(t, token, b.head)
					}
					more := []string(nil)
					if kind.status == 101 && place == "protocol:bearer." {
						more = append(more, "Sec-WebSocket-Protocol: chat")
					}
					b.send(t, kind.answer(more...))
					if response := c.answer(t); response.StatusCode != kind.status {
						t.Fatalf("%s: status %d, want %d", name, response.StatusCode, kind.status)
					}
					if kind.status == 101 {
						wantLive(t, c, b)
						page, err := g.Sessions().Page(&session.Query{Subject: "alice"}, "", 10)
						if err != nil || len(page.Sessions) != 1 || page.Sessions[0].Subject != "alice" {
							t.Errorf("sessions of alice: %+v, %v; want one", page, err)
						}
						wantNothingOf(t, token, g.output(t))
					}
					_, _ = c.Close(), b.Close()

					c = g.dial(t)
					path, line = put(bad)
					c.send(t, kind.ask(path, line))
					response := c.wantRefusal(t, http.StatusUnauthorized, "credentials")
					if got, want := response.Header.Get("WWW-Authenticate"), `Bearer realm="app", error="invalid_token"`; got != want {
						t.Errorf("WWW-Authenticate: %q; want %q", got, want)
					}
					_ = c.Close()
				}
				g.wantIdle(t)
				text := g.output(t)
				wantNothingOf(t, token, text)
				for _, word := range []string{"subject:alice", "room=1", "a wrong signature"} {
					if !strings.Contains(text, word) {
						t.Errorf("the output lacks %q", word)
					}
				}
			})
		})
	}
}

func TestATokenOfTheQueryStaysMaskedAfterReloads(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.AccessLines = AccessLines{Query: true}
		open := s.Sections
		open.Routes = slices.Clone(s.Routes)
		s.withTokens(t, func(c *auth.Config) { c.Token = []string{"query:credentials"} })
		g := s.run(t)
		token := tokenOf(map[string]any{"sub": "alice"})
		for _, kind := range requests {
			mustReload(t, g, s.Sections)
			c := g.dial(t)
			c.send(t, kind.ask("/?room=1&credentials="+token))
			b := backend.accept(t)
			for range 2 {
				mustReload(t, g, open)
			}
			b.send(t, kind.answer())
			if response := c.answer(t); response.StatusCode != kind.status {
				t.Fatalf("status %d, want %d", response.StatusCode, kind.status)
			}
			_, _ = c.Close(), b.Close()
		}
		g.wantIdle(t)
		eventually(t, "all lines are written", func() bool { return g.access.Len() == len(requests) })
		wantNothingOf(t, token, g.output(t))
	})
}

func TestABackendCantChooseAToken(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.withTokens(t, func(c *auth.Config) { c.Token = []string{"protocol:bearer."} })
		s.Pools[0].Retries = 0
		g := s.run(t)
		token := tokenOf(map[string]any{"sub": "alice"})
		c := g.dial(t)
		c.send(t, asking("/", "Sec-WebSocket-Protocol: bearer."+token))
		b := backend.accept(t)
		if strings.Contains(strings.ToLower(b.head), "sec-websocket-protocol") {
			t.Errorf("the backend gets %q; want no subprotocol", b.head)
		}
		b.send(t, switching("Sec-WebSocket-Protocol: bearer."+token))
		c.wantRefusal(t, http.StatusBadGateway, "backend")
		wantNothingOf(t, token, g.output(t))
	})
}

func TestASessionEndsWithItsToken(t *testing.T) {
	for onExpiry, isClosed := range map[string]bool{auth.OnExpiryClose: true, auth.OnExpiryKeep: false} {
		t.Run(onExpiry, func(t *testing.T) {
			withTransports(t, func(t *testing.T, driver string) {
				backend := listenRaw(t)
				s := newSetup(driver, backend.Addr().String())
				s.withTokens(t, func(c *auth.Config) { c.OnExpiry = onExpiry })
				g := s.run(t)
				ends := time.Now().Add(5 * time.Second).Truncate(time.Second)
				client, b := g.open(t, backend, "Authorization: Bearer "+tokenOf(map[string]any{"sub": "alice", "exp": ends.Unix()}))
				wantLive(t, client, b)
				if !isClosed {
					time.Sleep(time.Until(ends.Add(100 * time.Millisecond)))
					wantLive(t, client, b)
					return
				}
				client.wantClose(t, ws.StatusCode(1008))
				if left := time.Until(ends); left > time.Second {
					t.Errorf("it was closed %v before the token ends; want 5 %% of its time at most", left)
				}
				b.wantClose(t, ws.StatusCode(1008))
				client.send(t, client.closing(1008))
				b.send(t, b.closing(1008))
				g.wantIdle(t)
				eventually(t, "the close is counted", func() bool {
					return g.metric(t, "sluice_closes_total", "initiator=gateway", "reason=auth_expired", "code=1008") == 1
				})
			})
		})
	}
}

func TestExpiryIsSpreadByUpTo5Percent(t *testing.T) {
	now := time.Unix(1000, 0)
	for left, most := range map[time.Duration]time.Duration{
		0: 0, -time.Minute: 0, time.Nanosecond: 0, 20 * time.Second: time.Second, 10 * time.Minute: 30 * time.Second, 24 * time.Hour: 30 * time.Second,
	} {
		ends := now.Add(left)
		largest := time.Duration(0)
		for range 1000 {
			off := ends.Sub(beforeExpiry(ends, now))
			if off < 0 || off > most {
				t.Fatalf("of %v, %v are taken off; want %v at most", left, off, most)
			}
			largest = max(largest, off)
		}
		if largest < most*9/10 {
			t.Errorf("of %v, %v are taken off at most; want nearly %v", left, largest, most)
		}
	}
}
