package proxy

import (
	"io"
	"strings"
	"testing"
)

// The backend decides whether the client sends the body.
func TestTheBackendAnswersExpectContinue(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).run(t)
		post := head("POST / HTTP/1.1", "Host: gateway.test", "Expect: 100-continue", "Content-Length: 4")

		c := g.dial(t)
		c.send(t, post)
		b := backend.accept(t)
		b.send(t, head("HTTP/1.1 100 Continue"))
		if response := c.answer(t); response.StatusCode != 100 {
			t.Fatalf("status %d, want 100", response.StatusCode)
		}
		c.send(t, "body")
		if body, err := io.ReadAll(io.LimitReader(b.reader, 4)); string(body) != "body" || err != nil {
			t.Fatalf("%q, %v", body, err)
		}
		b.send(t, answering("thanks"))
		c.wantBody(t, 200, "thanks")

		c = g.dial(t)
		c.send(t, post)
		b.readHead(t) // on the same connection
		b.send(t, head("HTTP/1.1 413 Too Much", "Content-Length: 0", "Connection: close"))
		if response := c.wantBody(t, 413, ""); !response.Close {
			t.Error("the connection stays open, though the gateway can't know whether a body or a request comes next")
		}
		c.wantEnd(t)
	})
}

func TestAMalformedBodyIsTheClientsFault(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).run(t)
		for _, body := range []string{"x\r\n", "3\r\nabcd\r\n", "3\nabc\r\n0\r\n\r\n", "-3\r\n", "0x3\r\nabc\r\n0\r\n\r\n", "3 \r\nabc\r\n", "3\r\nabc\r\n0\r\nA : b\r\n\r\n"} {
			c := g.dial(t)
			c.send(t, head("POST / HTTP/1.1", "Host: gateway.test", "Transfer-Encoding: chunked")+body)
			backend.accept(t).wantGone(t)
			c.wantRefusal(t, 400, "chunk")
		}
		g.wantIdle(t)
		if n := g.metric(t, "sluice_backend_failures_total"); n != 0 {
			t.Errorf("%v failures of a backend that did nothing wrong", n)
		}
	})
}

// A backend may answer while the client still sends the body.
func TestBothDirectionsStreamAtOnce(t *testing.T) {
	withFronts(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).run(t)
		c := g.dial(t)
		c.send(t, head("POST / HTTP/1.1", "Host: gateway.test", "Transfer-Encoding: chunked"))
		b := backend.accept(t)
		b.send(t, head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"))
		response := c.answer(t)
		for _, word := range []string{"one", "two", "six"} {
			c.send(t, "3\r\n"+word+"\r\n")
			if got, err := io.ReadAll(io.LimitReader(b.reader, 8)); string(got) != "3\r\n"+word+"\r\n" || err != nil {
				t.Fatalf("%q, %v", got, err)
			}
			b.send(t, "3\r\n"+word+"\r\n")
			if got, err := io.ReadAll(io.LimitReader(response.Body, 3)); string(got) != word || err != nil {
				t.Fatalf("%q, %v", got, err)
			}
		}
		c.send(t, "0\r\n\r\n")
		b.send(t, "0\r\nX-Sum: 3\r\n\r\n")
		if rest, err := io.ReadAll(response.Body); len(rest) > 0 || err != nil || response.Trailer.Get("X-Sum") != "3" {
			t.Fatalf("%q, %v, trailers %v", rest, err, response.Trailer)
		}
	})
}

// The gateway doesn't wait for the rest of a body that the backend has refused, and no reset keeps the client from reading the answer.
func TestAnAnswerBeforeTheEndOfAnUploadArrives(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).run(t)
		c := g.dial(t)
		c.send(t, head("POST / HTTP/1.1", "Host: gateway.test", "Content-Length: 10000000")+strings.Repeat("x", 100_000))
		b := backend.accept(t)
		b.send(t, head("HTTP/1.1 413 Too Much", "Content-Length: 3", "Connection: close")+"no\n")
		_ = b.Close()
		c.wantBody(t, 413, "no\n")
		c.wantEnd(t)
		for range 10 {
			c.send(t, "more bytes") // discarded, not answered by a reset
		}
	})
}

// A backend may answer an upload early, with a 401 or 413 for example. The next request of the connection works all the same.
func TestTheRestOfABodyAfterAnEarlyAnswerIsNotReadAsARequest(t *testing.T) {
	backend := listenRaw(t)
	g := newSetup("goroutine", backend.Addr().String()).run(t)
	for range 20 {
		c := g.dial(t)
		c.send(t, "POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 20000\r\n\r\n"+strings.Repeat("x", 8000))
		b := backend.accept(t)
		b.send(t, answering("early", "Connection: close"))
		c.wantBody(t, 200, "early")
		c.send(t, strings.Repeat("x", 12000)+getting("/next"))
		next := backend.accept(t)
		next.send(t, answering("next", "Connection: close"))
		c.wantBody(t, 200, "next")
		_, _ = c.Close(), b.Close()
	}
	g.wantIdle(t)
}
