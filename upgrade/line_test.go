package upgrade

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestAHeadThatTwoParsersCouldReadDifferentlyIsRefused(t *testing.T) {
	for _, test := range []struct {
		name, wire string
		want       *Rejection
	}{
		{"bare LF after the first line", "GET / HTTP/1.1\nHost: a\r\n\r\n", ErrBareLF},
		{"bare LF after a field", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", ErrBareLF},
		{"bare LF for the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n", ErrBareLF},
		{"bare LF first of all", "\nGET / HTTP/1.1\r\n\r\n", ErrBareLF},
		{"bare CR in a value", head("GET / HTTP/1.1", "Host: a", "X: b\rc"), ErrBareCR},
		{"CR CR LF", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", ErrBareCR},
		{"bare CR in a name", head("GET / HTTP/1.1", "Host: a", "X\rY: b"), ErrBareCR},
		{"bare CR in the first line", head("GET /\r HTTP/1.1", "Host: a"), ErrBareCR},
		{"NUL in a value", head("GET / HTTP/1.1", "Host: a", "X: b\x00c"), ErrControlByte},
		{"DEL in a value", head("GET / HTTP/1.1", "Host: a", "X: b\x7fc"), ErrControlByte},
		{"NUL in a name", head("GET / HTTP/1.1", "Host: a", "X\x00: b"), ErrControlByte},
		{"ESC in the first line", head("GET /\x1b HTTP/1.1", "Host: a"), ErrControlByte},
		{"a folded line", head("GET / HTTP/1.1", "Host: a", "X: b", " c"), ErrFold},
		{"a folded line with a TAB", head("GET / HTTP/1.1", "Host: a", "X: b", "\tc"), ErrFold},
		{"white space before the first field", head("GET / HTTP/1.1", " Host: a"), ErrFold},
		{"a space before the colon", head("GET / HTTP/1.1", "Host: a", "Content-Length : 5"), ErrSpaceBeforeColon},
		{"a TAB before the colon", head("GET / HTTP/1.1", "Host: a", "X\t: 5"), ErrSpaceBeforeColon},
		{"an empty name", head("GET / HTTP/1.1", "Host: a", ": b"), ErrBadFieldName},
		{"a name of two words", head("GET / HTTP/1.1", "Host: a", "X Y: b"), ErrBadFieldName},
		{"a name with a bracket", head("GET / HTTP/1.1", "Host: a", "X[]: b"), ErrBadFieldName},
		{"a name beyond ASCII", head("GET / HTTP/1.1", "Host: a", "Hös: b"), ErrBadFieldName},
		{"no colon", head("GET / HTTP/1.1", "Host: a", "X"), ErrBadFieldName},
		{"two Hosts", head("GET / HTTP/1.1", "Host: a", "host: a"), ErrDuplicate},
		{"two keys", upgradeHead("sec-websocket-key: " + sampleKey), ErrDuplicate},
		{"two versions", upgradeHead("SEC-WEBSOCKET-VERSION: 13"), ErrDuplicate},
		{"two Origins", upgradeHead("Origin: https://a", "Origin: https://b"), ErrDuplicate},
		{"no Host", head("GET / HTTP/1.1", "X: a"), ErrNoHost},
		{"Content-Length with Transfer-Encoding", head("POST / HTTP/1.1", "Host: a", "Content-Length: 1", "Transfer-Encoding: chunked"), ErrLengthAndCoding},
		{"two Content-Lengths", head("POST / HTTP/1.1", "Host: a", "Content-Length: 1", "Content-Length: 2"), ErrBadLength},
		{"a Content-Length twice", head("POST / HTTP/1.1", "Host: a", "Content-Length: 1", "Content-Length: 1"), ErrBadLength},
		{"a list of Content-Lengths", head("POST / HTTP/1.1", "Host: a", "Content-Length: 1, 1"), ErrBadLength},
		{"a signed Content-Length", head("POST / HTTP/1.1", "Host: a", "Content-Length: +1"), ErrBadLength},
		{"a Content-Length of 2^63", head("POST / HTTP/1.1", "Host: a", "Content-Length: 9223372036854775808"), ErrBadLength},
		{"an empty Content-Length", head("POST / HTTP/1.1", "Host: a", "Content-Length:"), ErrBadLength},
		{"another transfer coding", head("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: gzip, chunked"), ErrBadCoding},
		{"chunked twice", head("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), ErrBadCoding},
		{"chunked in quotes", head("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: \"chunked\""), ErrBadCoding},
		{"chunked in HTTP/1.0", head("POST / HTTP/1.0", "Host: a", "Transfer-Encoding: chunked"), ErrBadCoding},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, n, err := parse(t, test.wire)
			if n != 0 {
				t.Errorf("Parse(%q) = %d; want 0", test.wire, n)
			}
			wantRefused(t, test.wire, err, test.want)
			if test.want.Status != 400 {
				t.Errorf("%v has status %d; want 400", test.want, test.want.Status)
			}
		})
	}
}

func TestTheFirstFaultIsReportedAtOnce(t *testing.T) {
	for _, wire := range []string{
		"GET / HTTP/1.1\n",
		"GET / HTTP/1.1\r\nHost : a\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
		"GET /../ HTTP/1.1\r\n",
		"GET / HTTP/1.1\r\nHost: a b\r\n",
		"\r\n\r\n",
	} {
		r := new(Request)
		if n, err := r.Parse([]byte(wire[:len(wire)-1])); n != 0 || err != nil {
			t.Errorf("Parse(%q) without its LF = %d, %v; want 0, nil", wire, n, err)
		}
		_, err := r.Parse([]byte(wire))
		var rej *Rejection
		if !errors.As(err, &rej) {
			t.Errorf("Parse(%q) = %v; want a rejection", wire, err)
			continue
		}
		if _, again := r.Parse([]byte(wire + "\r\n")); again != err {
			t.Errorf("Parse(%q) with more bytes = %v; want %v still", wire, again, err)
		}
	}
}

func TestAHeadHasAtMost16KiB(t *testing.T) {
	frame := upgradeHead("X: ")
	exact := upgradeHead("X: " + strings.Repeat("x", MaxHeadBytes-len(frame)))
	if _, n, err := parse(t, exact); n != MaxHeadBytes || err != nil {
		t.Errorf("Parse of %d bytes = %d, %v; want %d, nil", len(exact), n, err, MaxHeadBytes)
	}
	over := upgradeHead("X: " + strings.Repeat("x", MaxHeadBytes-len(frame)+1))
	_, _, err := parse(t, over)
	wantRefused(t, over, err, ErrHeadTooLarge)

	endless := "GET /" + strings.Repeat("x", 2*MaxHeadBytes)
	_, _, err = parse(t, endless)
	wantRefused(t, endless, err, ErrHeadTooLarge)
	if n, err := new(Request).Parse([]byte(endless[:MaxHeadBytes-1])); n != 0 || err != nil {
		t.Errorf("Parse of %d bytes = %d, %v; want 0, nil", MaxHeadBytes-1, n, err)
	}
}

func TestAHeadHasAtMost100Lines(t *testing.T) {
	lines := []string{"GET / HTTP/1.1", "Host: a"}
	for len(lines) < MaxLines {
		lines = append(lines, fmt.Sprintf("X-%d: y", len(lines)))
	}
	wire := head(lines...)
	if _, n, err := parse(t, wire); n != len(wire) || err != nil {
		t.Errorf("Parse of %d lines = %d, %v; want %d, nil", len(lines), n, err, len(wire))
	}
	wire = head(append(lines, "X-Last: y")...)
	_, _, err := parse(t, wire)
	wantRefused(t, wire, err, ErrTooManyLines)
}

func TestBytesAfterTheHeadAreNotRead(t *testing.T) {
	frames := "\x81\x85\x01\x02\x03\x04\n\x00\r\n\r\n garbage : \n"
	r, n, err := parse(t, upgradeHead()+frames+strings.Repeat("\x00", 2*MaxHeadBytes))
	if want := len(upgradeHead()); n != want || err != nil {
		t.Fatalf("Parse = %d, %v; want %d, nil", n, err, want)
	}
	if out := joined(r.AppendForward(nil, &Forward{})); strings.Contains(out, "garbage") {
		t.Errorf("the backend's head has bytes after the client's: %q", out)
	}
}

// TestNoByteIsSearchedTwice checks the offset up to which bytes were
// searched, where each call begins.
func TestNoByteIsSearchedTwice(t *testing.T) {
	wire := []byte(chromium)
	var r Request
	for i := range wire[:len(wire)-1] {
		if n, err := r.Parse(wire[:i+1]); n != 0 || err != nil {
			t.Fatalf("Parse(%q) = %d, %v; want 0, nil", wire[:i+1], n, err)
		}
		if r.seen != i+1 {
			t.Fatalf("after %d bytes the next search begins at %d", i+1, r.seen)
		}
	}
}

func TestSeveralConnectionLinesListsTabsAndAnyCaseAreLegal(t *testing.T) {
	for _, lines := range [][]string{
		{"Connection: keep-alive", "Connection: Upgrade", "Upgrade: websocket"},
		{"Connection: keep-alive,\tUpgrade", "Upgrade: websocket"},
		{"connection:UPGRADE", "upgrade:WebSocket"},
		{"CONNECTION: \t upgrade \t ", "UPGRADE:\twebsocket\t"},
		{"Connection: , ,Upgrade,,", "Upgrade: ,websocket,"},
		{"Connection: Upgrade", "Upgrade: websocket, foo"},
		{"Connection: Upgrade", "Upgrade: foo/2.0", "Upgrade: websocket"},
	} {
		wire := head(append([]string{"GET / HTTP/1.1", "Host: a", "Sec-WebSocket-Version:13", "Sec-WebSocket-Key:" + sampleKey}, lines...)...)
		if _, err := check(t, wire); err != nil {
			t.Errorf("request %q: %v; want none", wire, err)
		}
	}
}
