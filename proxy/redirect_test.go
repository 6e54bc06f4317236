package proxy

import (
	"net"
	"strings"
	"testing"
)

// A redirection leads to the listener with TLS, also where that isn't at 443.
// Faults C18.
func TestARedirectionHasThePortOfTheListenerWithTLS(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		s := newSetup(driver, closedAddress(t))
		s.Listeners[0].RedirectHTTPS = true
		secure := newListener("secure", "127.0.0.1:0")
		secure.TLS = newTLSServer()
		s.Listeners = append(s.Listeners, secure)
		g := s.run(t)
		_, port, _ := net.SplitHostPort(g.Addr("secure").String())
		for host, want := range map[string]string{
			"example.test:8080": "https://example.test:" + port,
			"example.test":      "https://example.test",
			"example.test:80":   "https://example.test",
			"[::1]:8080":        "https://[::1]:" + port,
			"[::1]":             "https://[::1]",
		} {
			for _, ask := range []string{getting("/a%20b?c=d"), asking("/a%20b?c=d")} {
				c := g.dial(t)
				c.send(t, strings.Replace(ask, "gateway.test", host, 1))
				if got := c.wantRefusal(t, 308, "https").Header.Get("Location"); got != want+"/a%20b?c=d" {
					t.Errorf("%s is redirected to %s, want %s", host, got, want)
				}
			}
		}
	})
}

// Faults C18.
func TestARedirectionAsConfigured(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		l := &s.Listeners[0]
		l.RedirectHTTPS, l.RedirectStatus, l.RedirectPort = true, 301, 8443
		l.RedirectExcept = []string{"/.well-known/acme-challenge/", "/healthz"}
		g := s.run(t)
		c := g.dial(t)
		for _, path := range []string{"/.well-known/acme-challenge/token", "/healthz", "/healthz/deep?x"} {
			c.send(t, getting(path))
			b := backend.accept(t)
			b.send(t, answering(path, "Connection: close"))
			c.wantBody(t, 200, path)
		}
		c.send(t, getting("/healthzz")) // the connection has served others
		if got := c.wantRefusal(t, 301, "https").Header.Get("Location"); got != "https://gateway.test:8443/healthzz" {
			t.Errorf("it is redirected to %s", got)
		}
		c = g.dial(t)
		c.send(t, asking("/healthz"))
		b := backend.accept(t)
		b.send(t, switching())
		c.wantOpen(t)
		wantLive(t, c, b)
		for _, path := range []string{"/", "/.well-known", "/health%7a/../x", "/HEALTHZ"} {
			c = g.dial(t)
			c.send(t, getting(path))
			if status := c.answer(t).StatusCode; status != 301 && status != 400 {
				t.Errorf("%s: status %d", path, status)
			}
		}
	})
}
