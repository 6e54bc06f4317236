//go:build unix

package test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// badAnswers are what a backend may not answer to a request with sampleKey that offers the subprotocols
// chat and superchat, and the extensions x-taken and permessage-deflate.
func badAnswers() []namedText {
	good := switching()
	replaced := func(old, new string) string {
		if !strings.Contains(good, old) {
			panic("BUG: the good answer has no " + old)
		}
		return strings.Replace(good, old, new, 1)
	}
	return []namedText{
		{"no Upgrade", replaced("Upgrade: websocket\r\n", "")},
		{"another Upgrade", replaced("Upgrade: websocket", "Upgrade: h2c")},
		{"no Connection", replaced("Connection: Upgrade\r\n", "")},
		{"Connection without upgrade", replaced("Connection: Upgrade", "Connection: keep-alive")},
		{"no Accept", replaced("Sec-WebSocket-Accept: "+sampleAccept+"\r\n", "")},
		{"Accept of another key", replaced(sampleAccept, acceptOf("another"))},
		{"Accept in another case", replaced(sampleAccept, strings.ToLower(sampleAccept))},
		{"two Accepts", switching("Sec-WebSocket-Accept: " + sampleAccept)},
		{"subprotocol that was not offered", switching("Sec-WebSocket-Protocol: other")},
		{"subprotocol in another case", switching("Sec-WebSocket-Protocol: Chat")},
		{"two subprotocols", switching("Sec-WebSocket-Protocol: chat, superchat")},
		{"two subprotocols in two lines", switching("Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: superchat")},
		{"extension that nobody offered", switching("Sec-WebSocket-Extensions: x-other")},
		{"extension that the gateway took out of the offer", switching("Sec-WebSocket-Extensions: x-taken")},
		{"extension twice", switching("Sec-WebSocket-Extensions: permessage-deflate, permessage-deflate")},
		{"101 in HTTP/1.0", replaced("HTTP/1.1", "HTTP/1.0")},
		{"HTTP/2.0", replaced("HTTP/1.1", "HTTP/2.0")},
		{"no HTTP", "SSH-2.0-OpenSSH_9.2\r\n"},
		{"bare LFs", strings.ReplaceAll(good, "\r\n", "\n")},
		{"bare CR inside a value", switching("X: a\rb")},
		{"NUL inside a value", switching("X: a\x00b")},
		{"folded line", switching("X: a", " b")},
		{"space before a colon", switching("X : a")},
		{"head over 16 KiB", switching("X: " + strings.Repeat("x", 16<<10))},
		{"head over 100 lines", switching(strings.Split(strings.Repeat("X: a\n", 100), "\n")[:100]...)},
		{"nine interim answers", strings.Repeat(head("HTTP/1.1 102 Processing"), 9) + good},
		{"interim answers of over 16 KiB", strings.Repeat(head("HTTP/1.1 103 Early Hints", "Link: "+strings.Repeat("x", 4<<10)), 4) + good},
		{"two Content-Lengths", head("HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 2") + "ab"},
		{"Content-Length and Transfer-Encoding", head("HTTP/1.1 200 OK", "Content-Length: 5", "Transfer-Encoding: chunked") + "0\r\n\r\n"},
		{"another transfer coding", head("HTTP/1.1 200 OK", "Transfer-Encoding: gzip, chunked") + "0\r\n\r\n"},
		{"chunked in HTTP/1.0", head("HTTP/1.0 200 OK", "Transfer-Encoding: chunked") + "0\r\n\r\n"},
	}
}

type namedText struct{ name, text string }

// asking is the request that bad and other answers are given to.
func asking() string {
	return request("/chat", "Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Extensions: x-taken, permessage-deflate")
}

func TestABadAnswerIsToldAs502AndNoOtherSessionNotices(t *testing.T) {
	t.Parallel()
	eachDriver(t, func(t *testing.T, on func(string) string) {
		crowded, backend := listenRaw(t), listenRaw(t)
		g := runGateway(t, on(basics+crowdRoute(crowded)+toPool("/chat", "chat", backend.port())))
		others := openCrowd(t, g, crowded)
		others.wantLive(t)
		for _, bad := range badAnswers() {
			t.Run(bad.name, func(t *testing.T) {
				c := dial(t, g.listeners["public"])
				c.send(t, asking())
				b := backend.accept(t)
				b.send(t, bad.text)
				c.wantRefusal(t, 502)
				b.wantGone(t)
				others.wantLive(t)
			})
		}
	})
}

// A backend that answered has been asked: another one may not be asked the same.
func TestABadAnswerIsNotTriedElsewhere(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	g := runGateway(t, basics+fmt.Sprintf(`
[[route]]
pool = "pool"
[[pool]]
name = "pool"
retries = 2
backend = [{ address = "127.0.0.1:%[1]d" }, { address = "localhost:%[1]d" }]
`, backend.port()))
	for _, bad := range []string{switching("Sec-WebSocket-Protocol: other"), "garbage\r\n"} {
		c := dial(t, g.listeners["public"])
		c.send(t, asking())
		b := backend.accept(t)
		b.send(t, bad)
		c.wantRefusal(t, 502)
		b.wantGone(t)
	}
	if got := g.count(t, `sluice_backend_failures_total`); got != 2 {
		t.Errorf("%d failures of backends after two bad answers", got)
	}
}

func TestAnotherStatusPassesWhole(t *testing.T) {
	t.Parallel()
	eachDriver(t, func(t *testing.T, on func(string) string) {
		crowded, backend := listenRaw(t), listenRaw(t)
		g := runGateway(t, on(basics+crowdRoute(crowded)+toPool("/chat", "chat", backend.port())))
		others := openCrowd(t, g, crowded)
		long := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
		for _, test := range []struct {
			name, answer string
			status       int
			body         string
			header       http.Header
			isToEnd      bool // the backend ends its stream behind the body
		}{
			{"with Content-Length", head("HTTP/1.1 403 Forbidden", "Content-Type: text/html", "Content-Length: 6", "X-Reason: a", "X-Reason: b") + "<p>no\n",
				403, "<p>no\n", http.Header{"Content-Type": {"text/html"}, "X-Reason": {"a", "b"}, "Content-Length": {"6"}}, false},
			{"with more behind Content-Length", head("HTTP/1.1 401 Unauthorized", "WWW-Authenticate: Basic", "Content-Length: 2") + "noHTTP/1.1 200 OK\r\n\r\n",
				401, "no", http.Header{"Www-Authenticate": {"Basic"}, "Content-Length": {"2"}}, false},
			{"chunked with trailers", head("HTTP/1.1 500 Oh", "Transfer-Encoding: chunked", "Trailer: X-Sum") + "3\r\nsor\r\n2;x=y\r\nry\r\n0\r\nX-Sum: 5\r\n\r\n",
				500, "sorry", http.Header{}, false},
			{"to the end of the stream", head("HTTP/1.1 503 Busy", "Retry-After: 7") + "come back", 503, "come back", http.Header{"Retry-After": {"7"}}, true},
			{"in HTTP/1.0", head("HTTP/1.0 404 Gone") + "nothing", 404, "nothing", http.Header{}, true},
			{"redirect without a body", head("HTTP/1.1 302 Found", "Location: https://elsewhere.test/", "Content-Length: 0"),
				302, "", http.Header{"Location": {"https://elsewhere.test/"}, "Content-Length": {"0"}}, false},
			{"204", head("HTTP/1.1 204 No Content", "X: y"), 204, "", http.Header{"X": {"y"}}, false},
			{"304", head("HTTP/1.1 304 Not Modified", "ETag: \"a\""), 304, "", http.Header{"Etag": {"\"a\""}}, false},
			{"200", head("HTTP/1.1 200 OK", "Content-Length: 2", "Set-Cookie: a=b", "Connection: X-Hop, keep-alive", "X-Hop: y", "Keep-Alive: 5") + "ok",
				200, "ok", http.Header{"Set-Cookie": {"a=b"}, "Content-Length": {"2"}}, false},
			{"behind interim answers", head("HTTP/1.1 100 Continue") + head("HTTP/1.1 103 Early Hints", "Link: x") + head("HTTP/1.1 418 Teapot", "Content-Length: 3") + "tea",
				418, "tea", http.Header{"Content-Length": {"3"}}, false},
			{"of 1 MiB with Content-Length", head("HTTP/1.1 500 Long", fmt.Sprintf("Content-Length: %d", len(long))) + long,
				500, long, http.Header{"Content-Length": {fmt.Sprint(len(long))}}, false},
			{"of 1 MiB in chunks", head("HTTP/1.1 500 Long", "Transfer-Encoding: chunked") + strings.Repeat("10000\r\n"+long[:1<<16]+"\r\n", 16) + "0\r\n\r\n",
				500, long, http.Header{}, false},
			{"of 1 MiB to the end of the stream", head("HTTP/1.1 500 Long") + long, 500, long, http.Header{}, true},
		} {
			t.Run(test.name, func(t *testing.T) {
				c := dial(t, g.listeners["public"])
				c.send(t, asking())
				b := backend.accept(t)
				sent := make(chan struct{})
				go func() { // the sockets between don't hold all of it
					defer close(sent)
					b.mayWait()
					_, _ = io.WriteString(b, test.answer)
					if test.isToEnd {
						_ = b.CloseWrite()
					}
				}()
				response := c.answer(t)
				body, err := io.ReadAll(response.Body)
				if err != nil || response.StatusCode != test.status || string(body) != test.body {
					t.Errorf("status %d, %d bytes %.40q, %v; want %d, %d bytes %.40q", response.StatusCode, len(body), body, err, test.status, len(test.body), test.body)
				}
				if strings.HasPrefix(test.name, "chunked") && response.Trailer.Get("X-Sum") != "5" {
					t.Errorf("trailers %v, want X-Sum: 5", response.Trailer)
				}
				if !response.Close {
					t.Error("the connection's end isn't announced")
				}
				if got, want := fmt.Sprint(response.Header), fmt.Sprint(test.header); got != want {
					t.Errorf("header %v, want %v", got, want)
				}
				c.wantEnd(t)
				_ = c.Close()
				<-sent
				b.wantGone(t)
				others.wantLive(t)
			})
		}
	})
}

func TestAnAnswerThatEndsEarlyIsNotTakenForWhole(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	g := runGateway(t, basics+toPool("/chat", "chat", backend.port()))
	for _, answer := range []string{
		head("HTTP/1.1 200 OK", "Content-Length: 10") + "half",
		head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + "4\r\nhalf\r\n",
		head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + "4\r\nhalf\r\nno size\r\n",
	} {
		c := dial(t, g.listeners["public"])
		c.send(t, asking())
		b := backend.accept(t)
		b.send(t, answer)
		_ = b.Close()
		if body, err := io.ReadAll(c.answer(t).Body); err == nil {
			t.Errorf("answer %q: %q arrives as if it were whole", answer, body)
		}
	}
}

func TestThe101PassesWithItsHeadersAndTheFramesBehindIt(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, on func(string) string) {
		backend := listenRaw(t)
		g := runGateway(t, on(basics+toPool("/chat", "chat", backend.port())))
		c := dial(t, g.listeners["public"])
		c.send(t, asking()+c.frame(1, "early of the client"))
		b := backend.accept(t)
		for name, want := range map[string]string{"Sec-Websocket-Extensions": "permessage-deflate", "Sec-Websocket-Key": sampleKey, "Host": ""} {
			if isHTTP2 := strings.Contains(on(basics), overHTTP2); isHTTP2 && want == sampleKey {
				continue // a stream has none
			}
			if got := b.request.Header.Get(name); got != want {
				t.Errorf("the backend is sent %s: %q, want %q", name, got, want)
			}
		}
		b.send(t, head("HTTP/1.1 103 Early Hints", "Link: </style.css>")+switching("Set-Cookie: a=b", "Set-Cookie: c=d", "Sec-WebSocket-Protocol: superchat",
			"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover", "Content-Length: 0", "X-Backend: one")+b.frame(1, "early of the backend"))
		response := c.wantOpen(t)
		want := http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Accept": {sampleAccept}, "Set-Cookie": {"a=b", "c=d"},
			"Sec-Websocket-Protocol": {"superchat"}, "Sec-Websocket-Extensions": {"permessage-deflate; server_no_context_takeover"}, "X-Backend": {"one"}}
		if got, want := fmt.Sprint(response.Header), fmt.Sprint(want); got != want {
			t.Errorf("the 101 has %v, want %v", got, want)
		}
		c.wantFrame(t, 1, "early of the backend")
		b.wantFrame(t, 1, "early of the client")
	})
}
