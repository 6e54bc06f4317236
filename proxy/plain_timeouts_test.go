package proxy

import (
	"slices"
	"testing"
	"time"
)

func TestABackendThatDoesNotBeginItsAnswerIsA504(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Routes[0].ResponseTimeout = milliseconds(100)
		g := s.run(t)
		c := g.dial(t)
		c.send(t, getting("/"))
		backend.accept(t)
		c.wantRefusal(t, 504, "in time")
		g.wantIdle(t)
	})
}

// The timeouts of a route apply to its own requests, even on a connection that was opened for another route.
// Faults C26.
func TestRoutesOfAPoolShareConnectionsAndHaveTheirOwnTimeouts(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		short := newRouteConfig("pool")
		short.Path, short.ResponseTimeout = "/short", milliseconds(100)
		s.Routes = append(s.Routes, short)
		g := s.run(t)
		c := g.dial(t)
		c.send(t, getting("/"))
		b := backend.accept(t)
		b.send(t, answering("first"))
		c.wantBody(t, 200, "first")
		c.send(t, getting("/short"))
		b.readHead(t)
		b.send(t, answering("second"))
		c.wantBody(t, 200, "second")
		c.send(t, getting("/"))
		b.readHead(t)
		time.Sleep(200 * time.Millisecond)
		b.send(t, answering("third"))
		c.wantBody(t, 200, "third")

		changed := s.Sections
		changed.Routes = slices.Clone(s.Routes)
		changed.Routes[0].CloseTimeout = milliseconds(1)
		if err := g.Reload(changed); err != nil {
			t.Fatal(err)
		}
		c.send(t, getting("/"))
		b.readHead(t)
		b.send(t, answering("fourth"))
		c.wantBody(t, 200, "fourth")
		c.send(t, getting("/short"))
		b.readHead(t)
		c.wantRefusal(t, 504, "time")
		b.wantGone(t)
		g.wantIdle(t)
	})
}

// response_timeout doesn't bound an answer that has begun.
func TestResponseTimeoutEndsWithTheHeadOfTheAnswer(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Routes[0].ResponseTimeout = milliseconds(100)
		g := s.run(t)
		c := g.dial(t)
		c.send(t, head("POST / HTTP/1.1", "Host: gateway.test", "Content-Length: 4"))
		b := backend.accept(t)
		time.Sleep(200 * time.Millisecond) // the request isn't complete yet
		b.send(t, head("HTTP/1.1 200 OK", "Content-Length: 4"))
		c.send(t, "body") // the answer has begun already
		time.Sleep(200 * time.Millisecond)
		b.send(t, "late")
		c.wantBody(t, 200, "late")
	})
}
