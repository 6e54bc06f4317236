package proxy

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice/balancer"
	"sluice/internal/netconn"
	"sluice/internal/units"
)

func TestABadAnswerIsA502AndIsNotTriedElsewhere(t *testing.T) {
	good := switching()
	for name, answer := range map[string]string{
		"no HTTP":                          "SSH-2.0-OpenSSH\r\n",
		"no Accept":                        strings.Replace(good, "Sec-WebSocket-Accept: "+sampleAccept+"\r\n", "", 1),
		"Accept of another key":            strings.Replace(good, sampleAccept, acceptOf("another"), 1),
		"no Upgrade":                       strings.Replace(good, "Upgrade: websocket\r\n", "", 1),
		"subprotocol that was not offered": switching("Sec-WebSocket-Protocol: other"),
		"subprotocol in another case":      switching("Sec-WebSocket-Protocol: CHAT"),
		"extension that was not offered":   switching("Sec-WebSocket-Extensions: x-taken"),
		"extension twice":                  switching("Sec-WebSocket-Extensions: permessage-deflate, permessage-deflate"),
		"nine interim answers":             strings.Repeat(head("HTTP/1.1 102 Processing"), 9) + good,
		"16 KiB of interim answers":        strings.Repeat(head("HTTP/1.1 103 Hints", "Link: "+strings.Repeat("x", 4<<10)), 4) + good,
		"a body of two lengths":            head("HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 2") + "a",
		"101 in HTTP/1.0":                  strings.Replace(good, "HTTP/1.1", "HTTP/1.0", 1),
		"a bare LF":                        strings.Replace(good, "\r\n", "\n", 1),
		"Content-Length and chunked":       head("HTTP/1.1 200 OK", "Content-Length: 1", "Transfer-Encoding: chunked") + "0\r\n\r\n",
		"a Connection that isn't a list":   strings.Replace(good, "Connection: Upgrade", "Connection: Upgrade; x", 1),
	} {
		t.Run(name, func(t *testing.T) {
			withFronts(t, func(t *testing.T, driver string) {
				bad, idle := listenRaw(t), listenRaw(t)
				g := newSetup(driver, bad.Addr().String()).withBackup(idle).run(t)
				c := g.dial(t)
				c.send(t, asking("/", "Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Extensions: x-taken, permessage-deflate"))
				b := bad.accept(t)
				if got := b.field("Sec-WebSocket-Extensions"); got != "permessage-deflate" {
					t.Errorf("extensions %q are offered", got)
				}
				b.send(t, answer)
				c.wantRefusal(t, 502, "backend's answer")
				b.wantGone(t)
				idle.wantNoConnection(t)
				g.wantIdle(t)
				if n := g.metric(t, "sluice_backend_failures_total", "reason=bad_answer"); n != 1 {
					t.Errorf("%v bad answers counted", n)
				}
			})
		})
	}
}

func TestAnotherStatusPassesWhole(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 1<<14)
	for name, test := range map[string]struct {
		answer, body string
		status       int
		isToEnd      bool
	}{
		"Content-Length":        {head("HTTP/1.1 403 No", "Content-Length: 3", "Set-Cookie: a=b", "Keep-Alive: 5") + "no\nmore", "no\n", 403, false},
		"chunked":               {head("HTTP/1.1 500 Oh", "Transfer-Encoding: chunked", "Set-Cookie: a=b") + "3;x=y\r\nno\n\r\n0\r\nX-Sum: 1\r\n\r\n", "no\n", 500, false},
		"to the end":            {head("HTTP/1.1 503 Busy", "Set-Cookie: a=b") + long, long, 503, true},
		"in HTTP/1.0":           {head("HTTP/1.0 404 Gone", "Set-Cookie: a=b") + "gone", "gone", 404, true},
		"204":                   {head("HTTP/1.1 204 None", "Set-Cookie: a=b"), "", 204, false},
		"after interim answers": {head("HTTP/1.1 103 Hints") + head("HTTP/1.1 401 Who", "Content-Length: 0", "Set-Cookie: a=b"), "", 401, false},
	} {
		t.Run(name, func(t *testing.T) {
			withFronts(t, func(t *testing.T, driver string) {
				backend := listenRaw(t)
				g := newSetup(driver, backend.Addr().String()).run(t)
				if test.status < 300 && g.transport.isFront {
					t.Skip("a 2xx accepts a WebSocket over HTTP/2")
				}
				c := g.dial(t)
				c.send(t, asking("/"))
				b := backend.accept(t)
				sent := make(chan struct{})
				go func() { // the sockets between don't hold all of it
					defer close(sent)
					_, _ = io.WriteString(b, test.answer)
					if test.isToEnd {
						_ = b.Close()
					}
				}()
				response := c.wantBody(t, test.status, test.body)
				if !response.Close || response.Header.Get("Set-Cookie") != "a=b" || response.Header.Get("Keep-Alive") != "" {
					t.Errorf("close %v, header %v", response.Close, response.Header)
				}
				c.wantEnd(t)
				<-sent
				g.wantIdle(t)
				line := g.lines(t, 1)[0].ContextMap()
				if line["status"] != int64(test.status) || line["reason"] != "status" {
					t.Errorf("the access log says %v", line)
				}
				if line["pool"] != "pool" || line["backend"] != backend.Addr().String() {
					t.Errorf("the access log says that pool %v, backend %v answered", line["pool"], line["backend"])
				}
				if n := g.metric(t, "sluice_backend_failures_total", "reason=handshake"); n != 0 {
					t.Errorf("an answer counts as %v failed handshakes", n)
				}
			})
		})
	}
}

func TestThe101PassesWithItsHeadAndTheStickyCookie(t *testing.T) {
	withFronts(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Pools[0].Policy, s.Pools[0].Sticky.Secret = balancer.PolicySticky, "0123456789abcdef"
		g := s.run(t)
		c := g.dial(t)
		c.send(t, asking("/", "Sec-WebSocket-Protocol: chat, superchat", "Cookie: a=b", "Cookie: c=d"))
		b := backend.accept(t)
		want := "a=b|c=d"
		if g.transport.isFront {
			want = "a=b; c=d" // RFC 9113 section 8.2.3
		}
		if got := b.field("Cookie"); got != want {
			t.Errorf("the backend gets the cookies %q", got)
		}
		b.send(t, head("HTTP/1.1 103 Hints", "Link: x")+switching("Sec-WebSocket-Protocol: superchat", "Set-Cookie: own=1", "Content-Length: 0", "X-Own: y"))
		response := c.wantOpen(t)
		cookies := response.Header["Set-Cookie"]
		if len(cookies) != 2 || cookies[0] != "own=1" || !strings.HasPrefix(cookies[1], "sluice=") {
			t.Errorf("cookies %q", cookies)
		}
		if h := response.Header; h.Get("Content-Length") != "" || h.Get("X-Own") != "y" || h.Get("Sec-WebSocket-Protocol") != "superchat" || h.Get("Link") != "" {
			t.Errorf("header %v", h)
		}
	})
}

// withBackup adds a backup backend.
func (s *setup) withBackup(b rawBackend) *setup {
	backup := newPool("", b.Addr().String()).Backend[0]
	backup.Backup = true
	s.Pools[0].Backend = append(s.Pools[0].Backend, backup)
	return s
}

// If a backend gives no answer, the next one gets the session.
func TestTheNextBackendIsTried(t *testing.T) {
	for name, fail := range map[string]func(t *testing.T, b *wire){
		"reset instead of an answer": func(t *testing.T, b *wire) {
			b.readHead(t)
			netconn.Cut(b.Conn)
		},
		"end of the stream": func(t *testing.T, b *wire) { _ = b.Close() },
		"a status that is configured": func(t *testing.T, b *wire) {
			b.readHead(t)
			b.send(t, head("HTTP/1.1 502 Bad", "Content-Length: 0"))
		},
		"silence": func(t *testing.T, b *wire) { b.wantGone(t) },
	} {
		t.Run(name, func(t *testing.T) {
			withTransports(t, func(t *testing.T, driver string) {
				bad, good := listenRaw(t), listenRaw(t)
				s := newSetup(driver, bad.Addr().String()).withBackup(good)
				s.Pools[0].RetryStatuses, s.Pools[0].RetryOn = []int{502}, []string{"reset", "timeout"}
				s.Routes[0].HandshakeTimeout = milliseconds(2000)
				g := s.run(t)
				c := g.dial(t)
				c.send(t, asking("/")+c.text("early"))
				fail(t, bad.connected(t))
				b := good.accept(t)
				b.send(t, switching())
				c.wantOpen(t)
				b.wantText(t, "early")
				wantLive(t, c, b)
				if n := g.metric(t, "sluice_sessions_total", "result=established"); n != 1 {
					t.Errorf("%v sessions established", n)
				}
				c.send(t, c.closing(1000))
				b.wantClose(t, 1000)
				b.send(t, b.closing(1000))
				g.wantIdle(t)
			})
		})
	}
}

// Faults B8: a request that a backend may have handled is sent to no other backend, neither on the path of handshakes nor on that of plain
// requests.
func TestARequestThatMayHaveBeenHandledIsNotSentTwice(t *testing.T) {
	type ending struct {
		name   string
		end    func(t *testing.T, b *wire)
		status int
		word   string
	}
	for _, e := range []ending{
		{"silence", func(t *testing.T, b *wire) { b.wantGone(t) }, 504, "in time"},
		{"an answer that breaks off", func(t *testing.T, b *wire) {
			b.send(t, "HTTP/1.1 2")
			_ = b.Close()
		}, 502, "answer"},
	} {
		for path, request := range map[string]string{"handshake": asking("/"), "plain": getting("/")} {
			t.Run(e.name+", "+path, func(t *testing.T) {
				withFronts(t, func(t *testing.T, driver string) {
					slow, other := listenRaw(t), listenRaw(t)
					s := newSetup(driver, slow.Addr().String()).withBackup(other)
					s.Routes[0].HandshakeTimeout, s.Routes[0].ResponseTimeout = milliseconds(300), milliseconds(300)
					g := s.run(t)
					c := g.dial(t)
					c.send(t, request)
					e.end(t, slow.accept(t))
					c.wantRefusal(t, e.status, e.word)
					other.wantNoConnection(t)
					g.wantIdle(t)
				})
			})
		}
	}
}

// Where a late answer may be repeated, one of which a part has come may not.
// Faults B8.
func TestARequestWithTheBeginningOfAnAnswerIsNotSentTwice(t *testing.T) {
	for path, request := range map[string]string{"handshake": asking("/"), "plain": getting("/")} {
		t.Run(path, func(t *testing.T) {
			withDrivers(t, func(t *testing.T, driver string) {
				slow, other := listenRaw(t), listenRaw(t)
				s := newSetup(driver, slow.Addr().String()).withBackup(other)
				s.Pools[0].RetryOn = []string{"reset", "timeout"}
				s.Routes[0].HandshakeTimeout, s.Routes[0].ResponseTimeout = milliseconds(3000), milliseconds(1500)
				g := s.run(t)
				c := g.dial(t)
				c.send(t, request)
				b := slow.accept(t)
				b.send(t, "HTTP/1.1 2")
				b.wantGone(t)
				c.wantRefusal(t, 504, "in time")
				other.wantNoConnection(t)
				g.wantIdle(t)
				if n := g.metric(t, "sluice_backend_failures_total", "reason=bad_answer"); n != 1 {
					t.Errorf("%v failures for the answer, want 1", n)
				}
			})
		})
	}
}

// Nor is it sent twice to the same backend, on a connection that has served another request: unless the pool repeats what ended in a reset,
// and the method is one that is repeated.
// Faults B8.
func TestARequestOnAUsedConnectionIsSentAgainOnlyAfterARetriedReset(t *testing.T) {
	for name, test := range map[string]struct {
		request string
		on      []string
		isTwice bool
	}{
		"GET":                       {getting("/"), []string{"connect"}, false},
		"GET, resets are retried":   {getting("/"), []string{"connect", "reset"}, true},
		"HEAD":                      {head("HEAD / HTTP/1.1", "Host: gateway.test"), nil, false},
		"POST, said to be the same": {head("POST / HTTP/1.1", "Host: gateway.test", "Content-Length: 0", "Idempotency-Key: 1", "X-Idempotency-Key: 1"), []string{"connect", "reset"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			withDrivers(t, func(t *testing.T, driver string) {
				backend := listenRaw(t)
				s := newSetup(driver, backend.Addr().String())
				s.Pools[0].RetryOn = test.on
				g := s.run(t)
				c := g.dial(t)
				c.send(t, getting("/first"))
				b := backend.accept(t)
				b.send(t, answering("first"))
				c.wantBody(t, 200, "first")
				c.send(t, test.request)
				b.readHead(t)
				asked := strings.ToLower(b.head)
				if strings.Count(asked, "idempotency-key: 1") != strings.Count(test.request, "Idempotency-Key: 1") || strings.Contains(asked, "transfer-encoding") {
					t.Errorf("the backend gets %q of %q", asked, test.request)
				}
				_ = b.Close()
				if test.isTwice {
					backend.accept(t).send(t, answering("again"))
					c.wantBody(t, 200, "again")
					return
				}
				if status := c.answer(t).StatusCode; status != 502 {
					t.Errorf("status %d, want 502", status)
				}
				backend.wantNoConnection(t)
			})
		})
	}
}

func TestStatusesOfOurOwnWhenNoBackendAnswers(t *testing.T) {
	silent := func(t *testing.T) string { return listenRaw(t).Addr().String() }
	for name, test := range map[string]struct {
		backends []func(t *testing.T) string
		status   int
		word     string
	}{
		"all refuse":             {[]func(t *testing.T) string{closedAddress, closedAddress}, 502, "reached"},
		"one, which is silent":   {[]func(t *testing.T) string{silent}, 504, "in time"},
		"both silent":            {[]func(t *testing.T) string{silent, silent}, 504, "in time"},
		"none is left after one": {[]func(t *testing.T) string{closedAddress}, 502, "reached"},
	} {
		t.Run(name, func(t *testing.T) {
			withTransports(t, func(t *testing.T, driver string) {
				s := newSetup(driver)
				for _, address := range test.backends {
					s.Pools[0].Backend = append(s.Pools[0].Backend, newPool("", address(t)).Backend...)
				}
				s.Routes[0].HandshakeTimeout = milliseconds(300)
				g := s.run(t)
				c := g.dial(t)
				c.send(t, asking("/"))
				c.wantRefusal(t, test.status, test.word)
				g.wantIdle(t)
				if n := g.metric(t, "sluice_sessions_total", "result=failed"); n != 1 {
					t.Errorf("%v handshakes failed", n)
				}
			})
		})
	}
}

// Faults B1: the refusal names the limit that was met.
func TestAFullPoolIsA503ThatSaysWhenToComeBack(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Pools[0].Backend[0].MaxSessions = 1
		g := s.run(t)
		client, b := g.open(t, backend)
		for _, text := range []string{asking("/"), getting("/")} {
			c := g.dial(t)
			c.send(t, text)
			if got := c.wantRefusal(t, http.StatusServiceUnavailable, "every backend has as many sessions as it may have").Header.Get("Retry-After"); got != "5" {
				t.Errorf("Retry-After %q, want 5", got)
			}
		}
		eventually(t, "the refused handshake is counted", func() bool {
			return g.metric(t, "sluice_handshakes_rejected_total", "reason=pool_full") == 1
		})
		wantLive(t, client, b)
	})
}

// Where a loop would have to wait for a place, or for the address of a name, a goroutine does, and the loop goes on with the result.
func TestABackendByItsNameIsReached(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		_, port, _ := net.SplitHostPort(backend.Addr().String())
		g := newSetup(driver, "localhost:"+port).run(t)
		for range 3 {
			client, b := g.open(t, backend, "X-Early: none")
			wantLive(t, client, b)
			_ = client.Close()
			_ = b.Close()
		}
		g.wantIdle(t)
	})
}

func TestAHandshakeWaitsForAPlaceAndGoesOn(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Pools[0].QueueTimeout, s.Pools[0].Queue = units.Duration(time.Minute), 10
		s.Pools[0].Backend[0].MaxSessions = 1
		g := s.run(t)
		first := g.dial(t)
		first.send(t, asking("/"))
		firstEnd := backend.accept(t)
		firstEnd.send(t, switching())
		first.wantOpen(t)

		gone := g.dial(t)
		gone.send(t, asking("/"))
		eventually(t, "the first one in the queue", func() bool { return g.Listeners()[0].Handshakes == 1 })
		waiting := g.dial(t)
		waiting.send(t, asking("/")+waiting.text("early"))
		eventually(t, "both in the queue", func() bool { return g.Listeners()[0].Handshakes == 2 })
		_ = gone.Close()
		eventually(t, "the one that has gone isn't waited for", func() bool { return g.Listeners()[0].Handshakes == 1 })
		wantLive(t, first, firstEnd)

		_ = first.Close()
		_ = firstEnd.Close()
		b := backend.accept(t)
		b.send(t, switching())
		waiting.wantOpen(t)
		b.wantText(t, "early")
		wantLive(t, waiting, b)
		_ = waiting.Close()
		_ = b.Close()
		g.wantIdle(t)
	})
}
