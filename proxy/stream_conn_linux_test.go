package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"sluice/internal/h2test"
	"sluice/internal/netconn"
	"sluice/proxy/h2"
	"sluice/upgrade"
)

// A fakeStream is a lent stream whose client has sent in, and may reset it. It notes what it is sent.
type fakeStream struct {
	net.Conn
	in   io.Reader
	gone chan struct{} // closed when the client has reset the stream
	mu   sync.Mutex
	out  strings.Builder
}

func newFakeStream(in string) *fakeStream {
	return &fakeStream{in: strings.NewReader(in), gone: make(chan struct{})}
}

func (s *fakeStream) Read(p []byte) (int, error)       { return s.in.Read(p) }
func (s *fakeStream) SetReadDeadline(time.Time) error  { return nil }
func (s *fakeStream) SetWriteDeadline(time.Time) error { return nil }

func (s *fakeStream) AwaitReset() error {
	select {
	case <-s.gone:
		return syscall.ECONNRESET
	default:
		return os.ErrDeadlineExceeded
	}
}

func (s *fakeStream) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = fmt.Fprintf(&s.out, format, args...)
}

func (s *fakeStream) WriteHead(fields []h2.Field, isEnd bool) error {
	s.note("%v", fields)
	if isEnd {
		return s.CloseWrite()
	}
	return nil
}

func (s *fakeStream) Write(p []byte) (int, error) {
	s.note("%s", p)
	return len(p), nil
}

func (s *fakeStream) CloseWrite() error {
	s.note("$")
	return nil
}

func (s *fakeStream) Reset(code h2.Code) { s.note("!%d", code) }

func (s *fakeStream) Close() error {
	s.note(";")
	return nil
}

// parsedRequest returns a request whose head is lines, separated by bars.
func parsedRequest(t *testing.T, lines string) *upgrade.Request {
	t.Helper()
	r := new(upgrade.Request)
	if n, err := r.Parse([]byte(strings.ReplaceAll(lines+"||", "|", "\r\n"))); n == 0 || err != nil {
		t.Fatal(n, err)
	}
	return r
}

func TestAStreamIsAConnectionOfHTTP11(t *testing.T) {
	const get, post, head = "GET / HTTP/1.1|Host: a", "POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked", "HEAD / HTTP/1.1|Host: a"
	const webSocket = "GET / HTTP/1.1|Host: a|Upgrade: websocket|Connection: Upgrade"
	lingers := netconn.LingerClose
	breaks := func(conn net.Conn) { netconn.BreakOff(conn, false) }
	for _, test := range []struct {
		name     string
		request  string
		response string
		ends     func(net.Conn)
		want     string
	}{
		{"complete", get, "HTTP/1.1 200 OK|Content-Length: 2||hi", lingers, "[{:status 200} {content-length 2}]hi$;"},
		{"before the end of the body", post, "HTTP/1.1 413 Too Large|Content-Length: 0||", lingers, "[{:status 413} {content-length 0}]$;"},
		{"until the end", get, "HTTP/1.1 200 OK||hi", lingers, "[{:status 200}]hi$;"},
		{"HEAD", head, "HTTP/1.1 404 Not Found|Content-Length: 2||hi", lingers, "[{:status 404} {content-length 2}]$;"},
		{"broken off", get, "HTTP/1.1 200 OK|Transfer-Encoding: chunked||2|hi", breaks, "[{:status 200}]hi!2;"},
		{"broken off, without an end", get, "HTTP/1.1 200 OK||hi", func(conn net.Conn) { netconn.BreakOff(conn, true) }, "[{:status 200}]hi!2;"},
		{"no response", get, "", func(conn net.Conn) { _ = conn.Close() }, "!2;"},
		{"WebSocket", webSocket, "HTTP/1.1 101 Switching Protocols|Upgrade: websocket||hi", lingers, "[{:status 200}]hi$;"},
		{"WebSocket, cut", webSocket, "HTTP/1.1 101 Switching Protocols|Upgrade: websocket||hi", netconn.Cut, "[{:status 200}]hi;"},
	} {
		stream := newFakeStream(strings.Repeat("x", 10))
		c := newStreamConn(stream, parsedRequest(t, test.request))
		if _, err := c.Write([]byte(strings.ReplaceAll(test.response, "|", "\r\n"))); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		test.ends(c)
		if got := stream.out.String(); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// A backend refuses WebSocket in HTTP/1.1 by any status but 101. Over HTTP/2 a 200 would open a session.
func TestABackendsOtherAnswersPassToAStream(t *testing.T) {
	withWays(t, func(t *testing.T, w way) {
		backend := listenRaw(t)
		g := w.newSetup(backend.Addr().String()).run(t)
		c := w.connect(t, g)
		lines := 0
		for answer, status := range map[string]int{
			head("HTTP/1.1 403 No", "Content-Length: 5") + "hello":                                                      403,
			head("HTTP/1.1 500 No", "Transfer-Encoding: chunked", "Trailer: A") + "5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n": 500,
			head("HTTP/1.1 401 Who") + "hello":                                                                          401,
			head("HTTP/1.1 200 OK", "Content-Length: 5") + "hello":                                                      502,
		} {
			s, err := c.Open(h2test.WebSocket("gateway.test", "/"), false)
			if err != nil {
				t.Fatal(err)
			}
			b := backend.accept(t)
			b.send(t, answer)
			_ = b.Conn.Close()
			if resp := wantStatus(t, s, status); resp.Field("connection") != "" {
				t.Errorf("fields %v", resp.Fields)
			}
			if body, err := io.ReadAll(s); string(body) != "hello" || err != nil {
				t.Errorf("%q: body %q, %v", answer, body, err)
			}
			lines++
			if line := g.lines(t, lines)[lines-1].ContextMap(); line["status"] != int64(status) {
				t.Errorf("the access log says %v, want status %d", line, status)
			}
		}
	})
}

// An answer that isn't whole must not look so.
func TestABackendsAnswerThatBreaksOffResetsTheStream(t *testing.T) {
	withWays(t, func(t *testing.T, w way) {
		backend := listenRaw(t)
		g := w.newSetup(backend.Addr().String()).run(t)
		c := w.connect(t, g)
		for _, answer := range []string{
			head("HTTP/1.1 403 No", "Content-Length: 50") + "hello",
			head("HTTP/1.1 403 No", "Transfer-Encoding: chunked") + "5\r\nhello\r\n",
		} {
			s, err := c.Open(h2test.WebSocket("gateway.test", "/"), false)
			if err != nil {
				t.Fatal(err)
			}
			b := backend.accept(t)
			b.send(t, answer)
			_ = b.Conn.Close()
			wantStatus(t, s, 403)
			var reset *h2test.ResetError
			if body, err := io.ReadAll(s); string(body) != "hello" || !errors.As(err, &reset) || reset.Code != http2.ErrCodeInternal {
				t.Errorf("%q: body %q, %v; want a reset after what came", answer, body, err)
			}
		}
	})
}

func TestAStreamsRequestIsFramedAndItsResetSeen(t *testing.T) {
	for request, want := range map[string]string{
		"GET / HTTP/1.1|Host: a":                                      "",
		"POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked":          "000005\r\nhello\r\n0\r\n\r\n",
		"POST / HTTP/1.1|Host: a|Content-Length: 5":                   "hello",
		"GET / HTTP/1.1|Host: a|Upgrade: websocket|Connection: close": "hello",
	} {
		stream := newFakeStream("hello")
		r := parsedRequest(t, request)
		c := newStreamConn(stream, r)
		got := ""
		p := make([]byte, 100)
		n, err := c.Read(p)
		for ; n > 0; n, err = c.Read(p) {
			got += string(p[:n])
		}
		wantErr := os.ErrDeadlineExceeded // the end of the request isn't that of the connection
		if r.IsWebSocket() {
			wantErr = io.EOF
		}
		if got != want || err != wantErr {
			t.Errorf("%s: %q, %v; want %q, %v", request, got, err, want, wantErr)
		}
		if r.IsWebSocket() {
			continue
		}
		close(stream.gone)
		if n, err := c.Read(p); n > 0 || err != syscall.ECONNRESET {
			t.Errorf("%s: Read after a reset = %d, %v", request, n, err)
		}
		_, _ = c.Write([]byte("HTTP/1.1 204 No Content\r\n\r\n"))
		_ = c.CloseWrite()
		if n, err := c.Read(p); n > 0 || err != io.EOF {
			t.Errorf("%s: Read after CloseWrite = %d, %v; want EOF", request, n, err)
		}
	}
}
