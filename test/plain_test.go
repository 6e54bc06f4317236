//go:build unix

package test

import (
	"io"
	"testing"

	"github.com/gobwas/ws"
)

const plainAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nplain"

// wantPlain reads the whole of plainAnswer.
func (w *wire) wantPlain(t *testing.T) {
	t.Helper()
	response := w.answer(t)
	if body, err := io.ReadAll(response.Body); response.StatusCode != 200 || string(body) != "plain" || err != nil {
		t.Fatalf("status %d, %q, %v; want 200 and plain", response.StatusCode, body, err)
	}
}

func TestAnotherUpgradeIsAPlainRequestWithoutIt(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	g := runGateway(t, tuned(backend, ""))
	h2c := head("GET / HTTP/1.1", "Host: gateway.test", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")

	c := dial(t, g.listeners["public"])
	c.send(t, h2c)
	b := backend.accept(t)
	for _, name := range []string{"Upgrade", "Http2-Settings"} {
		if got, isThere := b.request.Header[name]; isThere {
			t.Errorf("the backend is sent %s: %q", name, got)
		}
	}
	b.send(t, plainAnswer)
	c.wantPlain(t)

	// No bytes are ever passed unread.
	c = dial(t, g.listeners["public"])
	c.send(t, h2c)
	b = backend.accept(t)
	b.send(t, head("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: h2c")+"PRI * HTTP/2.0")
	if response := c.answer(t); response.StatusCode != 502 {
		t.Errorf("status %d, want 502", response.StatusCode)
	}
	b.wantGone(t)
}

func TestAWebSocketRequestBehindPlainOnesIsTakenOver(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	g := runGateway(t, tuned(backend, ""))
	plain := head("GET / HTTP/1.1", "Host: gateway.test")

	c := dial(t, g.listeners["public"])
	for range 2 {
		c.send(t, plain)
		backend.accept(t).send(t, plainAnswer)
		c.wantPlain(t)
	}
	c.send(t, request("/")+c.frame(ws.OpText, "right behind"))
	b := backend.accept(t)
	b.send(t, switching())
	c.wantOpen(t)
	b.wantFrame(t, ws.OpText, "right behind")
	b.send(t, b.frame(ws.OpText, "answer"))
	c.wantFrame(t, ws.OpText, "answer")

	// The same strict checks as for a first request.
	c = dial(t, g.listeners["public"])
	c.send(t, plain)
	backend.accept(t).send(t, plainAnswer)
	c.wantPlain(t)
	c.send(t, request("/", "Sec-WebSocket-Key: "+sampleKey))
	c.wantRefusal(t, 400)
}
