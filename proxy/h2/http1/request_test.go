package http1

import (
	"errors"
	"strings"
	"testing"

	"sluice/proxy/h2"
	"sluice/upgrade"
)

const key = "AAECAwQFBgcICQoLDA0ODw=="

func fields(pairs ...string) (list []h2.Field) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, h2.Field{Name: pairs[i], Value: pairs[i+1]})
	}
	return list
}

func TestRequestOfHTTP2BecomesOneOfHTTP11(t *testing.T) {
	webSocket := h2.Head{Method: "CONNECT", Protocol: "websocket", Scheme: "https", Authority: "a.test", Path: "/x?y=1"}
	with := func(list []h2.Field) *h2.Head {
		head := webSocket
		head.Fields = list
		return &head
	}
	plain := func(method, path string, list ...string) *h2.Head {
		return &h2.Head{Method: method, Scheme: "http", Authority: "a.test", Path: path, Fields: fields(list...)}
	}
	for _, test := range []struct {
		name  string
		head  *h2.Head
		isEnd bool
		want  string
	}{
		{"WebSocket", with(fields("origin", "https://a.test", "sec-websocket-protocol", "chat")), false,
			"GET /x?y=1 HTTP/1.1|Host: a.test|origin: https://a.test|sec-websocket-protocol: chat|Connection: Upgrade|Upgrade: websocket|Sec-WebSocket-Key: " + key + "|Sec-WebSocket-Version: 13||"},
		{"another version stays", with(fields("sec-websocket-version", "8")), false,
			"GET /x?y=1 HTTP/1.1|Host: a.test|sec-websocket-version: 8|Connection: Upgrade|Upgrade: websocket|Sec-WebSocket-Key: " + key + "||"},
		{"a key", with(fields("sec-websocket-key", "other", "sec-websocket-accept", "x", "sec-websocket-version", "13")), false,
			"GET /x?y=1 HTTP/1.1|Host: a.test|sec-websocket-version: 13|Connection: Upgrade|Upgrade: websocket|Sec-WebSocket-Key: " + key + "||"},
		{"no body", plain("GET", "/", "te", "trailers", "accept", "*/*"), true, "GET / HTTP/1.1|Host: a.test|accept: */*||"},
		{"a body without a length", plain("POST", "/"), false, "POST / HTTP/1.1|Host: a.test|Transfer-Encoding: chunked||"},
		{"a body with a length", plain("POST", "/", "content-length", "5"), false, "POST / HTTP/1.1|Host: a.test|content-length: 5||"},
		{"cookies", plain("GET", "/", "cookie", "a=1", "x", "y", "cookie", "b=2"), true, "GET / HTTP/1.1|Host: a.test|cookie: a=1; b=2|x: y||"},
		{"host and authority", plain("GET", "/", "host", "A.test"), true, "GET / HTTP/1.1|Host: a.test||"},
		{"host alone", &h2.Head{Method: "GET", Path: "/", Fields: fields("host", "b.test")}, true, "GET / HTTP/1.1|Host: b.test||"},
		{"asterisk", plain("OPTIONS", "*"), true, "OPTIONS * HTTP/1.1|Host: a.test||"},
		{"CONNECT", &h2.Head{Method: "CONNECT", Authority: "b.test:443"}, false, "CONNECT b.test:443 HTTP/1.1|Host: b.test:443|Transfer-Encoding: chunked||"},
	} {
		got, err := AppendRequest([]byte("kept"), test.head, test.isEnd, []byte(key))
		want := "kept" + strings.ReplaceAll(test.want, "|", "\r\n")
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", test.name, got, err, want)
		}
	}
}

func TestWebSocketOverHTTP2PassesTheChecksOfHTTP11(t *testing.T) {
	head := h2.Head{Method: "CONNECT", Protocol: "websocket", Scheme: "https", Authority: "a.test", Path: "/"}
	b, err := AppendRequest(nil, &head, false, []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	var r upgrade.Request
	if n, err := r.Parse(b); n != len(b) || err != nil || !r.IsWebSocket() || r.CheckUpgrade() != nil {
		t.Errorf("Parse(%q) = %d, %v; IsWebSocket %v; CheckUpgrade: %v", b, n, err, r.IsWebSocket(), r.CheckUpgrade())
	}
}

func TestMalformedRequestsOfHTTP2AreRefused(t *testing.T) {
	for _, test := range []struct {
		name string
		head h2.Head
		want error
	}{
		{"space in the path", h2.Head{Method: "GET", Path: "/ HTTP/1.1"}, ErrMalformed},
		{"line in the path", h2.Head{Method: "GET", Path: "/\r\nX:y"}, ErrMalformed},
		{"no path", h2.Head{Method: "GET"}, ErrMalformed},
		{"absolute form", h2.Head{Method: "GET", Path: "http://a.test/"}, ErrMalformed},
		{"asterisk of GET", h2.Head{Method: "GET", Path: "*"}, ErrMalformed},
		{"method", h2.Head{Method: "G T", Path: "/"}, ErrMalformed},
		{"line in the authority", h2.Head{Method: "GET", Path: "/", Authority: "a\r\nX: y"}, ErrMalformed},
		{"CONNECT to nowhere", h2.Head{Method: "CONNECT"}, ErrMalformed},
		{"another host", h2.Head{Method: "GET", Path: "/", Authority: "a", Fields: fields("host", "b")}, ErrMalformed},
		{"host twice", h2.Head{Method: "GET", Path: "/", Fields: fields("host", "b", "host", "b")}, ErrMalformed},
		{"line in a value", h2.Head{Method: "GET", Path: "/", Fields: fields("x", "a\nb")}, ErrMalformed},
		{"colon in a name", h2.Head{Method: "GET", Path: "/", Fields: fields("x:y", "a")}, ErrMalformed},
		{"upper case", h2.Head{Method: "GET", Path: "/", Fields: fields("X", "a")}, ErrMalformed},
		{"connection", h2.Head{Method: "GET", Path: "/", Fields: fields("connection", "x")}, ErrMalformed},
		{"transfer-encoding", h2.Head{Method: "GET", Path: "/", Fields: fields("transfer-encoding", "chunked")}, ErrMalformed},
		{"te", h2.Head{Method: "GET", Path: "/", Fields: fields("te", "gzip")}, ErrMalformed},
		{"another protocol", h2.Head{Method: "CONNECT", Protocol: "connect-udp", Path: "/"}, ErrProtocol},
		{"too large", h2.Head{Method: "GET", Path: "/" + strings.Repeat("x", 16<<10)}, upgrade.ErrHeadTooLarge},
	} {
		if got, err := AppendRequest(nil, &test.head, true, []byte(key)); !errors.Is(err, test.want) || len(got) > 0 {
			t.Errorf("%s: %q, %v; want %v", test.name, got, err, test.want)
		}
	}
}

// What is written for a head is one head to package upgrade, with the same fields.
func FuzzRequest(f *testing.F) {
	f.Add("GET", "/", "a.test", "", "x", "y", "cookie", "z", true)
	f.Add("CONNECT", "/chat", "a.test", "websocket", "origin", "null", "te", "trailers", false)
	f.Add("POST", "/ HTTP/1.1\r\n", "a\r\nb", "", "content-length", "3", "x\r\n", "\n", false)
	f.Fuzz(func(t *testing.T, method, path, authority, protocol, name1, value1, name2, value2 string, isEnd bool) {
		head := h2.Head{Method: method, Scheme: "https", Authority: authority, Path: path, Protocol: protocol, Fields: fields(name1, value1, name2, value2)}
		b, err := AppendRequest(nil, &head, isEnd, []byte(key))
		if err != nil {
			return
		}
		var r upgrade.Request
		n, err := r.Parse(b)
		if err != nil {
			return
		}
		if n != len(b) {
			t.Fatalf("Parse(%q) = %d: it is not one head", b, n)
		}
		if IsWebSocket(&head) != r.IsWebSocket() {
			t.Fatalf("IsWebSocket is %v for %q", r.IsWebSocket(), b)
		}
		if !IsWebSocket(&head) && string(r.Method()) != method {
			t.Fatalf("the method of %q is %q, want %q", b, r.Method(), method)
		}
		if string(r.Target()) != path {
			t.Fatalf("the target of %q is %q, want %q", b, r.Target(), path)
		}
		for _, field := range head.Fields {
			if field.Name == "te" || field.Name == "host" || field.Name == "cookie" {
				continue
			}
			found := false
			for value := range r.Backward(field.Name) {
				found = found || string(value) == strings.Trim(field.Value, " \t")
			}
			if !found {
				t.Fatalf("%q lacks %q", b, field)
			}
		}
	})
}
