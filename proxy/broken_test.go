package proxy

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"

	"sluice/internal/netconn"
)

// What came of an answer before the backend was lost arrives, and its end shows that the rest is missing.
// Faults B15.
func TestWhatCameOfABrokenAnswerArrives(t *testing.T) {
	half := strings.Repeat("half", 10_000)
	for name, answer := range map[string]string{
		"Content-Length":   head("HTTP/1.1 200 OK", "Content-Length: 1000000") + half,
		"chunked":          head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + "9c40\r\n" + half + "\r\n",
		"inside a chunk":   head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + "fffff\r\n" + half,
		"a malformed size": head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + "9c40\r\n" + half + "\r\nno size\r\n",
	} {
		for kind, ask := range map[string]string{"plain": getting("/"), "WebSocket": asking("/")} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				withFronts(t, func(t *testing.T, driver string) {
					backend := listenRaw(t)
					g := newSetup(driver, backend.Addr().String()).run(t)
					c := g.dial(t)
					c.send(t, ask)
					b := backend.accept(t)
					b.send(t, answer)
					_ = b.Close()
					if got := c.wantBroken(t); got != half {
						t.Errorf("%d bytes arrive, want %d", len(got), len(half))
					}
					g.wantIdle(t)
				})
			})
		}
	}
}

// Where the end of the connection would be the end of the answer, a reset follows what came.
// Faults B15.
func TestABrokenAnswerWithoutALengthEndsByAReset(t *testing.T) {
	half := strings.Repeat("half", 10_000)
	for kind, ask := range map[string]string{"plain": "GET / HTTP/1.0\r\n\r\n", "WebSocket": asking("/")} {
		t.Run(kind, func(t *testing.T) {
			withDrivers(t, func(t *testing.T, driver string) {
				backend := listenRaw(t)
				g := newSetup(driver, backend.Addr().String()).run(t)
				c := g.dial(t)
				c.send(t, ask)
				b := backend.accept(t)
				b.send(t, head("HTTP/1.1 200 OK")+half)
				response := c.answer(t)
				netconn.Cut(b.Conn)
				if got, err := io.ReadAll(response.Body); string(got) != half || !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("%d bytes arrive, %v; want %d and a reset", len(got), err, len(half))
				}
				g.wantIdle(t)
			})
		})
	}
}

// Faults B15.
func TestWhatCameOfABrokenAnswerArrivesOverTLS(t *testing.T) {
	half := strings.Repeat("half", 10_000)
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).runSecure(t)
		for ask, want := range map[string]error{
			getting("/"):             io.ErrUnexpectedEOF,
			asking("/"):              io.ErrUnexpectedEOF,
			"GET / HTTP/1.0\r\n\r\n": syscall.ECONNRESET,
		} {
			c := g.dialSecure(t)
			c.send(t, ask)
			b := backend.accept(t)
			b.send(t, head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")+"9c40\r\n"+half+"\r\n")
			response := c.answer(t)
			_ = b.Close()
			if got, err := io.ReadAll(response.Body); string(got) != half || !errors.Is(err, want) {
				t.Errorf("%.20q: %d bytes arrive, %v; want %d, %v", ask, len(got), err, len(half), want)
			}
		}
		g.wantIdle(t)
	})
}

// A client that reads only after the gateway has done with the connection gets what came, too.
// Faults B15.
func TestWhatCameOfABrokenAnswerArrivesAtAClientThatStands(t *testing.T) {
	half := strings.Repeat("half", 50_000)
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).run(t)
		for _, ask := range []string{getting("/"), asking("/")} {
			c := g.dial(t)
			c.send(t, ask)
			b := backend.accept(t)
			b.send(t, head("HTTP/1.1 200 OK", "Content-Length: 1000000")+half)
			_ = b.Close()
			eventually(t, "the end of the connection", func() bool { return g.Listeners()[0].Handshakes == 0 })
			if got := c.wantBroken(t); got != half {
				t.Errorf("%.20q: %d bytes arrive, want %d", ask, len(got), len(half))
			}
		}
	})
}
