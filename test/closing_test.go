//go:build unix

package test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// tuned is a route to a pool of one backend, with keys of its own.
func tuned(backend rawBackend, keys string) string {
	return basics + fmt.Sprintf("[[route]]\npool = \"pool\"\n%s\n[[pool]]\nname = \"pool\"\nbackend = [{ address = %q }]\n", keys, backend.Addr())
}

// bothWays runs a test of a session twice: one and other are client and backend, and then the other way round. lost is
// the code that other is told when one is lost.
func bothWays(t *testing.T, keys string, test func(t *testing.T, one, other *wire, lost ws.StatusCode)) {
	eachTransport(t, func(t *testing.T, on func(string) string) {
		backend := listenRaw(t)
		g := runGateway(t, on(tuned(backend, keys)))
		t.Run("client", func(t *testing.T) {
			c, b := open(t, g, backend, "/")
			test(t, c, b, 1001)
		})
		t.Run("backend", func(t *testing.T) {
			c, b := open(t, g, backend, "/")
			test(t, b, c, 1012) // Faults B17: clients come back
		})
	})
}

func TestACloseComesBehindAllDataAndTheOthersDataStillFlows(t *testing.T) {
	t.Parallel()
	bothWays(t, "", func(t *testing.T, one, other *wire, _ ws.StatusCode) {
		long := strings.Repeat("x", 1<<20)
		sent := make(chan error, 1)
		go func() {
			_, err := io.WriteString(one, one.frame(ws.OpBinary, long)+one.closeFrame(4001, "bye"))
			sent <- err
		}()
		other.wantFrame(t, ws.OpBinary, long)
		other.wantClose(t, 4001)
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		other.send(t, other.frame(ws.OpText, "still flows")+other.closeFrame(4002, "answer"))
		one.wantFrame(t, ws.OpText, "still flows")
		one.wantClose(t, 4002)
	})
}

func TestCrossingClosesAreEachOthersAnswer(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	g := runGateway(t, tuned(backend, ""))
	c, b := open(t, g, backend, "/")
	c.send(t, c.closeFrame(4001, ""))
	b.send(t, b.closeFrame(4002, ""))
	b.wantClose(t, 4001)
	c.wantClose(t, 4002)
	c.wantEnd(t)
	b.wantGone(t)
}

func TestWhatComesBehindACloseIsNeitherParsedNorAnswered(t *testing.T) {
	t.Parallel()
	bothWays(t, "", func(t *testing.T, one, other *wire, _ ws.StatusCode) {
		one.send(t, one.closeFrame(1000, "")+one.frame(ws.OpPing, "?")+one.frame(ws.OpText, "late")+"\xff\xff\xff")
		other.wantClose(t, 1000)
		// Its close has gone to it: behind that it gets no pong either.
		other.send(t, other.frame(ws.OpPing, "?")+other.closeFrame(1000, ""))
		one.wantClose(t, 1000)
		other.wantNoMore(t)
		one.wantNoMore(t)
	})
}

func TestASilentSideIsAnsweredForAfterCloseTimeout(t *testing.T) {
	t.Parallel()
	bothWays(t, `close_timeout = "500ms"`, func(t *testing.T, one, other *wire, _ ws.StatusCode) {
		begin := time.Now()
		one.send(t, one.closeFrame(4001, "bye"))
		other.wantClose(t, 4001)
		one.wantClose(t, 4001)
		if waited := time.Since(begin); waited < 500*time.Millisecond {
			t.Errorf("the close came back after %v, want close_timeout", waited)
		}
		one.wantGone(t)
		other.wantGone(t)
	})
}

func TestEndOfStreamIsACloseInTheSidesName(t *testing.T) {
	t.Parallel()
	bothWays(t, "", func(t *testing.T, one, other *wire, lost ws.StatusCode) {
		one.send(t, one.frame(ws.OpText, "last words"))
		_ = one.CloseWrite()
		other.wantFrame(t, ws.OpText, "last words")
		other.wantClose(t, lost)
		// It may still receive.
		other.send(t, other.frame(ws.OpText, "answer")+other.closeFrame(lost, ""))
		one.wantFrame(t, ws.OpText, "answer")
		one.wantClose(t, lost)
		one.wantGone(t)
		other.wantGone(t)
	})
}

func TestAResetIsToldToTheOtherSide(t *testing.T) {
	t.Parallel()
	bothWays(t, "", func(t *testing.T, one, other *wire, lost ws.StatusCode) {
		one.send(t, one.frame(ws.OpText, "last words"))
		other.wantFrame(t, ws.OpText, "last words")
		_ = one.SetLinger(0)
		_ = one.Close()
		other.wantClose(t, lost)
	})
}

// A close inside a frame would be read as its payload.
func TestASideLostInsideAFrameCutsTheOtherWithoutAClose(t *testing.T) {
	t.Parallel()
	for _, end := range []struct {
		name string
		lose func(*wire)
	}{
		{"end of stream", func(w *wire) { _ = w.Close() }},
		{"reset", func(w *wire) { _ = w.SetLinger(0); _ = w.Close() }},
	} {
		t.Run(end.name, func(t *testing.T) {
			bothWays(t, "", func(t *testing.T, one, other *wire, _ ws.StatusCode) {
				whole := one.frame(ws.OpBinary, strings.Repeat("x", 1000))
				half := whole[:len(whole)/2]
				one.send(t, half)
				got := make([]byte, len(half))
				other.mayWait()
				if _, err := io.ReadFull(other.reader, got); err != nil || string(got) != half {
					t.Fatalf("half a frame: %q, %v", got, err)
				}
				end.lose(one)
				other.mayWait()
				rest, err := io.ReadAll(other.reader)
				if len(rest) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("behind half a frame: %q, %v; want nothing", rest, err)
				}
			})
		})
	}
}

func TestASideThatTakesNothingForWriteTimeoutIsCut(t *testing.T) {
	t.Parallel()
	bothWays(t, `write_timeout = "700ms"`, func(t *testing.T, one, other *wire, lost ws.StatusCode) {
		// one reads nothing. The socket's buffers swallow some megabytes.
		pushed := make(chan error, 1)
		go func() {
			frame := other.frame(ws.OpBinary, strings.Repeat("x", 1<<20))
			var err error
			for err == nil {
				_ = other.SetWriteDeadline(time.Now().Add(patience))
				_, err = io.WriteString(other, frame)
			}
			pushed <- err
		}()
		other.wantClose(t, lost)
		_ = other.Close()
		if err := <-pushed; errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the pushing side hangs: %v", err)
		}
		// What had reached its socket can be read; then there is the cut.
		one.mayWait()
		if _, err := io.Copy(io.Discard, one.reader); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the side that took nothing ends with %v, want a reset", err)
		}
	})
}

// A client that still sends would get a reset in the place of the answer, if its input were not discarded.
func TestAnAnswerArrivesThoughTheClientSendsOn(t *testing.T) {
	t.Parallel()
	eachDriver(t, func(t *testing.T, on func(string) string) {
		backend := listenRaw(t)
		g := runGateway(t, on(tuned(backend, "")))
		for name, answer := range map[string]func(c *wire){
			"refusal": func(c *wire) {
				c.send(t, request("/", "X : y")+strings.Repeat("x", 100<<10))
				c.wantRefusal(t, 400)
			},
			"answer of the backend": func(c *wire) {
				c.send(t, request("/"))
				b := backend.accept(t)
				b.send(t, head("HTTP/1.1 403 Forbidden", "Content-Length: 2")+"no")
				c.send(t, strings.Repeat("x", 100<<10))
				if body, err := io.ReadAll(c.answer(t).Body); string(body) != "no" || err != nil {
					t.Errorf("body %q, %v; want no", body, err)
				}
				c.wantEnd(t)
			},
			"close": func(c *wire) {
				c.send(t, request("/"))
				b := backend.accept(t)
				b.send(t, switching())
				c.wantOpen(t)
				b.send(t, b.closeFrame(4001, ""))
				c.wantClose(t, 4001)
				c.send(t, c.closeFrame(4001, "")+strings.Repeat("x", 100<<10))
				c.wantEnd(t)
			},
		} {
			t.Run(name, func(t *testing.T) { answer(dial(t, g.listeners["public"])) })
		}
	})
}

func TestAClientLostWhileItsBackendIsAskedGivesThePlaceBack(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, on func(string) string) {
		backend := listenRaw(t)
		g := runGateway(t, on(tuned(backend, "")))
		c := dial(t, g.listeners["public"])
		c.send(t, request("/"))
		b := backend.accept(t)
		_ = c.Close()
		b.mayWait()
		// Not wantGone: the end has to come before the backend says anything.
		if _, err := io.Copy(io.Discard, b.reader); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the gateway keeps asking: %v", err)
		}
		eventually(t, patience, "no session at the backend", func() bool { return g.count(t, "sluice_backend_sessions") == 0 })
	})
}

func TestWhileTheGatewayStopsAClientsLastWordsPass(t *testing.T) {
	t.Parallel()
	eachDriver(t, func(t *testing.T, on func(string) string) {
		backend := listenRaw(t)
		g := runGateway(t, on(tuned(backend, "")))
		c, b := open(t, g, backend, "/")
		// The close waits for the end of the message.
		b.send(t, "\x01\x02in")
		c.nextFrame(t)
		g.signal(t, syscall.SIGTERM)
		eventually(t, patience, "new connections are refused", g.refusesConnections)
		b.send(t, "\x80\x03out")
		c.nextFrame(t)
		c.wantClose(t, 1012)
		b.send(t, b.frame(ws.OpText, "dropped"))
		c.send(t, c.frame(ws.OpText, "last words")+c.closeFrame(1012, ""))
		b.wantFrame(t, ws.OpText, "last words")
		b.wantClose(t, 1012)
		c.wantEnd(t)
		b.wantGone(t)
		if code := g.exitCode(t, patience); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
	})
}
