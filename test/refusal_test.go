//go:build unix

package test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// badHeads are requests that the gateway refuses by itself, each with the status that it is told.
func badHeads() []badHead {
	good := request("/chat")
	replaced := func(old, new string) string {
		if !strings.Contains(good, old) {
			panic("BUG: the good request has no " + old)
		}
		return strings.Replace(good, old, new, 1)
	}
	with := func(lines ...string) string { return request("/chat", lines...) }
	to := func(path string) string { return request(path) }
	return []badHead{
		// Two parsers could read these differently.
		{"bare LF behind the first line, and no more", "GET /chat HTTP/1.1\n", 400},
		{"bare LF behind a field", replaced("gateway.test\r\n", "gateway.test\n"), 400},
		{"bare CR inside a value", with("X: a\rb"), 400},
		{"folded line", with("X: a", " b"), 400},
		{"white space before the first field", replaced("Host:", " Host:"), 400},
		{"space before a colon", with("X : a"), 400},
		{"TAB before a colon", with("X\t: a"), 400},
		{"line without a colon", with("X"), 400},
		{"empty field name", with(": a"), 400},
		{"field name of two words", with("X Y: a"), 400},
		{"NUL inside a value", with("X: a\x00b"), 400},
		{"DEL inside a value", with("X: a\x7fb"), 400},
		{"ESC inside the first line", replaced("/chat", "/chat\x1b"), 400},
		{"two Hosts", with("host: gateway.test"), 400},
		{"two keys", with("sec-websocket-key: " + sampleKey), 400},
		{"two versions", with("SEC-WEBSOCKET-VERSION: 13"), 400},
		{"no Host", replaced("Host: gateway.test\r\n", ""), 400},
		{"Host of two words", replaced("gateway.test", "gateway test"), 400},
		{"Host with a user", replaced("gateway.test", "user@gateway.test"), 400},
		{"head over 16 KiB", with("X: " + strings.Repeat("x", 16<<10)), 400},
		{"line without end", "GET /" + strings.Repeat("x", 20<<10), 400},
		{"head over 100 lines", with(strings.Split(strings.Repeat("X: a\n", 100), "\n")[:100]...), 400},
		{"two empty lines first", "\r\n\r\n", 400},
		{"no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n", 400},

		// The first line.
		{"HTTP/2.0", replaced("HTTP/1.1", "HTTP/2.0"), 400},
		{"HTTP/1.9", replaced("HTTP/1.1", "HTTP/1.9"), 400},
		{"HTTP/1.0", replaced("HTTP/1.1", "HTTP/1.0"), 400},
		{"two spaces in the first line", replaced("GET /chat", "GET  /chat"), 400},
		{"TABs in the first line", replaced("GET /chat HTTP", "GET\t/chat\tHTTP"), 400},
		{"another method", replaced("GET", "POST"), 405},
		{"method in lower case", replaced("GET", "get"), 405},
		{"target without a slash", to("chat"), 400},
		{"target *", to("*"), 400},
		{"target of another host", to("http://other.test/chat"), 400},
		{"target with a fragment", to("/chat#there"), 400},
		{"dot segments", to("/chat/../admin"), 400},
		{"dot segments in percent-encoding", to("/chat/%2e%2E/admin"), 400},
		{"single dot segment", to("/./chat"), 400},
		{"encoded slash", to("/chat/a%2fb"), 400},
		{"encoded backslash", to("/chat/a%5Cb"), 400},
		{"broken percent-encoding", to("/chat/%4"), 400},
		{"NUL in percent-encoding", to("/chat/%00"), 400},
		{"path that nothing is served under", to("/chatter"), 404},
		{"root that nothing is served under", to("/"), 404},

		// RFC 6455 section 4.2.1.
		{"no Connection", replaced("Connection: Upgrade\r\n", ""), 400},
		{"Connection without upgrade", replaced("Connection: Upgrade", "Connection: keep-alive"), 400},
		{"Content-Length", with("Content-Length: 5"), 400},
		{"Transfer-Encoding", with("Transfer-Encoding: chunked"), 400},
		{"Expect", with("Expect: 100-continue"), 400},
		{"no key", replaced("Sec-WebSocket-Key: "+sampleKey+"\r\n", ""), 400},
		{"key of 15 bytes", replaced(sampleKey, "AAAAAAAAAAAAAAAAAAAA"), 400},
		{"key of garbage", replaced(sampleKey, "!!!!!!!!!!!!!!!!!!!!!!=="), 400},
		{"no version", replaced("Sec-WebSocket-Version: 13\r\n", ""), 400},
		{"version 8", replaced("Version: 13", "Version: 8"), 426},
		{"versions in a list", replaced("Version: 13", "Version: 13, 8"), 426},
		{"malformed subprotocols", with("Sec-WebSocket-Protocol: a b"), 400},
		{"malformed extensions", with("Sec-WebSocket-Extensions: a; b=\"c"), 400},
		{"Connection that nominates Host", with("Connection: Host"), 400},
		{"Connection that nominates Cookie", with("Connection: cookie"), 400},
		{"Connection that nominates the key", with("Connection: Sec-WebSocket-Key"), 400},
		{"Connection that nominates Authorization", with("Connection: authorization"), 400},
		{"another Origin", with("Origin: https://bad.example"), 403},
		{"Origin of another scheme", with("Origin: http://good.example"), 403},
		{"two Origins", with("Origin: https://good.example", "Origin: https://good.example"), 400},
	}
}

type badHead struct {
	name, head string
	status     int
}

func TestABadRequestIsRefusedAndNoOtherSessionNotices(t *testing.T) {
	t.Parallel()
	eachDriver(t, func(t *testing.T, on func(string) string) {
		crowded := listenRaw(t)
		// A request that got through to this backend would be answered with 502.
		g := runGateway(t, on(basics+crowdRoute(crowded)+toPool("/chat", "chat", closedPort)+"[[route]]\npath = \"/chat\"\nhost = \"gateway.test\"\npool = \"chat\"\norigins = [\"https://good.example\"]\nencoded_slashes = \"refuse\"\n"))
		others := openCrowd(t, g, crowded)
		others.wantLive(t)
		for _, bad := range badHeads() {
			t.Run(bad.name, func(t *testing.T) {
				c := dial(t, g.listeners["public"])
				c.send(t, bad.head)
				c.wantRefusal(t, bad.status)
				if len(bad.head) < 1<<10 {
					c = dial(t, g.listeners["public"])
					c.sendInPieces(t, bad.head)
					c.wantRefusal(t, bad.status)
				}
				others.wantLive(t)
			})
		}
	})
}

func TestARefusalHasAnAccessLine(t *testing.T) {
	t.Parallel()
	g := runGateway(t, basics+toPool("/chat", "chat", closedPort))
	for _, test := range []struct {
		head         string
		status       int
		path, reason string // path: "" where the head was refused before it was known
	}{
		{"GET /chat HTTP/1.1\n", 400, "", "bare_lf"},
		{request("/other"), 404, `"path":"/other"`, "no_route"},
		{request("/chat", "Sec-WebSocket-Protocol: a b"), 400, `"path":"/chat"`, "bad_protocol"},
		{request("/chat"), 502, `"path":"/chat"`, "dial"},
	} {
		c := dial(t, g.listeners["public"])
		c.send(t, test.head)
		c.wantRefusal(t, test.status)
		_ = c.Close()
		var line string
		eventually(t, patience, "an access line of "+test.reason, func() bool {
			for l := range strings.Lines(g.log.String()) {
				if strings.Contains(l, `"room":"access"`) && strings.Contains(l, fmt.Sprintf(`"reason":%q`, test.reason)) {
					line = l
				}
			}
			return line != ""
		})
		for _, want := range []string{
			fmt.Sprintf(`"client":%q`, c.LocalAddr()), fmt.Sprintf(`"status":%d`, test.status), `"listener":"public"`, test.path,
		} {
			if !strings.Contains(line, want) {
				t.Errorf("request %.60q: no %s in the access line %s", test.head, want, line)
			}
		}
		if strings.Contains(line, `"session":"0000000000000000"`) {
			t.Errorf("request %.60q: no session in the access line %s", test.head, line)
		}
	}
}

// wantRefusal reads an answer of the gateway's own, up to the end of the connection.
func (w *wire) wantRefusal(t *testing.T, status int) *http.Response {
	t.Helper()
	response := w.answer(t)
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != status || !response.Close || response.ContentLength != int64(len(body)) {
		t.Errorf("status %d, close %v, length %d, %q, %v; want %d, and the connection's end announced",
			response.StatusCode, response.Close, response.ContentLength, body, err, status)
	}
	if len(body) < 2 || strings.Index(string(body), "\n") != len(body)-1 {
		t.Errorf("body %q, want a line", body)
	}
	for name, want := range statusFields[status] {
		if got := response.Header.Get(name); got != want {
			t.Errorf("status %d with %s: %q, want %q", status, name, got, want)
		}
	}
	w.wantEnd(t)
	return response
}

// statusFields are what a status has to say beside its line of text.
var statusFields = map[int]map[string]string{
	405: {"Allow": "GET"},
	426: {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"},
}

// sendInPieces sends so that a head arrives split at every few bytes. The gateway may end it early.
func (w *wire) sendInPieces(t *testing.T, bytes string) {
	t.Helper()
	for len(bytes) > 0 {
		n := min(7, len(bytes))
		w.send(t, bytes[:n])
		bytes = bytes[n:]
	}
}

// closedPort is one where nobody listens: the kernel gives it to nobody who asks for any.
const closedPort = 1

func TestALegalButUnusualRequestIsAdmitted(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	g := runGateway(t, basics+fmt.Sprintf(`
[[route]]
host = "gateway.test"
path = "/chat"
pool = "chat"
origins = ["https://good.example"]
[[pool]]
name = "chat"
backend = [{ address = %q }]
`, backend.Addr()))
	good := request("/chat")
	for name, test := range map[string]string{
		"lists and TABs":                    strings.Replace(good, "Connection: Upgrade", "Connection: keep-alive,\tUpgrade", 1),
		"two Connection lines":              request("/chat", "Connection: keep-alive"),
		"another protocol in Upgrade":       strings.Replace(good, "Upgrade: websocket", "Upgrade: foo/2, WebSocket", 1),
		"any case":                          strings.Replace(strings.Replace(good, "Upgrade: websocket", "UPGRADE:WEBSOCKET", 1), "Host:", "hOST:", 1),
		"Host with a port and a dot":        strings.Replace(good, "gateway.test", "Gateway.TEST.:8080", 1),
		"target with this host's authority": request("http://gateway.test/chat"),
		"percent-encoding":                  request("/ch%61t/room%20one?and=more"),
		"allowed Origin":                    request("/chat", "Origin: https://good.example"),
		"no white space behind a colon":     request("/chat", "X:y"),
		"bytes beyond ASCII in a value":     request("/chat", "X: Gr\xfc\xdfe"),
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, g.listeners["public"])
			c.sendInPieces(t, test)
			b := backend.accept(t)
			if !strings.HasPrefix(b.request.RequestURI, "/ch") {
				t.Errorf("the backend is asked for %q, want origin-form", b.request.RequestURI)
			}
			b.send(t, switching())
			c.wantOpen(t)
		})
	}
}
