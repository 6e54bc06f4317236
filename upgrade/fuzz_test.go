package upgrade

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
	"testing"
)

// FuzzRequest verifies the parser: net/http reads what it admits in
// the same way, and the pieces in which a head comes make no difference. What
// goes to the backend is admitted again, without the fields that were removed.
func FuzzRequest(f *testing.F) {
	for _, wire := range []string{
		chromium,
		upgradeHead("Sec-WebSocket-Extensions: x-foo, permessage-deflate; a=\"b\", y"),
		head("GET http://Example.com:80/a%2Fb?c HTTP/1.1", "Host: example.com:80", "X-Forwarded-For: 1.2.3.4"),
		head("POST /a HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "Trailer: X-Sum"),
		head("PUT /%61//b HTTP/1.0", "Content-Length: 5", "Connection: keep-alive,\tx-a", "X-A:  1 "),
		head("GET / HTTP/1.1", "Host: [::1]:8080", "X_Forwarded_For: 1", "A: b\r\n c"),
		"GET / HTTP/1.1\nHost: a\n\n",
		"\r\n" + upgradeHead("Content-Length: 0", "Sec-WebSocket-Extensions:", "Sec-WebSocket-Protocol: ,"),
		head("GET wss://a:443/\xc3\xb6?\xff HTTP/1.1", "Host: A"),
	} {
		f.Add([]byte(wire), uint64(1))
	}
	f.Fuzz(func(t *testing.T, wire []byte, seed uint64) {
		wire = seasoned(wire, seed)
		var r Request
		n, err := r.Parse(wire)
		for name, pieces := range splittings(len(wire), seed) {
			if m, errPieces := feed(new(Request), string(wire), pieces); m != n || errPieces != err {
				t.Fatalf("Parse(%q) %s = %d, %v; whole %d, %v", wire, name, m, errPieces, n, err)
			}
		}
		// A refused head is logged with what is there.
		if path := r.Path(); path[0] != '/' || len(r.Hostname()) > len(wire) || len(r.Target())+len(r.Query()) > 2*len(wire) {
			t.Fatalf("%q: path %q, host %q, target %q, query %q", wire, path, r.Hostname(), r.Target(), r.Query())
		}
		if n == 0 {
			return
		}
		compareRequest(t, &r, wire[:n])
		if r.CheckUpgrade() != nil {
			return
		}
		compareForward(t, &r, rand.New(rand.NewPCG(seed, 0)))
	})
}

// seasoned puts up to three fragments that heads are made of into wire, at places
// that seed decides, which the fuzzer would take long to write byte by byte. An
// even seed leaves wire as it is.
func seasoned(wire []byte, seed uint64) []byte {
	fragments := []string{
		"Host: a\r\n", "Upgrade: websocket\r\n", "Upgrade: h2c, websocket\r\n", "Connection: Upgrade, x-a\r\n", "X-A: 1\r\n",
		"Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: gzip, chunked\r\n", "Connection: close, Cookie\r\n",
		"Sec-WebSocket-Extensions: permessage-deflate; a=\"\\b\", c; d=e\r\n", "Sec-WebSocket-Protocol: chat\r\n", "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC==\r\n",
		"X_Forwarded_For: 1\r\n", "X-Forwarded-For: 1\r\n", "X-Request-Id: \r\n", "Cookie: a=b; c=d\r\n", "Trailer: X-B\r\n", "Expect: 100-continue\r\n",
		"HTTP/1.0", "http://a", "%2e", "%2F", "%00", "/../", "//", ";", "?", "#", "\\", "\r\n\r\n", "\r\n", "\n", "\r", "\t", " ", ":", " :", ",", "\"", "\x00", "\x80", "\x7f",
		"0\r\n\r\n", "3;a=b\r\nabc\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 101 \r\n",
	}
	if seed%2 == 0 {
		return wire
	}
	random := rand.New(rand.NewPCG(seed, 1))
	for range 1 + random.IntN(3) {
		at := random.IntN(len(wire) + 1)
		if n := bytes.IndexByte(wire[at:], '\n'); n >= 0 && random.IntN(2) == 0 {
			at += n + 1 // where a line begins
		}
		wire = slices.Concat(wire[:at], []byte(fragments[random.IntN(len(fragments))]), wire[at:])
	}
	return wire
}

func compareRequest(t *testing.T, r *Request, wire []byte) {
	t.Helper()
	std, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(bytes.TrimPrefix(wire, emptyLine))))
	if err != nil {
		if strings.Contains(err.Error(), "bad trailer key") {
			return // it refuses more, and answers 400 itself
		}
		t.Fatalf("admitted %q; net/http: %v", wire, err)
	}
	if std.Method != string(r.Method()) || std.RequestURI != string(r.Target()) || std.Host != string(r.Host()) &&
		r.target.authority == (span{}) {
		t.Fatalf("%q: method, target, host = %q %q %q; net/http %q %q %q",
			wire, r.Method(), r.Target(), r.Host(), std.Method, std.RequestURI, std.Host)
	}
	if std.URL.RawQuery != string(r.Query()) {
		t.Fatalf("%q: query %q; net/http %q", wire, r.Query(), std.URL.RawQuery)
	}
	if !r.IsEncodedSlash() {
		want := std.URL.Path
		for strings.Contains(want, "//") {
			want = strings.ReplaceAll(want, "//", "/")
		}
		if want == "" {
			want = "/"
		}
		if want != string(r.Path()) {
			t.Fatalf("%q: path %q; net/http %q", wire, r.Path(), want)
		}
	}
	if (std.ProtoMinor == 0) != r.isHTTP10 || std.ProtoMajor != 1 {
		t.Fatalf("%q: HTTP/1.0 is %v; net/http %s", wire, r.isHTTP10, std.Proto)
	}
	compareFields(t, wire, &r.scanner, wire, std.Header)
	isChunked := len(std.TransferEncoding) == 1 && std.TransferEncoding[0] == "chunked"
	if isChunked != r.has(kindTransferEncoding) {
		t.Fatalf("%q: net/http's transfer coding is %v", wire, std.TransferEncoding)
	}
	if length, ok := parseLength(r.Header("Content-Length")); ok && std.ContentLength != length {
		t.Fatalf("%q: length %d; net/http %d", wire, length, std.ContentLength)
	}
}

// compareFields compares all fields of s with net/http's, those of each name in order.
func compareFields(t *testing.T, head []byte, s *scanner, wire []byte, want http.Header) {
	t.Helper()
	got := http.Header{}
	for i := range s.all() {
		f := &s.fields[i]
		switch f.kind {
		case kindHost, kindTransferEncoding, kindTrailer:
			continue // net/http moves them out of the header
		}
		name := textproto.CanonicalMIMEHeaderKey(string(f.name.of(head)))
		got[name] = append(got[name], string(f.value.of(head)))
	}
	want = want.Clone()
	want.Del("Host")
	want.Del("Transfer-Encoding")
	want.Del("Trailer")
	if _, ok := got["Cache-Control"]; !ok && len(got["Pragma"]) > 0 {
		delete(want, "Cache-Control") // net/http adds it to Pragma: no-cache
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || len(got) != len(want) {
		t.Fatalf("%q: fields %q; net/http %q", wire, got, want)
	}
}

func compareForward(t *testing.T, r *Request, random *rand.Rand) {
	t.Helper()
	wire := joined(r.AppendForward(nil, &Forward{
		Client: netip.AddrFrom4([4]byte{192, 0, 2, 1}), Proto: "http", RequestID: "id",
		Trusted: random.IntN(2) == 0, StripPrefix: segmentEnd(r.Path(), random),
	}))
	var again Request
	// The gateway's lines may make it longer than a client's may be.
	if len(wire) > MaxHeadBytes || strings.Count(wire, "\n") > MaxLines+1 {
		return
	}
	if n, err := again.Parse([]byte(wire)); n != len(wire) || err != nil {
		t.Fatalf("backend's head %q: Parse = %d, %v", wire, n, err)
	}
	if err := again.CheckUpgrade(); err != nil {
		t.Fatalf("backend's head %q: %v", wire, err)
	}
	if again.Target()[0] != '/' || string(again.Query()) != string(r.Query()) || again.hasOtherOffers ||
		again.offersDeflate != r.offersDeflate || string(again.Header("Sec-WebSocket-Key")) != string(r.Header("Sec-WebSocket-Key")) {
		t.Fatalf("backend's head %q of %q", wire, r.head[:r.length])
	}
}

// segmentEnd returns the length of a prefix of whole segments, as a route's is.
func segmentEnd(path []byte, random *rand.Rand) int {
	n := random.IntN(len(path))
	return n + bytes.IndexByte(append(path[n:len(path):len(path)], '/'), '/')
}

// FuzzAnswer does the same with http.ReadResponse and the body after the head.
func FuzzAnswer(f *testing.F) {
	for _, wire := range []string{
		switchingHead("Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Extensions: permessage-deflate"),
		head("HTTP/1.1 100 Continue") + head("HTTP/1.1 103", "Link: </a>") + head("HTTP/1.1 403 No", "Content-Length: 2") + "no",
		head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + "3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n",
		head("HTTP/1.0 500 ", "Connection: x-a", "X-A: b") + "to the end",
		head("HTTP/1.1 204 No Content", "Transfer-Encoding: chunked"),
		head("HTTP/1.1 304 Not Modified", "Content-Length: 10"),
	} {
		f.Add([]byte(wire), uint64(1))
	}
	var r Request
	if _, err := r.Parse([]byte(chromium)); err != nil {
		f.Fatal(err)
	}
	if err := r.CheckUpgrade(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, wire []byte, seed uint64) {
		wire = seasoned(wire, seed)
		var a Answer
		n, err := a.Parse(wire)
		for name, pieces := range splittings(len(wire), seed) {
			if m, errPieces := feed(new(Answer), string(wire), pieces); m != n || text(errPieces) != text(err) {
				t.Fatalf("Parse(%q) %s = %d, %v; whole %d, %v", wire, name, m, errPieces, n, err)
			}
		}
		if n == 0 || a.Check(&r) != nil {
			return
		}
		compareAnswer(t, &a, wire, n, seed)
	})
}

func compareAnswer(t *testing.T, a *Answer, wire []byte, n int, seed uint64) {
	t.Helper()
	br := bufio.NewReader(bytes.NewReader(wire))
	var std *http.Response
	for range a.interim + 1 {
		var err error
		if std, err = http.ReadResponse(br, nil); err != nil {
			if strings.Contains(err.Error(), "bad trailer key") {
				return // net/http as a client refuses more; what passes is the backend's own
			}
			t.Fatalf("admitted %q; net/http: %v", wire, err)
		}
	}
	if std.StatusCode != a.Status() {
		t.Fatalf("%q: status %d; net/http %d", wire, a.Status(), std.StatusCode)
	}
	compareFields(t, wire, &a.scanner, wire, std.Header)
	if a.Status() != switchingProtocols {
		compareBody(t, a.Body(), std, wire[n:], seed)
	}

	// What goes to the client is an answer of the same meaning, with the same body after it.
	out := joined(a.AppendForward(nil, &AnswerChange{AddHeaders: []Field{{"X-Last", "1"}}}))
	again, err := http.ReadResponse(bufio.NewReader(strings.NewReader(out)), nil)
	if err != nil || again.StatusCode != a.Status() || again.Header.Get("X-Last") != "1" && a.Header("X-Last") == nil {
		t.Fatalf("client's head %q of %q: %v", out, wire, err)
	}
	if a.Status() != switchingProtocols && again.ContentLength != std.ContentLength {
		t.Fatalf("client's head %q of %q: length %d; was %d", out, wire, again.ContentLength, std.ContentLength)
	}
}

// compareBody compares the body's end and its faults with net/http's reader.
func compareBody(t *testing.T, body Body, std *http.Response, rest []byte, seed uint64) {
	t.Helper()
	n, whole := scanBody(body, rest, []int{len(rest)})
	for name, pieces := range splittings(len(rest), seed) {
		if m, err := scanBody(body, rest, pieces); m != n || err != whole {
			t.Fatalf("body %q %s = %d, %v; whole %d, %v", rest, name, m, err, n, whole)
		}
	}
	if whole != nil {
		return
	}
	if _, err := io.Copy(io.Discard, std.Body); err != nil {
		if strings.Contains(err.Error(), "too large") || strings.Contains(err.Error(), "excessive") ||
			strings.Contains(err.Error(), "malformed MIME header") {
			return // net/http bounds chunk overhead and reads trailers otherwise
		}
		t.Fatalf("admitted body %q; net/http: %v", rest, err)
	}
}

// scanBody returns where the body ends, and its error, at the end of the stream
// at the latest.
func scanBody(body Body, p []byte, pieces []int) (n int, err error) {
	end := 0
	for _, piece := range pieces {
		end = min(end+piece, len(p))
		m, err := body.Scan(p[n:end])
		n += m
		if err != nil {
			return n, err
		}
		if body.Done() {
			return n, nil
		}
	}
	return n, body.End()
}
