package proxy

import (
	"strings"
	"testing"
	"unicode/utf8"

	"sluice/proxy/session"
)

// A session, its lines and the API have the beginning of what its client chose, not 16 KiB of it. Faults C3.
func TestLongTextsOfAClientAreNotKept(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).run(t)
		path, protocol := "/a"+strings.Repeat("é", 3500), strings.Repeat("p", 5000)
		c := g.dial(t)
		c.send(t, asking(path, "Sec-WebSocket-Protocol: "+protocol))
		b := backend.accept(t)
		if !strings.HasPrefix(b.head, "GET "+path+" HTTP/1.1\r\n") {
			t.Errorf("the backend gets %.80q, want the whole path", b.head)
		}
		b.send(t, switching("Sec-WebSocket-Protocol: "+protocol))
		c.wantOpen(t)
		wantLive(t, c, b)
		page, err := g.Sessions().Page(&session.Query{}, "", 10)
		if err != nil || len(page.Sessions) != 1 {
			t.Fatalf("sessions %v, %v", page.Sessions, err)
		}
		wantShortened(t, "the session's path", page.Sessions[0].Path, path)
		wantShortened(t, "its subprotocol", page.Sessions[0].Subprotocol, protocol)
		_ = c.Close()
		b.wantClose(t, 1001)
		_ = b.Close()
		wantShortened(t, "its line's path", g.lines(t, 1)[0].ContextMap()["path"].(string), path)
		wantShortened(t, "its close's path", g.Sessions().Closes()[0].Path, path)
		for i, ask := range []string{asking(path, "Sec-WebSocket-Protocol: a b"), getting(path, "Connection: close")} {
			c := g.dial(t)
			c.send(t, ask)
			if i == 1 {
				backend.accept(t).send(t, answering("plain"))
				c.wantBody(t, 200, "plain")
			}
			line := g.lines(t, i+2)[i+1].ContextMap()
			wantShortened(t, line["path"].(string), line["path"].(string), path)
		}
	})
}

func wantShortened(t *testing.T, what, got, whole string) {
	t.Helper()
	kept, isShortened := strings.CutSuffix(got, "…")
	if !isShortened || len(kept) > 1024 || len(kept) < 1020 || !strings.HasPrefix(whole, kept) || !utf8.ValidString(kept) {
		t.Errorf("%.80s is %d bytes, want the first 1024 and an ellipsis", what, len(got))
	}
}

// Pages without an origin of their own, and default ports that are written out. Faults C16.
func TestOriginsOfEmbeddedClientsCanBeListed(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Routes[0].Origins = []string{"null", "file://", "same", "https://example.com:443"}
		g := s.run(t)
		for origin, isAllowed := range map[string]bool{
			"null":                    true,
			"file://":                 true,
			"http://gateway.test:80":  true,
			"https://gateway.test:80": false,
			"https://example.com":     true,
			"https://example.com:443": true,
			"https://other.test":      false,
		} {
			c := g.dial(t)
			c.send(t, asking("/", "Origin: "+origin))
			if !isAllowed {
				c.wantRefusal(t, 403, "Origin")
				continue
			}
			backend.accept(t).send(t, switching())
			c.wantOpen(t)
			_ = c.Close()
		}
	})
}
