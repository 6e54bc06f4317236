package h2

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func with(fields ...string) []string { return append(append([]string(nil), get...), fields...) }

func TestWhichRequestsAreMalformed(t *testing.T) {
	websocket := []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":path", "/", ":authority", "a"}
	tests := []struct {
		name   string
		fields []string
		isFine bool
	}{
		{"GET", get, true},
		{"no method", get[2:], false},
		{"an empty method", []string{":method", "", ":scheme", "https", ":path", "/", ":authority", "a"}, false},
		{"a method with a space", []string{":method", "GET /x", ":scheme", "https", ":path", "/", ":authority", "a"}, false},
		{"no scheme", []string{":method", "GET", ":path", "/"}, false},
		{"no path", []string{":method", "GET", ":scheme", "https"}, false},
		{"an empty path", []string{":method", "GET", ":scheme", "https", ":path", ""}, false},
		{"a path without a slash", []string{":method", "GET", ":scheme", "https", ":path", "x"}, false},
		{"a path with a space", []string{":method", "GET", ":scheme", "https", ":path", "/ HTTP/1.1"}, false},
		{"a path with a control character", []string{":method", "GET", ":scheme", "https", ":path", "/\x01"}, false},
		{"OPTIONS *", []string{":method", "OPTIONS", ":scheme", "https", ":path", "*"}, true},
		{"GET *", []string{":method", "GET", ":scheme", "https", ":path", "*"}, false},
		{"no authority", get[:6], true},
		{"an empty authority", append(get[:6:6], ":authority", ""), false},
		{"an authority with a user", append(get[:6:6], ":authority", "u@a"), false},
		{"an authority with a path", append(get[:6:6], ":authority", "a/b"), false},
		{"a host alone", append(get[:6:6], "host", "b"), true},
		{"a host that is the authority's", with("host", "A"), true},
		{"a host that isn't", with("host", "b"), false},
		{"two hosts", with("host", "a", "host", "a"), false},
		{"an empty host", with("host", ""), false},
		{"two methods", append([]string{":method", "GET"}, get...), false},
		{"two schemes", append([]string{":scheme", "https"}, get...), false},
		{"two paths", append([]string{":path", "/"}, get...), false},
		{"two authorities", append([]string{":authority", "a"}, get...), false},
		{"a status", append([]string{":status", "200"}, get...), false},
		{"an unknown pseudo-header field", append([]string{":x", "y"}, get...), false},
		{"a pseudo-header field after another", append(get[:6:6], "x", "y", ":authority", "a"), false},
		{"a pseudo-header field after host", append(get[:6:6], "host", "a", ":authority", "a"), false},
		{"a name of a colon", append([]string{":", "y"}, get...), false},

		{"a name in upper case", with("X", "y"), false},
		{"an empty name", with("", "y"), false},
		{"a name with a space", with("a b", "y"), false},
		{"a name with a colon", with("a:b", "y"), false},
		{"a name with a byte over 127", with("a\x80", "y"), false},
		{"a name of all that a token has", with("!#$%&'*+-.^_`|~09az", "y"), true},
		{"an empty value", with("a", ""), true},
		{"a value with CR", with("a", "b\rc"), false},
		{"a value with LF", with("a", "b\nc"), false},
		{"a value with NUL", with("a", "b\x00c"), false},
		{"a value with another control character", with("a", "b\x0ec"), false},
		{"a value with DEL", with("a", "b\x7f"), false},
		{"a value with a tab", with("a", "b\tc"), true},
		{"a value that begins with a space", with("a", " b"), false},
		{"a value that ends with a tab", with("a", "b\t"), false},
		{"a value with a space and UTF-8", with("a", "b \u00e9"), true},
		{"a path with LF", []string{":method", "GET", ":scheme", "https", ":path", "/\n"}, false},

		{"Connection", with("connection", "close"), false},
		{"Proxy-Connection", with("proxy-connection", "close"), false},
		{"Keep-Alive", with("keep-alive", "5"), false},
		{"Transfer-Encoding", with("transfer-encoding", "chunked"), false},
		{"Upgrade", with("upgrade", "websocket"), false},
		{"TE of trailers", with("te", "trailers"), true},
		{"TE of more", with("te", "trailers, gzip"), false},
		{"content-length", with("content-length", "5"), true},
		{"content-length with a sign", with("content-length", "+5"), false},
		{"content-length of a list", with("content-length", "5, 5"), false},
		{"content-length twice", with("content-length", "5", "content-length", "5"), false},
		{"content-length over 2^63", with("content-length", "9223372036854775808"), false},
		{"an empty content-length", with("content-length", ""), false},

		{"CONNECT", []string{":method", "CONNECT", ":authority", "a:80"}, true},
		{"CONNECT without an authority", []string{":method", "CONNECT", "host", "a:80"}, false},
		{"CONNECT with a path", []string{":method", "CONNECT", ":authority", "a:80", ":path", "/", ":scheme", "https"}, false},
		{"websocket", websocket, true},
		{"another protocol", []string{":method", "CONNECT", ":protocol", "connect-udp", ":scheme", "https", ":path", "/", ":authority", "a"}, true},
		{"websocket by GET", []string{":method", "GET", ":protocol", "websocket", ":scheme", "https", ":path", "/", ":authority", "a"}, false},
		{"websocket without a scheme", []string{":method", "CONNECT", ":protocol", "websocket", ":path", "/", ":authority", "a"}, false},
		{"websocket without a path", []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":authority", "a"}, false},
		{"websocket twice", append([]string{":protocol", "websocket"}, websocket...), false},
		{"websocket with a key", append(websocket[:10:10], "sec-websocket-key", "x"), true},
		{"websocket with an accept", append(websocket[:10:10], "sec-websocket-accept", "x"), true},
		{"a key without websocket", with("sec-websocket-key", "x"), true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want := "RST_STREAM 1 PROTOCOL_ERROR; PING ACK 12345678"
			if test.isFine {
				want = "Opened 1; PING ACK 12345678"
			}
			check(t, func() *peer { return newPeer(t, server) }, func(p *peer) {
				p.headers(1, false, test.fields...).raw(framePing, 0, 0, "12345678")
			}, want)
		})
	}
	t.Run("websocket that isn't offered", func(t *testing.T) {
		config := server
		config.Connect = false
		check(t, func() *peer { return newPeer(t, config) }, func(p *peer) { p.headers(1, false, websocket...) }, "RST_STREAM 1 PROTOCOL_ERROR")
	})
}

func TestHostIsTheAuthority(t *testing.T) {
	p := newPeer(t, server)
	p.headers(1, true, ":method", "GET", ":scheme", "http", ":path", "/x", "a", "1", "host", "b:81", "c", "2")
	want := &Head{Method: "GET", Scheme: "http", Authority: "b:81", Path: "/x", Fields: []Field{{"a", "1"}, {"c", "2"}}}
	if diff := cmp.Diff(want, p.send()[0].Head); diff != "" {
		t.Error(diff)
	}
}

func TestListOverTheBoundIsReportedAndDecodingGoesOn(t *testing.T) {
	p := newPeer(t, server)
	large := with("a", strings.Repeat("b", 4000), "x", "1", "c", strings.Repeat("b", 4000), "d", strings.Repeat("b", 4000), "e", strings.Repeat("b", 4500), "f", "1", "G", "upper case comes after the bound")
	b := p.block(large...)
	p.raw(frameHeaders, flagEndStream|flagEndHeaders, 1, string(b))
	p.headers(3, true, with("f", "1", "h", "2")...)
	got := p.send()
	if len(got) != 2 || !got[0].Head.IsTooLarge || got[0].Head.Method != "GET" || len(got[0].Head.Fields) > 5 {
		t.Fatalf("events: %+v", got)
	}
	if diff := cmp.Diff([]Field{{"f", "1"}, {"h", "2"}}, got[1].Head.Fields); diff != "" || got[1].Head.IsTooLarge {
		t.Error(diff)
	}
	p.out = p.c.AppendHeaders(p.out, got[0].Stream, []Field{{":status", "431"}}, true)
	if got := p.frames(); len(got) != 1 || got[0] != "HEADERS 1 :status=431 END" || p.c.Count() != 1 {
		t.Errorf("frames %q, %d streams", got, p.c.Count())
	}
}

// A field of 4000 bytes in the dynamic table makes a list of each byte that refers to it.
func TestBombOfReferencesKeepsNoMoreThanTheBound(t *testing.T) {
	p := newPeer(t, server)
	p.headers(1, true, with("a", strings.Repeat("b", 4000))...)
	p.raw(frameHeaders, flagEndHeaders|flagEndStream, 3, strings.Repeat("\xbe", maxFrame))
	got := p.send()
	if len(got) != 2 || !got[1].Head.IsTooLarge || len(got[1].Head.Fields) != 4 {
		t.Fatalf("events: %d, %d fields", len(got), len(got[1].Head.Fields))
	}
}

func TestFieldsThatAreSent(t *testing.T) {
	p := newPeer(t, server)
	p.headers(1, true, get...).headers(3, true, get...)
	got := p.send()
	fields := []Field{{":status", "200"}, {":status", "418"}, {"content-type", "text/plain"}, {"x-own", "\x00\xff ~"}, {"set-cookie", "a=b"}, {"authorization", "secret"}, {"accept-encoding", "gzip, deflate"}, {"empty", ""}}
	for range 2 {
		fields = append(fields, Field{"long", strings.Repeat("\x01", 20000)})
	}
	for i, e := range got {
		start := len(p.out)
		p.out = p.c.AppendHeaders(p.out, e.Stream, fields, true)
		var block []byte
		var kinds []string
		for b := p.out[start:]; len(b) > 0; {
			h := readHead(b)
			kinds = append(kinds, string('0'+rune(h.kind))+":"+string('0'+rune(h.flags)))
			block = append(block, b[headBytes:headBytes+h.length]...)
			b = b[headBytes+h.length:]
		}
		if diff := cmp.Diff([]string{"1:1", "9:0", "9:4"}, kinds); diff != "" {
			t.Error(diff)
		}
		if (block[0] == 0x20) != (i == 0) {
			t.Errorf("block %d begins with %#x", i, block[0])
		}
		decoded, err := p.dec.DecodeFull(block)
		if err != nil {
			t.Fatal(err)
		}
		var have []Field
		for _, f := range decoded {
			have = append(have, Field{f.Name, f.Value})
			if f.Sensitive != (f.Name == "authorization") {
				t.Errorf("%s: never indexed is %v", f.Name, f.Sensitive)
			}
		}
		if diff := cmp.Diff(fields, have); diff != "" {
			t.Error(diff)
		}
	}
}
