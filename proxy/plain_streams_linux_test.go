package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"sluice/internal/h2test"
)

// listenHTTP2 returns the address of a backend that speaks HTTP/2 by net/http's server, over TLS or without.
func listenHTTP2(t *testing.T, isSecure bool, handler http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, Protocols: new(http.Protocols)}
	server.Protocols.SetUnencryptedHTTP2(!isSecure)
	server.Protocols.SetHTTP2(isSecure)
	t.Cleanup(func() { _ = server.Close() })
	if !isSecure {
		go server.Serve(ln)
		return ln.Addr().String()
	}
	server.TLSConfig = securedBackend("h2")
	go server.ServeTLS(ln, "", "")
	return "wss://" + ln.Addr().String()
}

func TestPlainRequestsOfAPoolOfStreamsShareConnections(t *testing.T) {
	for _, isSecure := range []bool{false, true} {
		t.Run(fmt.Sprint("TLS ", isSecure), func(t *testing.T) {
			var mu sync.Mutex
			conns := map[string]bool{}
			g := newStreamSetup(listenHTTP2(t, isSecure, func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				conns[r.RemoteAddr] = true
				mu.Unlock()
				body, _ := io.ReadAll(r.Body)
				w.Header().Set("X-Seen", fmt.Sprint(r.Proto, " ", r.Method, " ", r.Host, " ", r.RequestURI, " ", r.Header.Get("X-Forwarded-Proto"), " ", r.ContentLength, " ", r.TLS != nil))
				w.WriteHeader(201)
				_, _ = w.Write(body)
			})).run(t)
			c := g.dial(t)
			for range 3 {
				c.send(t, getting("/a?b=c"))
				response := c.wantBody(t, 201, "")
				if got, want := response.Header.Get("X-Seen"), fmt.Sprint("HTTP/2.0 GET gateway.test /a?b=c http 0 ", isSecure); got != want {
					t.Errorf("the backend saw %s, want %s", got, want)
				}
				c.send(t, head("POST / HTTP/1.1", "Host: gateway.test", "Transfer-Encoding: chunked")+"5\r\nhello\r\n0\r\n\r\n")
				c.wantBody(t, 201, "hello")
				big := strings.Repeat("big ", 100000)
				go func() {
					_, _ = io.WriteString(c.Conn, head("PUT / HTTP/1.1", "Host: gateway.test", fmt.Sprint("Content-Length: ", len(big)))+big)
				}()
				c.wantBody(t, 201, big)
			}
			if len(conns) != 1 {
				t.Errorf("%d connections, want 1", len(conns))
			}
			g.wantIdle(t)
		})
	}
}

func TestEventsPassAtOnceOverAStream(t *testing.T) {
	next := make(chan string)
	g := newStreamSetup(listenHTTP2(t, false, func(w http.ResponseWriter, r *http.Request) {
		for text := range next {
			_, _ = io.WriteString(w, text)
			_ = http.NewResponseController(w).Flush()
		}
	})).run(t)
	c := g.dial(t)
	c.send(t, getting("/"))
	next <- "one\n"
	response := c.answer(t)
	lines := bufio.NewReader(response.Body)
	for _, text := range []string{"one\n", "two\n"} {
		if text != "one\n" {
			next <- text
		}
		if line, err := lines.ReadString('\n'); line != text {
			t.Fatalf("%q, %v; want %q", line, err, text)
		}
	}
	close(next)
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v at the end", rest, err)
	}
}

func TestAPlainRequestIsTriedOnTheNextBackendOfStreams(t *testing.T) {
	good := listenHTTP2(t, false, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "good") })
	s := newStreamSetup(closedAddress(t), good)
	s.Pools[0].Ejection.Failures = 0
	g := s.run(t)
	for range 4 {
		c := g.dial(t)
		c.send(t, head("POST / HTTP/1.1", "Host: gateway.test", "Content-Length: 2")+"hi")
		c.wantBody(t, 200, "good")
	}
}

func TestHowPlainRequestsFailOverStreams(t *testing.T) {
	for _, test := range []struct {
		name   string
		does   func(s *h2test.Stream)
		status int
		word   string
	}{
		{"no answer", func(*h2test.Stream) {}, 504, "in time"},
		{"a reset", func(s *h2test.Stream) { _ = s.Reset(http2.ErrCodeInternal) }, 502, "can't be passed on"},
		{"a lost connection", func(s *h2test.Stream) { _ = s.Conn().Close() }, 502, "can't be passed on"},
		{"an answer before the end of the body", func(s *h2test.Stream) { _ = s.Refuse(413, "too large") }, 413, "too large"},
		{"an invalid status", func(s *h2test.Stream) { _ = s.Answer(700) }, 502, "can't be passed on"},
	} {
		for name, request := range map[string]string{
			"":                        getting("/"),
			" to a body that goes on": head("POST / HTTP/1.1", "Host: gateway.test", "Content-Length: 1000") + "begun",
		} {
			if test.status == 504 && name != "" {
				continue // what is waited for is the client
			}
			t.Run(test.name+name, func(t *testing.T) {
				b := listenStreams(t, nil, h2test.Options{})
				s := newStreamSetup(b.Addr())
				s.Routes[0].ResponseTimeout, s.Pools[0].RetryOn = milliseconds(100), nil
				g := s.run(t)
				c := g.dial(t)
				c.send(t, request)
				stream := b.accept(t)
				if name != "" {
					if _, err := io.ReadFull(stream, make([]byte, len("begun"))); err != nil {
						t.Fatal(err)
					}
				}
				test.does(stream)
				response := c.answer(t)
				if body, _ := io.ReadAll(response.Body); response.StatusCode != test.status || !strings.Contains(string(body), test.word) {
					t.Errorf("status %d, %q; want %d, %q", response.StatusCode, body, test.status, test.word)
				}
				g.wantIdle(t)
			})
		}
	}
}

func TestAClientThatGoesEndsItsPlainRequestOverAStream(t *testing.T) {
	b := listenStreams(t, nil, h2test.Options{})
	g := newStreamSetup(b.Addr()).run(t)
	c := g.dial(t)
	c.send(t, getting("/"))
	s := b.accept(t)
	_ = c.Close()
	eventually(t, "the end of the stream", func() bool { return s.Conn().Streams() == 0 })
	g.wantIdle(t)
}

// Credentials of NTLM authenticate a connection, which HTTP/2 shares: they get none of their own.
func TestNoConnectionOfStreamsIsPrivate(t *testing.T) {
	b := listenHTTP2(t, false, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) })
	g := newStreamSetup(b).run(t)
	var first string
	for i := range 2 {
		c := g.dial(t)
		c.send(t, getting("/", "Authorization: NTLM x"))
		body, _ := io.ReadAll(c.answer(t).Body)
		if i == 0 {
			first = string(body)
		} else if string(body) != first {
			t.Errorf("connections %s and %s, want one", first, body)
		}
	}
}
