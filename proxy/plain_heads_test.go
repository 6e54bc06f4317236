package proxy

import (
	"strings"
	"testing"
	"time"
)

// Old clients end a body with an empty line that belongs to nothing. It begins no request: head_timeout does not run. Faults B5.
func TestAnEmptyLineBetweenPlainRequestsBeginsNone(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Listeners[0].HeadTimeout = milliseconds(200)
		g := s.run(t)
		c := g.dial(t)
		c.send(t, "\r\n"+head("POST /1 HTTP/1.1", "Host: gateway.test", "Content-Length: 3")+"abc\r\n")
		b := backend.accept(t)
		b.skip(t, "abc")
		b.send(t, answering("1"))
		c.wantBody(t, 200, "1")
		time.Sleep(400 * time.Millisecond) // longer than head_timeout
		c.send(t, getting("/2"))
		b.readHead(t)
		b.send(t, answering("2"))
		c.wantBody(t, 200, "2")
		c.send(t, "\r\n"+asking("/3"))
		end := backend.accept(t)
		end.send(t, switching())
		c.wantOpen(t)
		wantLive(t, c, end)
	})
}

// Faults B5.
func TestRawUTF8InATargetPassesAsItCame(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Routes[0].Path = "/straße"
		g := s.run(t)
		for _, target := range []string{"/straße/名?q=ü", "/stra%C3%9fe/\xff?\xfe", "/stra\xc3%9fe"} {
			for _, ask := range []string{asking(target), getting(target)} {
				c := g.dial(t)
				c.send(t, ask)
				b := backend.accept(t)
				if !strings.HasPrefix(b.head, "GET "+target+" HTTP/1.1\r\n") {
					t.Errorf("the backend gets %q of %q", b.head, target)
				}
				b.send(t, head("HTTP/1.1 403 No", "Content-Length: 0", "Connection: close"))
				c.wantBody(t, 403, "")
			}
		}
	})
}
