package proxy

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/internal/netconn"
)

func TestPlainRequestsShareConnectionsOnBothSides(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).run(t)
		c := g.dial(t)
		c.send(t, getting("/one?x=%20&y", "X-Twice: a", "X-Twice: b", "Connection: X-Hop", "X-Hop: 1"))
		b := backend.accept(t)
		if !strings.HasPrefix(b.head, "GET /one?x=%20&y HTTP/1.1\r\n") || b.field("X-Twice") != "a|b" || b.field("X-Hop") != "" || b.field("Host") != "gateway.test" {
			t.Errorf("the backend gets %q", b.head)
		}
		b.send(t, answering("first", "Set-Cookie: a=b", "X-Own: y"))
		if h := c.wantBody(t, 200, "first").Header; h.Get("Set-Cookie") != "a=b" || h.Get("X-Own") != "y" || len(h["Content-Type"]) > 0 {
			t.Errorf("header %v", h)
		}
		for _, body := range []string{"second", "third"} {
			c.send(t, getting("/"+body))
			b.readHead(t)
			b.send(t, answering(body))
			c.wantBody(t, 200, body)
		}
		g.wantIdle(t)
		for i, line := range g.lines(t, 3) {
			if m := line.ContextMap(); m["status"] != int64(200) || m["bytes_to_client"] != int64(len([]string{"first", "second", "third"}[i])) || m["method"] != "GET" {
				t.Errorf("line %d of the access log says %v", i, m)
			}
		}
		if n := g.metric(t, "sluice_http_requests_total", "code=200"); n != 3 {
			t.Errorf("%v requests counted", n)
		}
	})
}

// Answers, refusals and the frames of a session come in the order of their requests, also if one read has the bytes of several requests.
func TestRequestsInOneSegmentAreServedOneByOne(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).run(t)
		c := g.dial(t)
		c.send(t, getting("/1")+head("POST /2 HTTP/1.1", "Host: gateway.test", "Transfer-Encoding: chunked")+"3\r\nabc\r\n0\r\n\r\n"+getting("/3")+asking("/4")+c.text("early"))
		b := backend.accept(t)
		for i := 1; i <= 3; i++ {
			if i > 1 {
				b.readHead(t)
			}
			if !strings.Contains(b.head, " /"+strconv.Itoa(i)+" ") {
				t.Fatalf("request %d is %q", i, b.head)
			}
			if i == 2 {
				if body, err := io.ReadAll(io.LimitReader(b.reader, 13)); string(body) != "3\r\nabc\r\n0\r\n\r\n" || err != nil {
					t.Fatalf("body %q, %v", body, err)
				}
			}
			b.send(t, answering(strconv.Itoa(i)))
			c.wantBody(t, 200, strconv.Itoa(i))
		}
		b = backend.accept(t)
		b.send(t, switching())
		c.wantOpen(t)
		b.wantText(t, "early")
		wantLive(t, c, b)
		g.lines(t, 3) // the line of the session comes at its end
	})
}

func TestALaterRequestIsCheckedAsAFirstOne(t *testing.T) {
	for name, test := range map[string]struct {
		text, word string
		status     int
		path       string // in the access line
	}{
		"two keys":               {asking("/later", "Sec-WebSocket-Key: "+sampleKey), "twice", 400, ""},
		"a bare LF":              {"GET /later HTTP/1.1\nHost: a\n\n", "LF", 400, ""},
		"two Hosts":              {getting("/later", "Host: other"), "twice", 400, "/later"},
		"no such route":          {getting("/none"), "nothing", 404, "/none"},
		"a route without HTTP":   {getting("/later/ws"), "WebSocket only", 426, "/later/ws"},
		"a head that stays away": {"GET /later HTTP/1.1\r\nHost: ", "in time", 408, "/later"},
		"another method":         {strings.Replace(asking("/later"), "GET", "POST", 1), "GET", 405, "/later"},
	} {
		t.Run(name, func(t *testing.T) {
			withDrivers(t, func(t *testing.T, driver string) {
				backend := listenRaw(t)
				s := newSetup(driver, backend.Addr().String())
				only := newRouteConfig("pool")
				s.Routes[0].Path, only.Path, only.HTTP = "/later", "/later/ws", false
				s.Routes = append(s.Routes, only)
				s.Listeners[0].HeadTimeout = milliseconds(300)
				g := s.run(t)
				c := g.dial(t)
				c.send(t, getting("/later"))
				backend.accept(t).send(t, answering("first"))
				c.wantBody(t, 200, "first")
				c.send(t, test.text)
				c.wantRefusal(t, test.status, test.word)
				if line := g.lines(t, 2)[1].ContextMap(); line["status"] != int64(test.status) || test.path != "" && line["path"] != test.path {
					t.Errorf("the access log says %v", line)
				}
			})
		})
	}
}

// The answer to the last request has announced the end of the connection.
func TestBytesAfterTheLastRequestAreIgnored(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).run(t)
		for _, first := range []string{getting("/", "Connection: close"), "GET / HTTP/1.0\r\nHost: gateway.test\r\n\r\n"} {
			for _, second := range []string{asking("/"), getting("/"), "garbage\n"} {
				c := g.dial(t)
				c.send(t, first+second)
				b := backend.accept(t)
				b.send(t, answering("last", "Connection: close"))
				c.wantBody(t, 200, "last")
				c.wantEnd(t)
				b.wantGone(t)
				backend.wantNoConnection(t)
			}
		}
	})
}

func TestA101ToAPlainRequestIsABadAnswer(t *testing.T) {
	withFronts(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).run(t)
		for _, upgrade := range []string{"h2c", "tls/1.2", "\xff"} {
			c := g.dial(t)
			c.send(t, getting("/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: "+upgrade, "HTTP2-Settings: AAMA"))
			b := backend.accept(t)
			if all := b.field("Upgrade") + b.field("Connection") + b.field("Http2-Settings") + b.field("HTTP2-Settings"); all != "" {
				t.Errorf("the backend gets %q", b.head)
			}
			b.send(t, head("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: h2c")+"PRI * HTTP/2.0")
			c.wantRefusal(t, 502, "answer")
			b.wantGone(t)
		}
		g.wantIdle(t)
		if n := g.metric(t, "sluice_backend_failures_total", "reason=bad_answer"); n != 3 {
			t.Errorf("%v bad answers", n)
		}
	})
}

func TestAClientThatGoesEndsItsPlainRequest(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).run(t)
		for _, answer := range []string{"", head("HTTP/1.1 200 OK", "Content-Type: text/event-stream") + "data: 1\n\n"} {
			c := g.dial(t)
			c.send(t, getting("/"))
			b := backend.accept(t)
			b.send(t, answer)
			if answer != "" {
				if line, err := io.ReadAll(io.LimitReader(c.answer(t).Body, 9)); string(line) != "data: 1\n\n" || err != nil {
					t.Fatalf("%q, %v", line, err)
				}
			}
			_ = c.Close()
			b.wantGone(t)
			g.wantIdle(t)
		}
		g.lines(t, 2)
		if n := g.metric(t, "sluice_backend_failures_total"); n != 0 {
			t.Errorf("%v failures of a backend that did nothing wrong", n)
		}
	})
}

func TestInterimAnswersPass(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).run(t)
		for _, ask := range []string{getting("/", "Connection: close"), "GET / HTTP/1.0\r\n\r\n"} {
			c := g.dial(t)
			c.send(t, ask)
			backend.accept(t).send(t, head("HTTP/1.1 103 Early Hints", "Link: </a>")+head("HTTP/1.1 100 Continue")+answering("end", "Connection: close"))
			if strings.Contains(ask, "1.1") {
				if hints := c.answer(t); hints.StatusCode != 103 || hints.Header.Get("Link") != "</a>" {
					t.Errorf("status %d, %v; want the hints", hints.StatusCode, hints.Header)
				}
			}
			if h := c.wantBody(t, 200, "end").Header; h.Get("Link") != "" {
				t.Errorf("header %v has fields of the hints", h)
			}
			c.wantEnd(t)
		}
	})
}

func TestMethodsAndVersions(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).run(t)

		c := g.dial(t)
		c.send(t, strings.Replace(getting("/"), "GET", "HEAD", 1)+getting("/next", "Connection: close"))
		b := backend.accept(t)
		b.send(t, head("HTTP/1.1 200 OK", "Content-Length: 1000"))
		response, err := http.ReadResponse(c.reader, &http.Request{Method: "HEAD"})
		if err != nil || response.ContentLength != 1000 {
			t.Fatalf("%v, %v", response, err)
		}
		b.readHead(t)
		b.send(t, answering("next"))
		c.wantBody(t, 200, "next")

		c = g.dial(t) // RFC 9112 section 9.3: in HTTP/1.0 connections persist only on request
		c.send(t, "GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
		b.readHead(t)
		if host := b.field("Host"); host != backend.Addr().String() {
			t.Errorf("Host %q for a client without Host, want the backend's address", host)
		}
		b.send(t, answering("old"))
		if h := c.wantBody(t, 200, "old").Header; h.Get("Connection") != "keep-alive" {
			t.Errorf("header %v", h)
		}
		c.send(t, "GET /old HTTP/1.0\r\n\r\n")
		b.readHead(t)
		b.send(t, head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")+"3\r\nend\r\n0\r\n\r\n")
		c.wantBody(t, 200, "end")
		c.wantEnd(t)

		for _, target := range []string{"OPTIONS *", "CONNECT gateway.test:443", "GET gateway.test", "GET http://other.test/"} {
			c := g.dial(t)
			c.send(t, head(target+" HTTP/1.1", "Host: gateway.test"))
			c.wantRefusal(t, 400, "target")
		}
	})
}

func TestAnIdleConnectionStaysOpenAndASlowBodyEndsIt(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Listeners[0].HeadTimeout = milliseconds(100)
		s.Routes[0].WriteTimeout = milliseconds(200)
		g := s.run(t)
		c := g.dial(t)
		c.send(t, getting("/"))
		b := backend.accept(t)
		b.send(t, answering("1"))
		c.wantBody(t, 200, "1")
		_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if _, err := c.reader.ReadByte(); !netconn.IsTimeout(err) {
			t.Fatalf("%v, want silence beyond head_timeout", err)
		}
		// A body may stall for write_timeout at most.
		c.send(t, head("POST / HTTP/1.1", "Host: gateway.test", "Content-Length: 4")+"bo")
		c.wantGone(t)
		g.wantIdle(t)
	})
}

// Faults B8: the failures after which another backend is tried are those of handshakes.
func TestAPlainRequestThatCanBeRepeatedIsTriedOnTheNextBackend(t *testing.T) {
	cut := func(_ *testing.T, b *wire) { netconn.Cut(b.Conn) }
	busy := func(t *testing.T, b *wire) { b.send(t, head("HTTP/1.1 503 Busy", "Content-Length: 4")+"busy") }
	silent := func(t *testing.T, b *wire) { b.wantGone(t) }
	const post = "POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 4\r\n\r\nbody"
	for _, test := range []struct {
		name, request string
		end           func(t *testing.T, b *wire)
		status        int // that the client gets; 200: of the next backend
	}{
		{"a reset", getting("/"), cut, 200},
		{"a time-out", getting("/"), silent, 200},
		{"a status", getting("/"), busy, 200},
		{"a reset of a DELETE", strings.Replace(getting("/"), "GET", "DELETE", 1), cut, 200},
		{"a reset of a POST", post, cut, 502},
		{"a reset of a POST without a body", strings.Replace(getting("/"), "GET", "POST", 1), cut, 502},
		{"a reset of a PUT with a body", strings.Replace(post, "POST", "PUT", 1), cut, 502},
		{"a status of a POST", post, busy, 503},
	} {
		t.Run(test.name, func(t *testing.T) {
			withFronts(t, func(t *testing.T, driver string) {
				bad, good := listenRaw(t), listenRaw(t)
				s := newSetup(driver, bad.Addr().String()).withBackup(good)
				s.Pools[0].RetryOn, s.Pools[0].RetryStatuses = []string{"reset", "timeout"}, []int{503}
				s.Routes[0].ResponseTimeout = milliseconds(500)
				g := s.run(t)
				c := g.dial(t)
				c.send(t, test.request)
				test.end(t, bad.accept(t))
				if test.status == 200 {
					good.accept(t).send(t, answering("good"))
				}
				if status := c.answer(t).StatusCode; status != test.status {
					t.Errorf("status %d; want %d", status, test.status)
				}
				g.wantIdle(t)
			})
		})
	}
}

func TestThePlainPathTriesTheNextBackendOnlyIfNothingWasSent(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, closedAddress(t)).withBackup(backend).run(t)
		c := g.dial(t)
		c.send(t, head("POST / HTTP/1.1", "Host: gateway.test", "Content-Length: 4")+"body")
		b := backend.accept(t)
		if body, err := io.ReadAll(io.LimitReader(b.reader, 4)); string(body) != "body" || err != nil {
			t.Fatalf("%q, %v", body, err)
		}
		_ = b.Close() // the backend may have processed the request
		c.wantRefusal(t, 502, "answer")
		backend.wantNoConnection(t)

		g = newSetup(driver, closedAddress(t)).run(t)
		c = g.dial(t)
		c.send(t, getting("/"))
		c.wantRefusal(t, 502, "reached")
	})
}

// net/http's server panics on a status under 100.
// Faults B11.
func TestAnAnswerWithAnInvalidStatusIsABadAnswer(t *testing.T) {
	withFronts(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Pools[0].Backend[0].MaxSessions = 1
		g := s.run(t)
		statuses := []string{"000", "007", "099", "600", "999"}
		for _, status := range statuses {
			c := g.dial(t)
			c.send(t, getting("/"))
			b := backend.accept(t)
			b.send(t, head("HTTP/1.1 "+status+" What", "Content-Length: 0", "Connection: close"))
			c.wantRefusal(t, 502, "answer")
			b.wantGone(t)
			g.wantIdle(t)

			c = g.dial(t)
			c.send(t, asking("/"))
			b = backend.accept(t)
			b.send(t, head("HTTP/1.1 "+status+" What", "Content-Length: 0"))
			c.wantRefusal(t, 502, "status")
			b.wantGone(t)
			g.wantIdle(t)
		}
		if n := g.metric(t, "sluice_backend_failures_total", "reason=bad_answer"); n != float64(2*len(statuses)) {
			t.Errorf("%v bad answers", n)
		}
	})
}
