package upgrade

import (
	"strings"
	"testing"
)

func TestAWebSocketTokenInUpgradeMakesAWebSocketRequest(t *testing.T) {
	for _, test := range []struct {
		lines []string
		want  bool
	}{
		{nil, false},
		{[]string{"Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"}, false},
		{[]string{"Upgrade: websocket"}, true},
		{[]string{"Upgrade: WEBSOCKET"}, true},
		{[]string{"Upgrade: h2c, websocket"}, true},
		{[]string{"Upgrade: h2c", "Upgrade: websocket"}, true},
		{[]string{"Upgrade: websockets"}, false},
		{[]string{"Upgrade: websocket/13"}, false},
		{[]string{"Upgrade: web socket"}, false},
		{[]string{"Upgrade: \"websocket\""}, false},
		{[]string{"X-Upgrade: websocket"}, false},
		{[]string{"Upgrade:"}, false},
	} {
		wire := head(append([]string{"GET / HTTP/1.1", "Host: a"}, test.lines...)...)
		r, _, err := parse(t, wire)
		if err != nil || r.IsWebSocket() != test.want {
			t.Errorf("request %q: IsWebSocket = %v, %v; want %v, nil", wire, r.IsWebSocket(), err, test.want)
		}
	}
}

func TestAnyPlainRequestIsParsed(t *testing.T) {
	for _, wire := range []string{
		head("GET / HTTP/1.0"),
		head("HEAD /a?b HTTP/1.0", "Host: a"),
		head("POST / HTTP/1.1", "Host: a", "Content-Length: 9223372036854775807"),
		head("PUT / HTTP/1.1", "Host: a", "Transfer-Encoding: Chunked", "Expect: 100-continue"),
		head("M-SEARCH /x HTTP/1.1", "Host: a", "Empty:", "Latin: h\xf6s"),
		head("OPTIONS /x HTTP/1.1", "Host: a.", "Connection: close"),
	} {
		r, n, err := parse(t, wire)
		if n != len(wire) || err != nil || r.IsWebSocket() {
			t.Errorf("Parse(%q) = %d, %v; IsWebSocket %v", wire, n, err, r.IsWebSocket())
		}
		if err := r.CheckUpgrade(); err != error(ErrNotWebSocket) {
			t.Errorf("CheckUpgrade of %q = %v; want %v", wire, err, ErrNotWebSocket)
		}
	}
}

func TestTheFirstLineIsMethodTargetVersion(t *testing.T) {
	for _, test := range []struct {
		line string
		want *Rejection
	}{
		{"", ErrBadRequestLine},
		{"GET", ErrBadRequestLine},
		{"GET /", ErrBadRequestLine},
		{"GET HTTP/1.1", ErrBadRequestLine},
		{" GET / HTTP/1.1", ErrBadRequestLine},
		{"G(T / HTTP/1.1", ErrBadRequestLine},
		{"GET\t/\tHTTP/1.1", ErrBadRequestLine},
		{"GET  / HTTP/1.1", ErrBadTarget},
		{"GET /  HTTP/1.1", ErrBadTarget},
		{"GET / a HTTP/1.1", ErrBadTarget},
		{"GET  HTTP/1.1", ErrBadTarget},
		{"GET / HTTP/1.1 ", ErrBadVersion},
		{"GET / HTTP/1.9", ErrBadVersion},
		{"GET / HTTP/2.0", ErrBadVersion},
		{"GET / http/1.1", ErrBadVersion},
		{"GET / HTTP/01.1", ErrBadVersion},
		{"PRI * HTTP/2.0", ErrBadVersion},
	} {
		wire := head(test.line, "Host: a")
		_, _, err := parse(t, wire)
		wantRefused(t, wire, err, test.want)
	}
}

func TestAClientThatSpeaksTLSIsRefusedByItsFirstByte(t *testing.T) {
	for _, wire := range []string{"\x16", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "\x16\x03\n"} {
		_, _, err := parse(t, wire)
		wantRefused(t, wire, err, ErrTLS)
	}
}

func TestAWebSocketRequestIsCheckedAsRFC6455Section421Says(t *testing.T) {
	replaced := func(old, new string) string { return strings.Replace(upgradeHead(), old, new, 1) }
	key := func(key string) string { return replaced(sampleKey, key) }
	for _, test := range []struct {
		name, wire string
		want       *Rejection
	}{
		{"right", upgradeHead(), nil},
		{"a key whose last bits are not zero", key("dGhlIHNhbXBsZSBub25jZR=="), nil},
		{"another method", replaced("GET", "POST"), ErrBadMethod},
		{"a method in lower case", replaced("GET", "get"), ErrBadMethod},
		{"HTTP/1.0", replaced("HTTP/1.1", "HTTP/1.0"), ErrOldHTTP},
		{"no Connection", replaced("Connection: Upgrade\r\n", ""), ErrNoUpgrade},
		{"Connection without upgrade", replaced("Connection: Upgrade", "Connection: keep-alive"), ErrNoUpgrade},
		{"a malformed Upgrade list", upgradeHead("Upgrade: foo bar"), ErrBadUpgrade},
		{"a malformed Connection list", upgradeHead("Connection: a b"), ErrBadConnection},
		{"a Connection list in quotes", upgradeHead("Connection: \"a, b\""), ErrBadConnection},
		{"an endless Connection list", upgradeHead("Connection: " + strings.Repeat("a,", maxNominated)), ErrBadConnection},
		{"Content-Length", upgradeHead("Content-Length: 5"), ErrBody},
		{"Content-Length 0", upgradeHead("Content-Length: 0"), nil}, // Faults B5.
		{"Content-Length 00", upgradeHead("Content-Length: 00"), nil},
		{"Transfer-Encoding", upgradeHead("Transfer-Encoding: chunked"), ErrBody},
		{"Expect", upgradeHead("Expect: 100-continue"), ErrExpect},
		{"no key", replaced("Sec-WebSocket-Key: "+sampleKey+"\r\n", ""), ErrBadKey},
		{"an empty key", key(""), ErrBadKey},
		{"a key of 15 bytes", key("AAAAAAAAAAAAAAAAAAAA"), ErrBadKey},
		{"a key of 17 bytes", key("AAAAAAAAAAAAAAAAAAAAAAA="), ErrBadKey},
		{"a key of garbage", key("!!!!!!!!!!!!!!!!!!!!!!=="), ErrBadKey},
		{"a key without padding", key("dGhlIHNhbXBsZSBub25jZQ"), ErrBadKey},
		{"a key in base64url", key("-_hlIHNhbXBsZSBub25jZQ=="), ErrBadKey},
		{"no version", replaced("Sec-WebSocket-Version: 13\r\n", ""), ErrNoVersion},
		{"version 8", replaced("Version: 13", "Version: 8"), ErrVersion},
		{"versions 13 and 8", replaced("Version: 13", "Version: 13, 8"), ErrVersion},
		{"version 013", replaced("Version: 13", "Version: 013"), ErrVersion},
		{"an empty protocol list", upgradeHead("Sec-WebSocket-Protocol: ,"), nil}, // Faults B5.
		{"a protocol of two words", upgradeHead("Sec-WebSocket-Protocol: a b"), ErrBadProtocol},
		{"a protocol in quotes", upgradeHead("Sec-WebSocket-Protocol: \"a\""), ErrBadProtocol},
		{"protocols", upgradeHead("Sec-WebSocket-Protocol: a,\tb", "Sec-WebSocket-Protocol: c"), nil},
		{"an empty extension list", upgradeHead("Sec-WebSocket-Extensions:"), nil}, // Faults B5.
		{"an extension of two words", upgradeHead("Sec-WebSocket-Extensions: foo bar;x"), ErrBadExtension},
		{"an extension with an empty parameter", upgradeHead("Sec-WebSocket-Extensions: a;"), ErrBadExtension},
		{"a parameter without its value", upgradeHead("Sec-WebSocket-Extensions: a; b="), ErrBadExtension},
		{"a parameter of two words", upgradeHead("Sec-WebSocket-Extensions: a; b=\"c d\""), ErrBadExtension},
		{"a quoted string without end", upgradeHead("Sec-WebSocket-Extensions: a; b=\"c, d"), ErrBadExtension},
		{"an empty quoted string", upgradeHead("Sec-WebSocket-Extensions: a; b=\"\""), ErrBadExtension},
		{"a quoted string with something after it", upgradeHead("Sec-WebSocket-Extensions: a; b=\"c\"d"), ErrBadExtension},
		{"extensions", upgradeHead("Sec-WebSocket-Extensions: a;b\t; c=d ;e=\"f\\g\", permessage-deflate"), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := check(t, test.wire)
			if test.want != nil {
				wantRefused(t, test.wire, err, test.want)
			} else if err != nil {
				t.Errorf("request %q: %v; want none", test.wire, err)
			}
		})
	}
}

func TestNominatingAFieldThatDecidesIsRefused(t *testing.T) {
	for _, name := range []string{"Host", "origin", "COOKIE", "Authorization", "Sec-WebSocket-Key", "sec-websocket-anything",
		"Content-Length", "Transfer-Encoding"} {
		for _, wire := range []string{
			upgradeHead("Connection: " + name),
			head("GET / HTTP/1.1", "Host: a", "Connection: close, "+name), // plain requests alike
		} {
			_, _, err := parse(t, wire)
			wantRefused(t, wire, err, ErrNominated)
		}
	}
}

func TestThePartsOfAHeadAreFound(t *testing.T) {
	r := mustCheck(t, chromium)
	for _, part := range []struct {
		name      string
		got, want string
	}{
		{"Method", string(r.Method()), "GET"},
		{"Target", string(r.Target()), "/room?id=7"},
		{"Path", string(r.Path()), "/room"},
		{"Query", string(r.Query()), "id=7"},
		{"QueryValue(id)", string(r.QueryValue("id")), "7"},
		{"Host", string(r.Host()), "chat.example.com"},
		{"Hostname", string(r.Hostname()), "chat.example.com"},
		{"Origin", string(r.Origin()), "https://chat.example.com"},
		{"Cookie(theme)", string(r.Cookie("theme")), "dark"},
		{"Header(user-agent)", string(r.Header("user-agent"))[:11], "Mozilla/5.0"},
	} {
		if part.got != part.want {
			t.Errorf("%s = %q; want %q", part.name, part.got, part.want)
		}
	}
	if r.Header("X-None") != nil || r.Cookie("none") != nil || r.QueryValue("none") != nil {
		t.Errorf("an absent header, cookie or query value is not nil: %q %q %q",
			r.Header("X-None"), r.Cookie("none"), r.QueryValue("none"))
	}
}

func TestCookiesAreFoundAfterAnyWhiteSpaceAndInAnyLine(t *testing.T) {
	r := mustCheck(t, upgradeHead("Cookie: a=1;  b=2;c=\"3\" ;\td = 4; e", "Cookie: f=6=7; a=8; g="))
	for name, want := range map[string]string{"a": "1", "b": "2", "c": "3", "d": "4", "f": "6=7", "g": "", "A": "", "e": ""} {
		if got := r.Cookie(name); string(got) != want || (got == nil) != (name == "A" || name == "e") {
			t.Errorf("Cookie(%q) = %q; want %q", name, got, want)
		}
	}
}

func TestQueryValuesAreFoundAsSent(t *testing.T) {
	r := mustCheck(t, strings.Replace(upgradeHead(), "/chat", "/chat?a=1&b=%20x&a=2&c&d=&e=f=g?h", 1))
	for name, want := range map[string]string{"a": "1", "b": "%20x", "c": "", "d": "", "e": "f=g?h"} {
		if got := r.QueryValue(name); got == nil && name != "c" || string(got) != want {
			t.Errorf("QueryValue(%q) = %q; want %q", name, got, want)
		}
	}
}

func TestARequestIsReusable(t *testing.T) {
	var r Request
	if _, err := r.Parse([]byte(head("GET /%61 HTTP/1.0", "Host: A", "Upgrade: websocket", "Cookie: a=b"))); err != nil {
		t.Fatal(err)
	}
	if string(r.Path()) != "/a" || string(r.Hostname()) != "a" {
		t.Fatalf("path %q, host %q; want /a, a", r.Path(), r.Hostname())
	}
	r.Reset()
	if _, err := r.Parse([]byte("GET /\n")); err == nil {
		t.Fatal("a bare LF is admitted after Reset")
	}
	r.Reset()
	wire := strings.Replace(upgradeHead(), "/chat HTTP/1.1\r\nHost: e", "/ch%61t HTTP/1.1\r\nHost: E", 1)
	if n, err := r.Parse([]byte(wire)); n != len(wire) || err != nil || r.CheckUpgrade() != nil {
		t.Fatalf("Parse after Reset = %d, %v; CheckUpgrade %v", n, err, r.CheckUpgrade())
	}
	if string(r.Path()) != "/chat" || string(r.Hostname()) != "example.com" || r.Cookie("a") != nil {
		t.Errorf("path %q, host %q, cookie %q after Reset", r.Path(), r.Hostname(), r.Cookie("a"))
	}
}

func TestARefusedHeadCanStillBeLogged(t *testing.T) {
	for wire, want := range map[string]string{
		"":                                     "",
		"GET":                                  "",
		"GET /\r\n":                            "",
		"GET /a?b HTTP/1.1\r\nHost: A\nX: y":   "/a?b",
		"GET /%61% HTTP/1.1\r\n":               "/%61%",
		"GET //%2 HTTP/1.1\r\n":                "//%2",
		"GET \xff HTTP/1.1\r\n":                "\xff",
		"GET /a HTTP/1.1\r\nHost: [::1\r\n":    "/a",
		head("GET /a HTTP/1.1", "Cookie: a=b"): "/a",
	} {
		var r Request
		if n, _ := r.Parse([]byte(wire)); n != 0 {
			t.Fatalf("Parse(%q) = %d; want 0", wire, n)
		}
		if got := string(r.Target()); got != want {
			t.Errorf("target of refused %q: %q; want %q", wire, got, want)
		}
		if path := r.Path(); len(path) == 0 || path[0] != '/' {
			t.Errorf("path of refused %q: %q; want one that begins with a slash", wire, path)
		}
	}
}

// Faults B5.
func TestAnEmptyLineMayComeBeforeAHead(t *testing.T) {
	for _, wire := range []string{upgradeHead(), head("POST /a HTTP/1.1", "Host: a", "Content-Length: 1")} {
		r, n, err := parse(t, "\r\n"+wire)
		if err != nil || n != len(wire)+2 || string(r.Host()) == "" {
			t.Errorf("an empty line and %q: %d, %v; want %d", wire, n, err, len(wire)+2)
		}
		_, _, err = parse(t, "\r\n\r\n"+wire)
		wantRefused(t, "two empty lines and "+wire, err, ErrBadRequestLine)
	}
	_, _, err := parse(t, "\n"+upgradeHead())
	wantRefused(t, "a bare LF and a head", err, ErrBareLF)
	wantForwarded(t, "\r\n"+upgradeHead(), &Forward{}, backendHead(nil, "X-Forwarded-Host: example.com"))
}
