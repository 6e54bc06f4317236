package upgrade

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestA101IsCheckedAndPassesWithItsOtherHeaders(t *testing.T) {
	r := mustCheck(t, chromium)
	wire := switchingHead("Set-Cookie: a=b", "Sec-WebSocket-Protocol: superchat", "Keep-Alive: 5", "Content-Length: 0", "Transfer-Encoding: chunked",
		"Connection: X-Private", "X-Private: 1", "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover", "set-cookie: c=d", "Trailer: X")
	a := mustAnswer(t, wire+"\x81\x00", r)
	if string(a.Protocol()) != "superchat" || !a.Deflate() || a.Status() != 101 || string(a.Header("SET-COOKIE")) != "a=b" {
		t.Errorf("protocol %q, deflate %v, status %d, cookie %q; want superchat, true, 101, a=b", a.Protocol(), a.Deflate(), a.Status(), a.Header("SET-COOKIE"))
	}
	got := joined(a.AppendForward(nil, &AnswerChange{AddHeaders: []Field{{"Set-Cookie", "sluice=b1"}}}))
	want := head("HTTP/1.1 101 Switching Protocols", "Sec-WebSocket-Accept: "+sampleAccept, "Set-Cookie: a=b", "Sec-WebSocket-Protocol: superchat",
		"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover", "set-cookie: c=d",
		"Upgrade: websocket", "Connection: Upgrade", "Set-Cookie: sluice=b1")
	if got != want {
		t.Errorf("answer %q to the client:\n got %q\nwant %q", wire, got, want)
	}
}

func TestOffersNeedNotBeAccepted(t *testing.T) {
	a := mustAnswer(t, switchingHead(), mustCheck(t, chromium))
	if a.Protocol() != nil || a.Deflate() {
		t.Errorf("protocol %q, deflate %v; want none", a.Protocol(), a.Deflate())
	}
}

// Faults B5.
func TestAnEmptyListOfTheHandshakeIsNone(t *testing.T) {
	for _, name := range []string{"Sec-WebSocket-Protocol", "sec-websocket-extensions"} {
		for _, value := range []string{"", " ", ",", " , ,"} {
			line := name + ":" + value
			wantForwarded(t, upgradeHead(line, "X: y"), &Forward{}, backendHead([]string{"X: y"}, "X-Forwarded-Host: example.com"))
			a := mustAnswer(t, switchingHead(line, "X: y"), mustCheck(t, upgradeHead()))
			got := joined(a.AppendForward(nil, &AnswerChange{}))
			want := head("HTTP/1.1 101 Switching Protocols", "Sec-WebSocket-Accept: "+sampleAccept, "X: y", "Upgrade: websocket", "Connection: Upgrade")
			if got != want || a.Protocol() != nil || a.Deflate() {
				t.Errorf("answer with %q to the client:\n got %q\nwant %q", line, got, want)
			}
		}
	}
	// Beside a list that isn't empty it does not count either.
	r := mustCheck(t, upgradeHead("Sec-WebSocket-Protocol:", "Sec-WebSocket-Protocol: chat"))
	if a := mustAnswer(t, switchingHead("Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol:"), r); string(a.Protocol()) != "chat" {
		t.Errorf("protocol %q, want chat", a.Protocol())
	}
}

func TestABad101IsRefused(t *testing.T) {
	replaced := func(old, new string) string { return strings.Replace(switchingHead(), old, new, 1) }
	for _, test := range []struct{ name, wire string }{
		{"HTTP/1.0", replaced("HTTP/1.1", "HTTP/1.0")},
		{"no Upgrade", replaced("Upgrade: websocket\r\n", "")},
		{"another Upgrade", replaced("Upgrade: websocket", "Upgrade: h2c")},
		{"a second Upgrade", replaced("Upgrade: websocket", "Upgrade: websocket, h2c")},
		{"Upgrade twice", switchingHead("Upgrade: websocket")},
		{"no Connection", replaced("Connection: Upgrade\r\n", "")},
		{"Connection without upgrade", replaced("Connection: Upgrade", "Connection: close")},
		{"a malformed Connection list", switchingHead("Connection: a b")},
		{"a nominated Accept", switchingHead("Connection: Sec-WebSocket-Accept")},
		{"no Accept", replaced("Sec-WebSocket-Accept: "+sampleAccept+"\r\n", "")},
		{"the Accept of another key", replaced(sampleAccept, "HSmrc0sMlYUkAGmm5OPpG2HaGWk=")},
		{"an Accept in another case", replaced(sampleAccept, strings.ToLower(sampleAccept))},
		{"two Accepts", switchingHead("Sec-WebSocket-Accept: " + sampleAccept)},
		{"a protocol that was not offered", switchingHead("Sec-WebSocket-Protocol: other")},
		{"a protocol in another case", switchingHead("Sec-WebSocket-Protocol: CHAT")},
		{"two protocols in a list", switchingHead("Sec-WebSocket-Protocol: chat, superchat")},
		{"two protocols in two lines", switchingHead("Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: chat")},
		{"an extension that was not offered", switchingHead("Sec-WebSocket-Extensions: x-foo")},
		{"an extension that was taken out of the offer", switchingHead("Sec-WebSocket-Extensions: x-taken")},
		{"an extension twice", switchingHead("Sec-WebSocket-Extensions: permessage-deflate, permessage-deflate")},
		{"an extension in two lines", switchingHead("Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Extensions: permessage-deflate; a")},
		{"a malformed extension", switchingHead("Sec-WebSocket-Extensions: permessage-deflate;")},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := mustCheck(t, upgradeHead("Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Extensions: x-taken, permessage-deflate"))
			_, _, err := answer(t, test.wire, r)
			if !errors.Is(err, ErrBadAnswer) {
				t.Errorf("answer %q: %v; want %v", test.wire, err, ErrBadAnswer)
			}
		})
	}
	_, _, err := answer(t, switchingHead("Sec-WebSocket-Extensions: permessage-deflate"), mustCheck(t, upgradeHead()))
	if !errors.Is(err, ErrBadAnswer) {
		t.Errorf("permessage-deflate without an offer: %v; want %v", err, ErrBadAnswer)
	}
}

func TestAnAnswerThatTwoParsersCouldReadDifferentlyIsRefused(t *testing.T) {
	for _, wire := range []string{
		"HTTP/1.1 200 OK\n\n",
		head("HTTP/1.1 200 OK", "X : a"),
		head("HTTP/1.1 200 OK", "X: a", " b"),
		head("HTTP/1.1 200 OK", "X: a\rb"),
		head("HTTP/1.1 200 O\x00K"),
		head("HTTP/1.1 99 OK"),
		head("HTTP/1.1 099 OK"),
		head("HTTP/1.1 600 OK"),
		head("HTTP/1.1 2000"),
		head("HTTP/1.1 20x OK"),
		head("HTTP/1.1  200 OK"),
		head("HTTP/2.0 200 OK"),
		head("ICY 200 OK!!!!"),
		head(""),
		head("HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 2"),
		head("HTTP/1.1 200 OK", "Content-Length: 1, 1"),
		head("HTTP/1.1 200 OK", "Content-Length: -1"),
		head("HTTP/1.1 200 OK", "Content-Length: 1", "Transfer-Encoding: chunked"),
		head("HTTP/1.1 200 OK", "Transfer-Encoding: gzip, chunked"),
		head("HTTP/1.1 200 OK", "Transfer-Encoding: identity"),
		head("HTTP/1.0 200 OK", "Transfer-Encoding: chunked"),
		head("HTTP/1.1 200 OK", "Connection: Content-Length", "Content-Length: 1"),
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", MaxHeadBytes),
		head("HTTP/1.1 200 OK", strings.Repeat("X: y\r\n", MaxLines)+"X: y"),
	} {
		_, n, err := answer(t, wire, mustCheck(t, chromium))
		if !errors.Is(err, ErrBadAnswer) || err.(*Rejection).Status != 502 {
			t.Errorf("answer %.200q: %d, %v; want %v", wire, n, err, ErrBadAnswer)
		}
	}
}

func TestInterimAnswersAreSkipped(t *testing.T) {
	interim := head("HTTP/1.1 100 Continue") + head("HTTP/1.1 103 Early Hints", "Link: </a>", "Set-Cookie: early=1")
	wire := strings.Repeat(interim, maxInterim/2) + switchingHead()
	a, n, err := answer(t, wire+"\x81\x00", mustCheck(t, chromium))
	if n != len(wire) || err != nil {
		t.Fatalf("Parse of %d interim answers = %d, %v; want %d, nil", maxInterim, n, err, len(wire))
	}
	want := head("HTTP/1.1 101 Switching Protocols", "Sec-WebSocket-Accept: "+sampleAccept, "Upgrade: websocket", "Connection: Upgrade")
	if got := joined(a.AppendForward(nil, &AnswerChange{})); got != want {
		t.Errorf("to the client: %q; want %q", got, want)
	}

	r := mustCheck(t, chromium)
	if _, _, err := answer(t, head("HTTP/1.1 102 Processing")+wire, r); !errors.Is(err, ErrBadAnswer) {
		t.Errorf("answer with %d interim ones: %v; want %v", maxInterim+1, err, ErrBadAnswer)
	}
	long := head("HTTP/1.1 103 Early Hints", "Link: "+strings.Repeat("x", 4<<10))
	if _, _, err := answer(t, strings.Repeat(long, 4)+switchingHead(), r); !errors.Is(err, ErrBadAnswer) {
		t.Errorf("answer after 16 KiB of interim ones: %v; want %v", err, ErrBadAnswer)
	}
}

func TestAnyOtherStatusPassesWhole(t *testing.T) {
	for _, test := range []struct {
		name, wire, want string
		isEndless        bool
	}{
		{"with Content-Length",
			head("HTTP/1.1 403 Forbidden", "Content-Type: text/plain", "Connection: keep-alive, X-A", "X-A: b", "Content-Length: 2", "WWW-Authenticate: x") + "noHTTP/1.1 200 OK",
			head("HTTP/1.1 403 Forbidden", "Content-Type: text/plain", "Content-Length: 2", "WWW-Authenticate: x", "Connection: close") + "no", false},
		{"chunked, with trailers",
			head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Trailer: X-Sum", "Keep-Alive: 5") + "2\r\nno\r\n0\r\nX-Sum: 1\r\n\r\nmore",
			head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Trailer: X-Sum", "Connection: close") + "2\r\nno\r\n0\r\nX-Sum: 1\r\n\r\n", false},
		{"to the end of the stream, HTTP/1.0",
			head("HTTP/1.0 500 ", "Server: x") + "some\r\n\r\nbytes",
			head("HTTP/1.1 500 ", "Server: x", "Connection: close") + "some\r\n\r\nbytes", true},
		{"204", head("HTTP/1.1 204 No Content", "Content-Length: 5", "X: y") + "more!", head("HTTP/1.1 204 No Content", "X: y", "Connection: close"), false},
		{"204 chunked", head("HTTP/1.1 204", "Transfer-Encoding: chunked") + "0\r\n\r\n", head("HTTP/1.1 204", "Connection: close"), false},
		{"304", head("HTTP/1.1 304 Not Modified", "Content-Length: 5", "ETag: \"a\"") + "more!", head("HTTP/1.1 304 Not Modified", "Content-Length: 5", "ETag: \"a\"", "Connection: close"), false},
		{"an empty body", head("HTTP/1.1 503 Busy", "Content-Length: 0", "Retry-After: 5"), head("HTTP/1.1 503 Busy", "Content-Length: 0", "Retry-After: 5", "Connection: close"), false},
		{"426", head("HTTP/1.1 426 Upgrade Required", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Content-Length: 0"),
			head("HTTP/1.1 426 Upgrade Required", "Sec-WebSocket-Version: 13", "Content-Length: 0", "Connection: close"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, n, err := answer(t, test.wire, mustCheck(t, chromium))
			if err != nil {
				t.Fatalf("answer %q: %v", test.wire, err)
			}
			body := a.Body()
			m, err := body.Scan([]byte(test.wire[n:]))
			got := joined(a.AppendForward(nil, &AnswerChange{})) + test.wire[n:n+m]
			if got != test.want || err != nil || body.Done() == test.isEndless || body.End() != nil {
				t.Errorf("answer %q to the client: %v, done %v, end %v\n got %q\nwant %q", test.wire, err, body.Done(), body.End(), got, test.want)
			}
		})
	}
}

func TestAnAnswerToHeadHasNoBody(t *testing.T) {
	var r Request
	if _, err := r.Parse([]byte(head("HEAD / HTTP/1.1", "Host: a"))); err != nil {
		t.Fatal(err)
	}
	a := mustAnswer(t, head("HTTP/1.1 200 OK", "Content-Length: 5"), &r)
	if body := a.Body(); !body.Done() {
		t.Error("the body of an answer to HEAD is not done")
	}
}

func TestAChunkedBodyEndsAfterItsTrailers(t *testing.T) {
	for _, test := range []struct {
		name, wire string
		length     int // of the body, or of what comes before the fault
		want       error
	}{
		{"one chunk", "5\r\nhello\r\n0\r\n\r\nmore", 15, nil},
		{"sizes in hex, either case", "0a\r\n0123456789\r\n0A\r\n0123456789\r\n00\r\n\r\n", 38, nil},
		{"extensions", "1;a\r\nx\r\n1;b=\"c;\\\"d\"\r\nx\r\n0;e\r\n\r\n", 31, nil},
		{"many chunks with extensions", strings.Repeat("1;a\r\nx\r\n", maxChunkLine) + "0\r\n\r\n", 8*maxChunkLine + 5, nil},
		{"trailers after them", strings.Repeat("1\r\nx\r\n", maxTrailerBytes) + "0\r\nA: b\r\n\r\n", 6*maxTrailerBytes + 11, nil},
		{"trailers", "0\r\nA: b\r\nC:\r\n\r\nmore", 15, nil},
		{"data that looks like its end", "5\r\n0\r\n\r\n\r\n0\r\n\r\n", 15, nil},
		{"no end", "5\r\nhello\r\n", 10, io.ErrUnexpectedEOF},
		{"cut in a chunk", "5\r\nhel", 6, io.ErrUnexpectedEOF},
		{"cut in the trailers", "0\r\nA: b\r\n", 9, io.ErrUnexpectedEOF},
		{"no size", "\r\nhello", 0, ErrBadChunk},
		{"an extension without a size", ";a\r\n", 0, ErrBadChunk},
		{"a sign", "+5\r\nhello", 0, ErrBadChunk},
		{"a prefix", "0x5\r\nhello", 1, ErrBadChunk},
		{"a space after the size", "5 \r\nhello", 1, ErrBadChunk},
		{"a bare LF after the size", "5\nhello", 1, ErrBadChunk},
		{"a bare CR after the size", "5\rhello", 2, ErrBadChunk},
		{"a control byte in an extension", "5;a\x00\r\nhello", 3, ErrBadChunk},
		{"too much data", "5\r\nhello!\r\n", 8, ErrBadChunk},
		{"a bare LF after the data", "5\r\nhello\n0\r\n", 8, ErrBadChunk},
		{"a bare CR after the data", "5\r\nhello\r0\r\n", 9, ErrBadChunk},
		{"a size of 2^63", "8000000000000000\r\n", 15, ErrBadChunk},
		{"an endless size", strings.Repeat("0", 2*maxChunkLine), maxChunkDigits, ErrBadChunk},
		{"a size of 16 digits", "0000000000000001\r\na\r\n0\r\n\r\nmore", 26, nil},
		{"an endless extension", "1;" + strings.Repeat("a", 2*maxChunkLine), maxChunkLine, ErrBadChunk},
		{"endless trailers", "0\r\n" + strings.Repeat("A: b\r\n", maxTrailerBytes), 3 + maxTrailerBytes, ErrBadChunk},
		{"a trailer without a name", "0\r\n: b\r\n\r\n", 3, ErrBadChunk},
		{"a trailer with a space before the colon", "0\r\nA : b\r\n\r\n", 4, ErrBadChunk},
		{"a folded trailer", "0\r\nA: b\r\n c\r\n\r\n", 9, ErrBadChunk},
		{"a bare LF after a trailer", "0\r\nA: b\n\r\n", 7, ErrBadChunk},
		{"a bare LF after the trailers", "0\r\n\n", 3, ErrBadChunk},
		{"a bare CR at the end", "0\r\n\rx", 4, ErrBadChunk},
	} {
		t.Run(test.name, func(t *testing.T) {
			for name, pieces := range splittings(len(test.wire), 3) {
				n, err := scanBody(Body{framing: chunkedBody}, []byte(test.wire), pieces)
				if n != test.length || err != test.want {
					t.Errorf("body %.60q %s ends at %d, %v; want %d, %v", test.wire, name, n, err, test.length, test.want)
				}
			}
		})
	}
}

func TestABodyEndsAtItsContentLength(t *testing.T) {
	for name, pieces := range splittings(10, 4) {
		if n, err := scanBody(Body{framing: lengthBody, left: 7}, []byte("0123456789"), pieces); n != 7 || err != nil {
			t.Errorf("%s: ends at %d, %v; want 7, nil", name, n, err)
		}
	}
	if n, err := scanBody(Body{framing: lengthBody, left: 7}, []byte("012345"), []int{6}); n != 6 || err != io.ErrUnexpectedEOF {
		t.Errorf("cut: ends at %d, %v; want 6, %v", n, err, io.ErrUnexpectedEOF)
	}
}

func TestAnAnswerIsReusable(t *testing.T) {
	r := mustCheck(t, chromium)
	var a Answer
	if _, err := a.Parse([]byte("HTTP/1.1 200 OK\n")); err == nil {
		t.Fatal("a bare LF is admitted")
	}
	a.Reset()
	if _, err := a.Parse([]byte(head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"))); err != nil || a.Check(r) != nil {
		t.Fatal(err, a.Check(r))
	}
	a.Reset()
	wire := switchingHead("Sec-WebSocket-Extensions: permessage-deflate", "Transfer-Encoding: chunked")
	if n, err := a.Parse([]byte(wire)); n != len(wire) || err != nil {
		t.Fatalf("Parse after Reset = %d, %v", n, err)
	}
	for range 2 {
		if err := a.Check(r); err != nil || !a.Deflate() {
			t.Errorf("Check = %v, deflate %v; want nil, true", err, a.Deflate())
		}
	}
	if got := joined(a.AppendForward(nil, &AnswerChange{})); strings.Contains(got, "chunked") {
		t.Errorf("a 101 to the client with the coding of the answer before it: %q", got)
	}
}
