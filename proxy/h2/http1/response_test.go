package http1

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sluice/proxy/h2"
	"sluice/upgrade"
)

// A record is a Stream that notes what it is sent, data of adjacent writes as one.
type record struct {
	text   strings.Builder
	isData bool
	isOver bool
}

func (r *record) WriteHead(list []h2.Field, isEnd bool) error {
	r.isData = false
	r.text.WriteString("[")
	for i, f := range list {
		if i > 0 {
			r.text.WriteString("|")
		}
		r.text.WriteString(f.Name + " " + f.Value)
	}
	r.text.WriteString("]")
	if isEnd {
		return r.CloseWrite()
	}
	return nil
}

func (r *record) Write(p []byte) (int, error) {
	r.text.Write(p)
	return len(p), nil
}

func (r *record) CloseWrite() error {
	if r.isOver {
		return errors.New("ended twice")
	}
	r.isOver = true
	r.text.WriteString("$")
	return nil
}

func TestResponseOfHTTP11BecomesOneOfHTTP2(t *testing.T) {
	for _, test := range []struct {
		name     string
		response Response
		in       string
		want     string
		end      error // of End
	}{
		{"length", Response{}, "HTTP/1.1 200 OK|Content-Length: 5|X: a||hello", "[:status 200|content-length 5|x a]hello$", nil},
		{"no body", Response{}, "HTTP/1.1 200 OK|Content-Length: 0||", "[:status 200|content-length 0]$", nil},
		{"no phrase", Response{}, "HTTP/1.1 599|Content-Length: 0||", "[:status 599|content-length 0]$", nil},
		{"chunks", Response{}, "HTTP/1.1 200 OK|Transfer-Encoding: chunked||5|hello|01;x=y|!|0||", "[:status 200]hello!$", nil},
		{"trailers", Response{}, "HTTP/1.1 200 OK|Transfer-Encoding: chunked|Trailer: A||1|x|0|A: b|Connection: c||", "[:status 200|trailer A]x[a b]$", nil},
		{"until the end", Response{}, "HTTP/1.1 200 OK|Connection: close||hello", "[:status 200]hello$", nil},
		{"HEAD", Response{IsHead: true}, "HTTP/1.1 200 OK|Content-Length: 5||", "[:status 200|content-length 5]$", nil},
		{"a refused HEAD", Response{IsHead: true}, "HTTP/1.1 404 Not Found|Content-Length: 5||hello", "[:status 404|content-length 5]$", nil},
		{"204", Response{}, "HTTP/1.1 204 No Content||", "[:status 204]$", nil},
		{"304", Response{}, "HTTP/1.1 304 Not Modified|Content-Length: 5||", "[:status 304|content-length 5]$", nil},
		{"interim", Response{}, "HTTP/1.1 103 Early Hints|Link: </a>||HTTP/1.1 100 Continue||HTTP/1.1 200 OK|Content-Length: 1||x",
			"[:status 103|link </a>][:status 100][:status 200|content-length 1]x$", nil},
		{"fields of the connection", Response{},
			"HTTP/1.1 200 OK|Connection: close, X-Hop|X-Hop: 1|Keep-Alive: 2|Proxy-Connection: 3|Upgrade: h2c|Set-Cookie: a|Set-Cookie: b|Content-Length: 0||",
			"[:status 200|set-cookie a|set-cookie b|content-length 0]$", nil},
		{"WebSocket", Response{IsConnect: true}, "HTTP/1.1 101 Switching Protocols|Upgrade: websocket|Connection: Upgrade|Sec-WebSocket-Accept: x|Sec-WebSocket-Protocol: chat||bytes",
			"[:status 200|sec-websocket-protocol chat]bytes$", nil},
		{"a 200 doesn't accept WebSocket", Response{IsConnect: true}, "HTTP/1.1 200 OK|Content-Length: 2||hi", "[:status 502|content-length 2]hi$", nil},
		{"cut in the length", Response{}, "HTTP/1.1 200 OK|Content-Length: 5||hel", "[:status 200|content-length 5]hel", ErrIncomplete},
		{"cut in a chunk", Response{}, "HTTP/1.1 200 OK|Transfer-Encoding: chunked||5|hel", "[:status 200]hel", ErrIncomplete},
		{"cut before the last chunk", Response{}, "HTTP/1.1 200 OK|Transfer-Encoding: chunked||5|hello|", "[:status 200]hello", ErrIncomplete},
		{"cut in the trailers", Response{}, "HTTP/1.1 200 OK|Transfer-Encoding: chunked||0|a: b|", "[:status 200]", ErrIncomplete},
		{"nothing", Response{}, "", "", ErrIncomplete},
	} {
		in := strings.ReplaceAll(test.in, "|", "\r\n")
		for size := 1; size <= len(in)+1; size++ {
			var got record
			response := test.response
			for rest := []byte(in); len(rest) > 0; {
				n := min(size, len(rest))
				if err := response.Write(&got, rest[:n]); err != nil {
					t.Fatalf("%s, by %d: %v", test.name, size, err)
				}
				rest = rest[n:]
			}
			if err := response.End(&got); err != test.end || got.text.String() != test.want {
				t.Errorf("%s, by %d: %q, %v; want %q, %v", test.name, size, got.text.String(), err, test.want, test.end)
			}
		}
	}
}

func TestBadResponsesAreRefused(t *testing.T) {
	for _, in := range []string{
		"HTTP/2 200 OK||",
		"HTTP/1.1 99 Low||",
		"HTTP/1.1 200 OK|X y||",
		"HTTP/1.1 200 OK|X\x00: y||",
		"HTTP/1.1 200 OK|X: a\rb||",
		"HTTP/1.1 200 OK| X: folded||",
		"HTTP/1.1 101 Switching Protocols||",
		"HTTP/1.1 200 OK|Content-Length: -1||",
		"HTTP/1.1 200 OK|Content-Length: 1||xy",
		"HTTP/1.1 200 OK|Transfer-Encoding: chunked||x|",
		"HTTP/1.1 200 OK|Transfer-Encoding: chunked||1|xy",
		"HTTP/1.1 200 OK|Transfer-Encoding: chunked||ffffffffffffffffff|",
		"HTTP/1.1 200 OK|X: " + strings.Repeat("x", maxHeadBytes),
	} {
		var response Response
		if err := response.Write(new(record), []byte(strings.ReplaceAll(in, "|", "\r\n"))); !errors.Is(err, ErrBadResponse) {
			t.Errorf("Write(%.60q) = %v, want %v", in, err, ErrBadResponse)
		}
		if err := response.Write(new(record), []byte("x")); !errors.Is(err, ErrBadResponse) {
			t.Errorf("Write after %.60q = %v, want %v", in, err, ErrBadResponse)
		}
	}
}

func TestRefusalsOfTheGatewayPass(t *testing.T) {
	var got record
	var response Response
	err := response.Write(&got, upgrade.AppendRejection(nil, upgrade.ErrNoRoute))
	want := fmt.Sprintf("[:status 404|content-type text/plain; charset=utf-8|content-length %d]%s\n$", len(upgrade.ErrNoRoute.Text)+1, upgrade.ErrNoRoute.Text)
	if err != nil || got.text.String() != want {
		t.Errorf("%q, %v; want %q", got.text.String(), err, want)
	}
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n"), uint8(3), false)
	f.Add([]byte("HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), uint8(7), false)
	f.Add([]byte("HTTP/1.1 101 Switching Protocols\r\n\r\nbytes"), uint8(1), true)
	f.Fuzz(func(t *testing.T, in []byte, size uint8, isConnect bool) {
		write := func(size int) (string, bool) {
			var got record
			response := Response{IsConnect: isConnect}
			for rest := append([]byte(nil), in...); len(rest) > 0; {
				n := min(size, len(rest))
				if response.Write(&got, rest[:n]) != nil {
					return got.text.String(), false
				}
				rest = rest[n:]
			}
			isWhole := response.End(&got) == nil
			if isWhole != got.isOver {
				t.Fatalf("End says %v, and the stream has ended: %v", isWhole, got.isOver)
			}
			return got.text.String(), isWhole
		}
		whole, isWhole := write(len(in) + 1)
		parts, isWholeInParts := write(int(size) + 1)
		if whole != parts || isWhole != isWholeInParts {
			t.Fatalf("%q is %q, %v in one part; %q, %v in parts of %d", in, whole, isWhole, parts, isWholeInParts, int(size)+1)
		}
	})
}
