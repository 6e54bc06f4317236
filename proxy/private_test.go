package proxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A trusting backend authenticates connections: NTLM in two steps, Negotiate in one. It answers with the user of the connection.
type trusting struct {
	*httptest.Server
	conns atomic.Int64 // that are open
}

// A connUser is what a trusting backend knows of a connection.
type connUser struct {
	mu         sync.Mutex
	isAsked    bool   // guarded by mu; the first step is done
	name       string // guarded by mu
	hasRefused bool   // guarded by mu; was asked for credentials
}

type connUserKey struct{}

func newTrusting(t *testing.T) *trusting {
	b := &trusting{}
	b.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := r.Context().Value(connUserKey{}).(*connUser)
		u.mu.Lock()
		defer u.mu.Unlock()
		var scheme, token string
		for _, value := range r.Header["Authorization"] {
			if words := strings.Fields(value); len(words) == 2 {
				scheme, token = words[0], words[1]
			}
		}
		switch {
		case strings.EqualFold(scheme, "Negotiate"):
			u.name = token
		case scheme == "NTLM" && token == "hello":
			u.isAsked, u.name = true, ""
			w.Header().Set("WWW-Authenticate", "NTLM challenge")
			w.WriteHeader(http.StatusUnauthorized)
			return
		case scheme == "NTLM" && u.isAsked:
			u.name = token
		}
		switch {
		case u.name != "":
			_, _ = io.WriteString(w, u.name)
		case r.URL.Path == "/open":
			if u.hasRefused {
				_, _ = io.WriteString(w, "the connection has seen another client's 401")
			}
		default:
			u.hasRefused = true
			w.Header()["Www-Authenticate"] = []string{`Basic realm="x"`, "Negotiate, NTLM"}
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	b.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, connUserKey{}, &connUser{})
	}
	b.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			b.conns.Add(1)
		case http.StateClosed:
			b.conns.Add(-1)
		}
	}
	b.Start()
	t.Cleanup(b.Close)
	return b
}

func (b *trusting) address() string { return b.Listener.Addr().String() }

// A connection that a client has authenticated is that client's alone, and stays with its backend.
// Faults B3.
func TestAnAuthenticatedConnectionBelongsToItsClient(t *testing.T) {
	for _, isTLS := range []bool{false, true} {
		for name, steps := range map[string][]struct {
			authorization string
			status        int
		}{
			"NTLM":      {{"", 401}, {"NTLM hello", 401}, {"NTLM alice", 200}},
			"Negotiate": {{"negotiate alice", 200}},
			"a tab":     {{"Negotiate\talice", 200}},
			"two lines": {{"Basic eDp5\r\nAuthorization: Negotiate alice", 200}},
		} {
			t.Run(name, func(t *testing.T) {
				withDrivers(t, func(t *testing.T, driver string) {
					one, two := newTrusting(t), newTrusting(t)
					s := newSetup(driver, one.address(), two.address())
					run, dial := s.run, (*gateway).dial
					if isTLS {
						run, dial = s.runSecure, (*gateway).dialSecure
					}
					g := run(t)
					alice, bob := dial(g, t), dial(g, t)
					for _, step := range steps {
						var fields []string
						if step.authorization != "" {
							fields = []string{"Authorization: " + step.authorization}
						}
						alice.send(t, getting("/", fields...))
						response := alice.answer(t)
						if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != step.status {
							t.Fatalf("%q: status %d, %v; want %d", step.authorization, response.StatusCode, err, step.status)
						}
					}
					for range 5 {
						bob.send(t, getting("/"))
						bob.wantBody(t, 401, "")
						alice.send(t, getting("/"))
						alice.wantBody(t, 200, "alice")
					}
					_ = alice.Close()
					_ = bob.Close()
					g.wantIdle(t)
				})
			})
		}
	}
}

// What a client alone may use ends with its connection.
// Faults B3.
func TestConnectionsOfOneClientEndWithIt(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		b := newTrusting(t)
		g := newSetup(driver, b.address()).run(t)
		for range 3 {
			c := g.dial(t)
			c.send(t, getting("/", "Authorization: Negotiate alice"))
			c.wantBody(t, 200, "alice")
			_ = c.Close()
		}
		eventually(t, "no connection of a client that has gone", func() bool { return b.conns.Load() == 0 })
	})
}

// Once a backend has asked a client to authenticate its connection, no other client gets that connection.
// Faults B3.
func TestAConnectionThatSawA401BelongsToItsClient(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		b := newTrusting(t)
		g := newSetup(driver, b.address()).run(t)
		alice, bob := g.dial(t), g.dial(t)
		alice.send(t, getting("/"))
		alice.wantBody(t, 401, "")
		bob.send(t, getting("/open"))
		bob.wantBody(t, 200, "")
	})
}
