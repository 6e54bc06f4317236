package http1

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"sluice/proxy/h2"
	"sluice/upgrade"
)

func lines(text string) (slices [][]byte) {
	for line := range strings.SplitAfterSeq(strings.ReplaceAll(text, "|", "\r\n"), "\n") {
		slices = append(slices, []byte(line))
	}
	return slices
}

func join(list []h2.Field) string {
	var r record
	_ = r.WriteHead(list, false)
	return r.text.String()
}

func TestHandshakeOfHTTP11BecomesAnExtendedConnect(t *testing.T) {
	in := "GET /a?b HTTP/1.1|Host: a.test|Origin: null|TE: trailers|Sec-WebSocket-Key: " + key +
		"|Sec-WebSocket-Version: 13|Connection: Upgrade, x-hop|X-Hop: 1|Upgrade: websocket|X-Forwarded-For: 1.2.3.4||"
	got, err := ConnectFields(nil, lines(in), "https")
	want := "[:method CONNECT|:protocol websocket|:scheme https|:path /a?b|:authority a.test|origin null|sec-websocket-version 13|x-forwarded-for 1.2.3.4]"
	if err != nil || join(got) != want {
		t.Errorf("ConnectFields(%q) = %s, %v; want %s", in, join(got), err, want)
	}
	for _, in := range []string{
		"PROXY TCP4 1.2.3.4 1.2.3.4 1 2|GET / HTTP/1.1|Host: a||", "GET / HTTP/1.1|X: y||", "POST / HTTP/1.1|Host: a||", "GET / HTTP/1.1|Host: a|", "GET  HTTP/1.1|Host: a||",
	} {
		if got, err := ConnectFields(nil, lines(in), "http"); err == nil {
			t.Errorf("ConnectFields(%q) = %s, want an error", in, join(got))
		}
	}
}

func TestSwitchBecomesA200(t *testing.T) {
	got, err := SwitchFields(nil, lines("HTTP/1.1 101 Switching Protocols|Sec-WebSocket-Protocol: chat|Set-Cookie: A=B|sec-websocket-accept: x|Upgrade: websocket|Connection: Upgrade||"))
	if want := "[:status 200|sec-websocket-protocol chat|set-cookie A=B]"; err != nil || join(got) != want {
		t.Errorf("SwitchFields = %s, %v; want %s", join(got), err, want)
	}
	if got, err := SwitchFields(nil, lines("HTTP/1.1 200 OK||")); err == nil {
		t.Errorf("SwitchFields of a 200 = %s, want an error", join(got))
	}
}

func TestAnswerOfHTTP2BecomesOneOfHTTP11(t *testing.T) {
	for _, test := range []struct {
		status int
		fields []h2.Field
		isEnd  bool
		want   string
		body   framing
	}{
		{200, fields("sec-websocket-protocol", "chat", "content-length", "7", "sec-websocket-accept", "y"), false,
			"HTTP/1.1 101 |sec-websocket-protocol: chat|Connection: Upgrade|Upgrade: websocket|Sec-WebSocket-Accept: Bz3qJYTGdOe8gUSpLosEdiLKDrk=||", rawBody},
		{103, fields("link", "x"), false, "HTTP/1.1 103 |link: x||", noBody},
		{403, fields("x", "y"), false, "HTTP/1.1 403 |x: y|Transfer-Encoding: chunked||", chunkedBody},
		{403, fields("content-length", "3"), false, "HTTP/1.1 403 |content-length: 3||", lengthBody},
		{403, nil, true, "HTTP/1.1 403 |Content-Length: 0||", noBody},
		{304, nil, false, "HTTP/1.1 304 ||", noBody},
	} {
		head := &h2.Head{Status: test.status, Fields: test.fields}
		got, err := AppendAnswer(nil, head, test.isEnd, []byte(key))
		if want := strings.ReplaceAll(test.want, "|", "\r\n"); err != nil || string(got) != want {
			t.Errorf("AppendAnswer of %d %v = %q, %v; want %q", test.status, test.fields, got, err, want)
		}
		if body := AnswerBody(head, test.isEnd); body.framing != test.body {
			t.Errorf("AnswerBody of %d %v has framing %d, want %d", test.status, test.fields, body.framing, test.body)
		}
	}
	for _, head := range []h2.Head{{Status: 101}, {Status: 99}, {Status: 600}, {Status: 200, Fields: fields("x", "\n")}, {Status: 403, Fields: fields("upgrade", "x")}} {
		if got, err := AppendAnswer(nil, &head, false, []byte(key)); !errors.Is(err, upgrade.ErrBadAnswer) {
			t.Errorf("AppendAnswer of %v = %q, %v; want %v", head, got, err, upgrade.ErrBadAnswer)
		}
	}
}

func TestAnswersSwitchIsCheckedAsThatOfHTTP11(t *testing.T) {
	b, err := AppendRequest(nil, &h2.Head{Method: "CONNECT", Protocol: "websocket", Authority: "a", Path: "/"}, false, []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	var r upgrade.Request
	if _, err := r.Parse(b); err != nil {
		t.Fatal(err)
	}
	answer, err := AppendAnswer(nil, &h2.Head{Status: 200}, false, r.Header("Sec-WebSocket-Key"))
	if err != nil {
		t.Fatal(err)
	}
	var a upgrade.Answer
	if n, err := a.Parse(answer); n != len(answer) || err != nil || a.Check(&r) != nil {
		t.Errorf("Parse(%q) = %d, %v; Check: %v", answer, n, err, a.Check(&r))
	}
}

func TestBodyIsFramedAsItsHeadSays(t *testing.T) {
	for _, size := range []int{1, 5, 10, 11, 12, 64, 4096} {
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "by octet": iotest.OneByteReader, "with its end": iotest.DataErrReader,
		} {
			from := wrap(strings.NewReader(strings.Repeat("hello ", 50)))
			body := Body{framing: chunkedBody}
			var got record
			response := Response{}
			_ = response.Write(&got, []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"))
			p := make([]byte, size)
			for {
				n, err := body.Read(from, p)
				if writeErr := response.Write(&got, p[:n]); writeErr != nil {
					t.Fatalf("%s, by %d: %v", name, size, writeErr)
				}
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if want := "[:status 200]" + strings.Repeat("hello ", 50) + "$"; got.text.String() != want || !body.IsDone() {
				t.Errorf("%s, by %d: %q, done %v; want %q", name, size, got.text.String(), body.IsDone(), want)
			}
		}
	}
	long := Body{framing: lengthBody, left: 3}
	if got, err := io.ReadAll(reader(func(p []byte) (int, error) { return long.Read(strings.NewReader("abc"), p) })); string(got) != "abc" || err != nil || !long.IsDone() {
		t.Errorf("%q, %v", got, err)
	}
	short := Body{framing: lengthBody, left: 3}
	from := strings.NewReader("ab")
	if got, err := io.ReadAll(reader(func(p []byte) (int, error) { return short.Read(from, p) })); string(got) != "ab" || err != ErrLength {
		t.Errorf("%q, %v", got, err)
	}
}

func TestRequestBodyIsThatOfItsHead(t *testing.T) {
	for head, want := range map[string]framing{
		"GET / HTTP/1.1|Host: a||":                            noBody,
		"GET / HTTP/1.1|Host: a|Content-Length: 3||":          lengthBody,
		"GET / HTTP/1.1|Host: a|Transfer-Encoding: chunked||": chunkedBody,
		"GET / HTTP/1.1|Host: a|Upgrade: websocket||":         rawBody,
	} {
		var r upgrade.Request
		if n, err := r.Parse([]byte(strings.ReplaceAll(head, "|", "\r\n"))); n == 0 || err != nil {
			t.Fatal(fmt.Sprint(head, n, err))
		}
		if body := RequestBody(&r); body.framing != want {
			t.Errorf("RequestBody of %q has framing %d, want %d", head, body.framing, want)
		}
	}
}

type reader func([]byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }
