package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice/internal/netconn"
	"sluice/internal/units"
)

// The client waits in the middle of its upload; the gateway doesn't wait for it after the backend has gone.
// Faults B19.
func TestABackendThatGoesDuringAPausedUploadIsA502AtOnce(t *testing.T) {
	for name, end := range map[string]func(b *wire){
		"end of the stream": func(b *wire) { _ = b.Close() },
		"reset":             func(b *wire) { netconn.Cut(b.Conn) },
	} {
		for framing, body := range map[string]string{"Transfer-Encoding: chunked": "4\r\nhalf\r\n", "Content-Length: 8": "half"} {
			for _, isTLS := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/TLS %t", name, framing, isTLS), func(t *testing.T) {
					withDrivers(t, func(t *testing.T, driver string) {
						backend := listenRaw(t)
						s := newSetup(driver, backend.Addr().String())
						s.Routes[0].WriteTimeout = units.Duration(time.Hour)
						run, dial := s.run, (*gateway).dial
						if isTLS {
							run, dial = s.runSecure, (*gateway).dialSecure
						}
						g := run(t)
						c := dial(g, t)
						c.send(t, head("POST / HTTP/1.1", "Host: gateway.test", framing)+body)
						b := backend.accept(t)
						if _, err := b.reader.Peek(4); err != nil { // the gateway waits for the rest
							t.Fatal(err)
						}
						end(b)
						c.wantRefusal(t, 502, "answer")
						g.wantIdle(t)
						if n := g.metric(t, "sluice_backend_failures_total", "reason=handshake_reset"); n != 1 {
							t.Errorf("%v resets of the backend are counted, want 1", n)
						}
					})
				})
			}
		}
	}
}

// A connection that has waited for its next request ends as any other.
// Faults B19.
func TestABackendThatGoesDuringASecondUploadIsA502AtOnce(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).run(t)
		c := g.dial(t)
		post := head("POST / HTTP/1.1", "Host: gateway.test", "Transfer-Encoding: chunked")
		c.send(t, post+"4\r\nhalf\r\n0\r\n\r\n")
		b := backend.accept(t)
		_, _ = io.ReadFull(b.reader, make([]byte, len("4\r\nhalf\r\n0\r\n\r\n")))
		b.send(t, answering("first"))
		c.wantBody(t, 200, "first")
		c.send(t, post+"4\r\nhalf\r\n")
		b.readHead(t)
		_ = b.Close()
		c.wantRefusal(t, 502, "answer")
		g.wantIdle(t)
	})
}

// Faults C7.
func TestABodyOverRequestBodyIsA413(t *testing.T) {
	const limit = 100_000
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Routes[0].RequestBody = limit
		g := s.run(t)

		c := g.dial(t)
		c.send(t, head("POST / HTTP/1.1", "Host: gateway.test", fmt.Sprintf("Content-Length: %d", limit+1)))
		c.wantRefusal(t, 413, "larger")
		backend.wantNoConnection(t)

		// A body in chunks shows its length only as it comes.
		c = g.dial(t)
		c.send(t, head("POST / HTTP/1.1", "Host: gateway.test", "Transfer-Encoding: chunked"))
		b := backend.accept(t)
		whole := make(chan bool)
		go func() {
			text, _ := io.ReadAll(b.reader)
			whole <- strings.HasSuffix(string(text), "0\r\n\r\n")
		}()
		c.send(t, fmt.Sprintf("%x\r\n%s\r\n", limit, strings.Repeat("x", limit))+"1\r\nx\r\n0\r\n\r\n")
		c.wantRefusal(t, 413, "larger")
		if <-whole {
			t.Error("the backend gets a body that looks complete")
		}
		g.wantIdle(t)
		if n := g.metric(t, "sluice_backend_failures_total"); n != 0 {
			t.Errorf("%v failures of a backend that did nothing wrong", n)
		}

		for _, framed := range []string{
			head("POST / HTTP/1.1", "Host: gateway.test", fmt.Sprintf("Content-Length: %d", limit)) + strings.Repeat("x", limit),
			head("POST / HTTP/1.1", "Host: gateway.test", "Transfer-Encoding: chunked") + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", limit, strings.Repeat("x", limit)),
		} {
			c = g.dial(t)
			c.send(t, framed)
			b = backend.accept(t)
			request, err := http.ReadRequest(b.withHead())
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(request.Body); len(body) != limit || err != nil {
				t.Errorf("%d bytes arrive, %v; want %d", len(body), err, limit)
			}
			b.send(t, answering("thanks", "Connection: close"))
			c.wantBody(t, 200, "thanks")
		}
	})
}

// A client that sends a little now and then doesn't hold a backend's place for ever, whatever part of the body the little is.
// Faults B1.
func TestABodyThatDripsIsA408(t *testing.T) {
	for name, test := range map[string]struct{ framing, first, drop string }{
		"Content-Length": {"Content-Length: 1000", "", "x"},
		"chunks":         {"Transfer-Encoding: chunked", "", "1\r\nx\r\n"},
		"an extension":   {"Transfer-Encoding: chunked", "1;", "x"},
		"a trailer":      {"Transfer-Encoding: chunked", "1\r\nx\r\n0\r\nX-Drip: ", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			withDrivers(t, func(t *testing.T, driver string) {
				backend := listenRaw(t)
				s := newSetup(driver, backend.Addr().String())
				s.Routes[0].WriteTimeout = milliseconds(500)
				g := s.run(t)
				c := g.dial(t)
				c.send(t, head("POST / HTTP/1.1", "Host: gateway.test", test.framing)+test.first)
				b := backend.accept(t)
				over, dripped := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(dripped)
					for {
						select {
						case <-over:
							return
						case <-time.After(50 * time.Millisecond):
							_, _ = io.WriteString(c.Conn, test.drop)
						}
					}
				}()
				response := c.answer(t)
				close(over)
				<-dripped
				if response.StatusCode != 408 || !response.Close {
					t.Errorf("status %d, close %t; want 408 and a close", response.StatusCode, response.Close)
				}
				b.wantGone(t)
				g.wantIdle(t)
			})
		})
	}
}

// The time in which the backend takes nothing isn't the client's.
func TestABodyMayTakeAsLongAsItsBackendWants(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Routes[0].WriteTimeout = units.Duration(2 * time.Second)
		g := s.run(t)
		c := g.dial(t)
		const parts, partBytes = 5, 2 << 20
		go func() {
			_, _ = io.WriteString(c.Conn, head("POST / HTTP/1.1", "Host: gateway.test", fmt.Sprintf("Content-Length: %d", parts*partBytes)))
			_, _ = io.WriteString(c.Conn, strings.Repeat("x", parts*partBytes))
		}()
		b := backend.accept(t)
		for range parts {
			time.Sleep(500 * time.Millisecond)
			b.mayWait()
			if n, err := io.CopyN(io.Discard, b.reader, partBytes); err != nil {
				t.Fatalf("%d bytes, %v", n, err)
			}
		}
		b.send(t, answering("thanks"))
		c.wantBody(t, 200, "thanks")
	})
}
