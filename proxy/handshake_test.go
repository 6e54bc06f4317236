package proxy

import (
	"strings"
	"testing"
)

// refusals are requests that the gateway refuses. A name begins with the number of the rule.
func refusals() []refusal {
	good := asking("/chat")
	with := func(lines ...string) string { return asking("/chat", lines...) }
	replaced := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	return []refusal{
		{"1 the first fault, before the end of the head", "GET /chat HTTP/1.1\n", 400, "LF"},
		{"1 TLS, without the end of a line", "\x16\x03\x01", 400, "TLS"},
		{"1 a bare CR", with("X: a\rb"), 400, "CR"},
		{"1 a folded line", with("X: a", " b"), 400, "white space"},
		{"1 a space before a colon", with("X : a"), 400, "colon"},
		{"1 over 16 KiB", with("X: " + strings.Repeat("x", 16<<10)), 400, "16 KiB"},
		{"1 over 100 lines", with(strings.Split(strings.Repeat("X: a\n", 100), "\n")[:100]...), 400, "100 lines"},
		{"3 another method", replaced("GET", "POST"), 405, "GET"},
		{"3 HTTP/1.0", replaced("HTTP/1.1", "HTTP/1.0"), 400, "HTTP/1.1"},
		{"3 no upgrade in Connection", replaced("Connection: Upgrade", "Connection: close"), 400, "Upgrade"},
		{"3 no key", replaced("Sec-WebSocket-Key: "+sampleKey+"\r\n", ""), 400, "Key"},
		{"3 a key of 15 bytes", replaced(sampleKey, "AAAAAAAAAAAAAAAAAAAA"), 400, "Key"},
		{"3 a body", with("Content-Length: 5"), 400, "body"},
		{"3 Expect", with("Expect: 100-continue"), 400, "Expect"},
		{"3 another version", replaced("Version: 13", "Version: 8"), 426, "13"},
		{"5 the authority of another host", asking("http://other.test/chat"), 400, "target"},
		{"5 a dot segment", asking("/chat/%2e%2e/admin"), 400, "dots"},
		{"5 an encoded slash", asking("/chat/a%2fb"), 400, "percent"},
		{"5 a path without a route", asking("/chatter"), 404, "nothing"},
		{"6 a nominated Host", with("Connection: Host"), 400, "Connection"},
		{"6 a nominated Authorization", with("Connection: authorization"), 400, "Connection"},
		{"8 an Origin that is not allowed", with("Origin: https://bad.example"), 403, "Origin"},
		{"1 a NUL in a value", with("X: a\x00b"), 400, "control"},
		{"1 a name that is no token", with("X(y): a"), 400, "token"},
		{"1 a line without a colon", with("nothing"), 400, "token"},
		{"3 HTTP/1.9", replaced("HTTP/1.1", "HTTP/1.9"), 400, "HTTP/1.1"},
		{"3 HTTP/2.0", replaced("HTTP/1.1", "HTTP/2.0"), 400, "HTTP/1.1"},
		{"3 no target", replaced("GET /chat", "GET "), 400, "target"},
		{"3 a key of garbage", replaced(sampleKey, "!!!!!!!!!!!!!!!!!!!!!!=="), 400, "Key"},
		{"3 two keys", with("Sec-WebSocket-Key: " + sampleKey), 400, "twice"},
		{"3 two versions", with("Sec-WebSocket-Version: 13"), 400, "twice"},
		{"3 no version", replaced("Sec-WebSocket-Version: 13\r\n", ""), 400, "Version"},
		{"3 a chunked body", with("Transfer-Encoding: chunked"), 400, "body"},
		{"3 a body of two lengths", with("Content-Length: 5", "Content-Length: 6"), 400, "Content-Length"},
		{"3 a length and a coding", with("Content-Length: 5", "Transfer-Encoding: chunked"), 400, "Transfer-Encoding"},
		{"3 a protocol that is no token", with("Sec-WebSocket-Protocol: a b"), 400, "Protocol"},
		{"3 extensions that are no list", with("Sec-WebSocket-Extensions: ;x"), 400, "Extensions"},
		{"5 no Host", replaced("Host: gateway.test\r\n", ""), 400, "Host"},
		{"5 two Hosts", with("Host: other.test"), 400, "twice"},
		{"5 a Host with a path", replaced("gateway.test", "gateway.test/x"), 400, "Host"},
		{"5 an encoded backslash", asking("/chat/a%5cb"), 400, "percent"},
		{"5 dots in the middle", asking("/chat/./x"), 400, "dots"},
		{"6 a nominated key", with("Connection: Sec-WebSocket-Key"), 400, "Connection"},
		{"6 a nominated Cookie", with("Connection: cookie"), 400, "Connection"},
	}
}

type refusal struct {
	name, head string
	status     int
	word       string // in the text of the answer
}

func TestARefusalSaysWhyAndNoOtherSessionNotices(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		strict := newRouteConfig("pool")
		strict.Path, strict.Origins, strict.EncodedSlashes = "/chat", []string{"https://good.example"}, "refuse"
		s.Routes[0].Path = "/live"
		s.Routes = append(s.Routes, strict)
		g := s.run(t)
		client := g.dial(t)
		client.send(t, asking("/live"))
		other := backend.accept(t)
		other.send(t, switching())
		client.wantOpen(t)
		for i, r := range refusals() {
			t.Run(r.name, func(t *testing.T) {
				c := g.dial(t)
				c.send(t, r.head)
				c.wantRefusal(t, r.status, r.word)
				wantLive(t, client, other)
				line := g.lines(t, i+1)[i].ContextMap()
				if line["status"] != int64(r.status) || line["listener"] != "public" || line["client"] != c.LocalAddr().String() {
					t.Errorf("the access log says %v", line)
				}
			})
		}
		backend.wantNoConnection(t)
		if got := g.metric(t, "sluice_handshakes_rejected_total"); int(got) != len(refusals()) {
			t.Errorf("%v refusals counted, want %d", got, len(refusals()))
		}
	})
}

func TestHeadTimeoutEndsASlowHead(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		s := newSetup(driver, closedAddress(t))
		s.Listeners[0].HeadTimeout = milliseconds(100)
		g := s.run(t)
		slow := g.dial(t)
		slow.send(t, "GET / HTTP/1.1\r\n")
		slow.wantRefusal(t, 408, "in time")
		g.dial(t).wantEnd(t) // a client that sends nothing gets no answer
		g.lines(t, 1)
	})
}

func TestLegalButUnusualRequestsPass(t *testing.T) {
	good := asking("/chat")
	for name, text := range map[string]string{
		"3 lists and TABs":             strings.Replace(good, "Connection: Upgrade", "Connection: keep-alive,\tUPGRADE", 1),
		"3 several Connection lines":   asking("/chat", "Connection: keep-alive"),
		"3 more than one protocol":     strings.Replace(good, "Upgrade: websocket", "Upgrade: foo/2, WebSocket", 1),
		"5 absolute-form of this host": asking("http://gateway.test/chat"),
		"3 an empty line first":        "\r\n" + good, // Faults B5, as the next four.
		"3 no body":                    asking("/chat", "Content-Length: 0"),
		"3 empty lists":                asking("/chat", "Sec-WebSocket-Extensions:", "Sec-WebSocket-Protocol: ,"),
		"5 a default port":             asking("http://gateway.test:80/chat"),
		"5 a default port in Host":     strings.Replace(asking("wss://gateway.test/chat"), "Host: gateway.test", "Host: Gateway.Test:443", 1),
		"5 port and trailing dot":      strings.Replace(good, "gateway.test", "GATEWAY.test.:81", 1),
	} {
		t.Run(name, func(t *testing.T) {
			withDrivers(t, func(t *testing.T, driver string) {
				backend := listenRaw(t)
				s := newSetup(driver, backend.Addr().String())
				s.Routes[0].Host, s.Routes[0].Path = "gateway.test", "/chat"
				g := s.run(t)
				c := g.dial(t)
				for i := range text {
					c.send(t, text[i:i+1])
				}
				b := backend.accept(t)
				if !strings.HasPrefix(b.head, "GET /chat HTTP/1.1\r\n") {
					t.Errorf("the backend gets %q, want origin-form", b.head)
				}
				b.send(t, switching())
				c.wantOpen(t)
			})
		})
	}
}

// Bytes after a head are frames, on either side. Those of the client wait for the 101.
func TestFramesThatFollowTheHeadsPass(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).run(t)
		c := g.dial(t)
		c.send(t, asking("/")+c.text("with the head"))
		b := backend.accept(t)
		c.send(t, c.text("while we dial"))
		// A handshake on a goroutine reads early frames only after watchDelay.
		eventually(t, "the read of the frame", func() bool { return unread(t, g, c) == 0 })
		if b.reader.Buffered() > 0 {
			t.Error("the backend gets frames before its 101")
		}
		b.send(t, switching()+b.text("after the 101"))
		c.wantOpen(t)
		c.wantText(t, "after the 101")
		b.wantText(t, "with the head")
		b.wantText(t, "while we dial")
		wantLive(t, c, b)
	})
}

func TestAClientLostWhileItsBackendIsDialedReleasesThePick(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).run(t)
		c := g.dial(t)
		c.send(t, asking("/"))
		b := backend.accept(t)
		_ = c.Close()
		b.wantGone(t)
		g.wantIdle(t)
		if line := g.lines(t, 1)[0].ContextMap(); line["reason"] != "client_lost" || line["status"] != int64(0) {
			t.Errorf("the access log says %v", line)
		}
		if n := g.metric(t, "sluice_backend_failures_total"); n != 0 {
			t.Errorf("%v failures of the backend, which did nothing wrong", n)
		}
	})
}
