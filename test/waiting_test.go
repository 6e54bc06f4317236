//go:build unix

package test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func TestABackendThatDoesNotAnswerInTimeIsToldAs504(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	g := runGateway(t, basics+fmt.Sprintf("[[route]]\npool = \"pool\"\nhandshake_timeout = \"300ms\"\n[[pool]]\nname = \"pool\"\nbackend = [{ address = %q }]\n", backend.Addr()))
	c := dial(t, g.listeners["public"])
	c.send(t, request("/"))
	b := backend.accept(t)
	c.wantRefusal(t, 504)
	b.wantGone(t)
}

func TestFramesSentBeforeThe101WaitForIt(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, on func(string) string) {
		backend := listenRaw(t)
		g := runGateway(t, on(tuned(backend, "")))
		c := dial(t, g.listeners["public"])
		long := strings.Repeat("x", 100<<10) // more than the gateway keeps
		sent := make(chan error, 1)
		go func() {
			_, err := io.WriteString(c, request("/")+c.frame(ws.OpText, "early")+c.frame(ws.OpBinary, long))
			sent <- err
		}()
		b := backend.accept(t)
		_ = b.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		var timeout net.Error
		if p, err := b.reader.Peek(1); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Fatalf("before its 101 the backend gets %q, %v; want nothing", p, err)
		}
		b.send(t, switching())
		c.wantOpen(t)
		b.wantFrame(t, ws.OpText, "early")
		b.wantFrame(t, ws.OpBinary, long)
		if err := <-sent; err != nil {
			t.Error(err)
		}
	})
}
