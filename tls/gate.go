package tls

import (
	"context"
	"errors"
	"io"
	"net"

	"sluice/internal/netconn"
)

// errBusy ends a handshake whose turn to compute didn't come in time.
var errBusy = errors.New("waited in vain for other handshakes")

// A gate is the connection below a handshake. It releases the handshake's slot while the handshake waits for its client, and acquires one
// again after each read. So clients that begin a handshake and fall silent hold no slot, and no more handshakes compute than there are
// slots. A client that has gone by the time of its slot costs no computation. After the handshake the gate only passes bytes on.
//
// Owned by the goroutine of the handshake, then by the reader of the connection.
type gate struct {
	net.Conn
	shake *handshake // nil after the handshake
}

// A handshake is what a gate knows while there is one.
type handshake struct {
	ctx     context.Context
	slots   chan struct{}
	hasSlot bool
	isBusy  bool // its turn did not come

	isAnswered bool // something was sent to the client
}

// NetConn returns the connection that the handshake was given, as (*tls.Conn).NetConn does for the
// layer above.
func (g *gate) NetConn() net.Conn { return g.Conn }

// Read reads without a slot, and returns with one as long as the handshake lasts.
func (g *gate) Read(p []byte) (int, error) {
	if g.shake == nil {
		return g.Conn.Read(p)
	}
	g.shake.release()
	n, err := g.Conn.Read(p)
	if err != nil {
		return n, err
	}
	if err := g.shake.acquire(); err != nil {
		return n, err
	}
	// A client that has ended its stream can't complete a handshake to which it has no answer yet. Later what it sent may be an alert.
	if !g.shake.isAnswered && netconn.IsHungUp(g.Conn) {
		return n, io.ErrUnexpectedEOF
	}
	return n, nil
}

// Write notes that the client gets an answer.
func (g *gate) Write(p []byte) (int, error) {
	if g.shake != nil {
		g.shake.isAnswered = true
	}
	return g.Conn.Write(p)
}

// open ends the handshake, and says whether its turn did not come.
func (g *gate) open() (isBusy bool) {
	isBusy = g.shake.isBusy
	g.shake.release()
	g.shake = nil
	return isBusy
}

func (h *handshake) acquire() error {
	select {
	case h.slots <- struct{}{}:
		h.hasSlot = true
		return nil
	default:
	}
	select {
	case h.slots <- struct{}{}:
		h.hasSlot = true
		return nil
	case <-h.ctx.Done():
		h.isBusy = true
		return errBusy
	}
}

func (h *handshake) release() {
	if h.hasSlot {
		h.hasSlot = false
		<-h.slots
	}
}
