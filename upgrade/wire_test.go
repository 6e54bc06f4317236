package upgrade

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

// The key of RFC 6455 section 1.3 and its Accept.
const (
	sampleKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// chromium is what Chromium 130 sends for new WebSocket("ws://chat.example.com/room?id=7", ["chat", "superchat"]).
const chromium = "GET /room?id=7 HTTP/1.1\r\n" +
	"Host: chat.example.com\r\n" +
	"Connection: Upgrade\r\n" +
	"Pragma: no-cache\r\n" +
	"Cache-Control: no-cache\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\n" +
	"Upgrade: websocket\r\n" +
	"Origin: https://chat.example.com\r\n" +
	"Sec-WebSocket-Version: 13\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Accept-Language: en-GB,en;q=0.9\r\n" +
	"Cookie: session=3f9c0c2e6f1a4b5d8e7f; theme=dark\r\n" +
	"Sec-WebSocket-Key: " + sampleKey + "\r\n" +
	"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" +
	"Sec-WebSocket-Protocol: chat, superchat\r\n\r\n"

// switching is a backend's answer to a request with sampleKey.
const switching = "HTTP/1.1 101 Switching Protocols\r\n" +
	"Upgrade: websocket\r\n" +
	"Connection: Upgrade\r\n" +
	"Sec-WebSocket-Accept: " + sampleAccept + "\r\n"

// head joins lines with CRLF and ends them with an empty one.
func head(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

// upgradeHead is a complete WebSocket request with more lines.
func upgradeHead(more ...string) string {
	return head(append([]string{"GET /chat HTTP/1.1", "Host: example.com", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + sampleKey}, more...)...)
}

// switchingHead is a complete 101 with more lines.
func switchingHead(more ...string) string {
	return switching + strings.Join(append(more, "", ""), "\r\n")
}

// parser is a Request or an Answer.
type parser interface {
	Parse(head []byte) (int, error)
}

// feed gives wire to p piece by piece, each time at another address than before,
// and stops when p has an answer.
func feed(p parser, wire string, pieces []int) (int, error) {
	places := [2][]byte{[]byte(wire), []byte(wire)}
	end := 0
	for i, piece := range pieces {
		end = min(end+piece, len(wire))
		if n, err := p.Parse(places[i%2][:end:end]); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, nil
}

// splittings returns how a wire is cut: whole, byte by byte, at seeded random places.
func splittings(length int, seed uint64) map[string][]int {
	single := make([]int, length)
	for i := range single {
		single[i] = 1
	}
	random := rand.New(rand.NewPCG(seed, seed))
	var pieces []int
	for sum := 0; sum < length; {
		piece := 1 + random.IntN(40)
		pieces = append(pieces, piece)
		sum += piece
	}
	return map[string][]int{"whole": {length}, "byte by byte": single, "at random splits": pieces}
}

// parse feeds wire in every way and returns the Request of the whole feeding,
// when all agree on length and error.
func parse(t *testing.T, wire string) (*Request, int, error) {
	t.Helper()
	whole := new(Request)
	n, err := whole.Parse([]byte(wire))
	for name, pieces := range splittings(len(wire), 1) {
		m, errPieces := feed(new(Request), wire, pieces)
		if m != n || errPieces != err {
			t.Errorf("Parse(%q) %s = %d, %v; whole %d, %v", wire, name, m, errPieces, n, err)
		}
	}
	return whole, n, err
}

// check parses wire and checks it as a WebSocket request.
func check(t *testing.T, wire string) (*Request, error) {
	t.Helper()
	r, n, err := parse(t, wire)
	if err == nil && n == 0 {
		t.Fatalf("Parse(%q) wants more", wire)
	}
	if err == nil {
		err = r.CheckUpgrade()
	}
	return r, err
}

// mustCheck is check for a request that is right.
func mustCheck(t *testing.T, wire string) *Request {
	t.Helper()
	r, err := check(t, wire)
	if err != nil {
		t.Fatalf("request %q: %v", wire, err)
	}
	return r
}

// answer parses wire in every way and checks it against r.
func answer(t *testing.T, wire string, r *Request) (*Answer, int, error) {
	t.Helper()
	whole := new(Answer)
	n, err := whole.Parse([]byte(wire))
	for name, pieces := range splittings(len(wire), 2) {
		m, errPieces := feed(new(Answer), wire, pieces)
		if m != n || text(errPieces) != text(err) {
			t.Errorf("Parse(%q) %s = %d, %v; whole %d, %v", wire, name, m, errPieces, n, err)
		}
	}
	if err == nil && n == 0 {
		t.Fatalf("Parse(%q) wants more", wire)
	}
	if err == nil {
		err = whole.Check(r)
	}
	return whole, n, err
}

func mustAnswer(t *testing.T, wire string, r *Request) *Answer {
	t.Helper()
	a, _, err := answer(t, wire, r)
	if err != nil {
		t.Fatalf("answer %q: %v", wire, err)
	}
	return a
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// wantRefused reports an error other than want.
func wantRefused(t *testing.T, wire string, err error, want *Rejection) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("request %.300q: got %v; want %v", wire, err, want)
	}
}

func joined(lines [][]byte) string { return string(bytes.Join(lines, nil)) }

// forwarded returns what goes to the backend of a request that is right.
func forwarded(t *testing.T, wire string, f *Forward) string {
	t.Helper()
	return joined(mustCheck(t, wire).AppendForward(nil, f))
}
