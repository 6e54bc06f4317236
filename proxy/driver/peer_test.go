package driver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"sluice/proxy/relay"
)

const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa

	isFin = 0x80
)

// patience is how long a test waits for what has to come.
const patience = 20 * time.Second

// A peer is a client or a backend as a test plays it.
type peer struct {
	testing.TB
	side relay.Side
	conn net.Conn
}

// maskingKey is every client's.
var maskingKey = [4]byte{0xde, 0xad, 0xbe, 0xef}

// header builds a header that this peer may send: a client's has a masking key. first: FIN and opcode; n: bytes of payload.
func (p *peer) header(first byte, n int) []byte {
	b := []byte{first}
	mask := byte(0)
	if p.side == relay.Client {
		mask = 0x80
	}
	switch {
	case n < 126:
		b = append(b, mask|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, mask|127), uint64(n))
	}
	if mask != 0 {
		b = append(b, maskingKey[:]...)
	}
	return b
}

// frame builds a frame that this peer may send.
func (p *peer) frame(first byte, payload []byte) []byte {
	b := p.header(first, len(payload))
	start := len(b)
	b = append(b, payload...)
	if p.side == relay.Client {
		ws.Cipher(b[start:], maskingKey, 0)
	}
	return b
}

func (p *peer) text(s string) []byte { return p.frame(isFin|opText, []byte(s)) }
func (p *peer) ping(s string) []byte { return p.frame(isFin|opPing, []byte(s)) }
func (p *peer) pong(s string) []byte { return p.frame(isFin|opPong, []byte(s)) }

// closing builds a close frame; code 0: without one.
func (p *peer) closing(code uint16, reason string) []byte {
	if code == 0 {
		return p.frame(isFin|opClose, nil)
	}
	return p.frame(isFin|opClose, append(binary.BigEndian.AppendUint16(nil, code), reason...))
}

// write sends bytes; the whole of them has to be taken.
func (p *peer) write(parts ...[]byte) {
	p.Helper()
	_ = p.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := p.conn.Write(bytes.Join(parts, nil)); err != nil {
		p.Fatalf("%s writes: %v", p.side, err)
	}
}

// writeAll sends bytes from a goroutine of its own, as far as they are taken; done is closed at the end.
func (p *peer) writeAll(b []byte) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		_, _ = p.conn.Write(b)
	}()
	return done
}

// read returns the next n bytes.
func (p *peer) read(n int) []byte {
	p.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, n)
	if k, err := io.ReadFull(p.conn, b); err != nil {
		p.Fatalf("%s reads %d bytes: %v after %d: %.64x", p.side, n, err, k, b[:k])
	}
	return b
}

// want reads exactly these bytes.
func (p *peer) want(what string, b []byte) {
	p.Helper()
	if got := p.read(len(b)); !bytes.Equal(got, b) {
		p.Fatalf("%s: %s got %.64x; want %.64x", what, p.side, got, b)
	}
}

// readFrame reads a frame from the gateway and unmasks it.
func (p *peer) readFrame() (first byte, payload []byte) {
	p.Helper()
	h := p.read(2)
	n := int(h[1] & 0x7f)
	switch n {
	case 126:
		n = int(binary.BigEndian.Uint16(p.read(2)))
	case 127:
		n = int(binary.BigEndian.Uint64(p.read(8)))
	}
	isMasked := h[1]&0x80 != 0
	if isMasked != (p.side == relay.Backend) {
		p.Fatalf("%s got a frame with the mask bit %v", p.side, isMasked)
	}
	if !isMasked {
		return h[0], p.read(n)
	}
	key := [4]byte(p.read(4))
	payload = p.read(n)
	ws.Cipher(payload, key, 0)
	return h[0], payload
}

func (p *peer) wantFrame(what string, first byte, payload string) {
	p.Helper()
	if gotFirst, got := p.readFrame(); gotFirst != first || string(got) != payload {
		p.Fatalf("%s: %s got %x %.64q; want %x %.64q", what, p.side, gotFirst, got, first, payload)
	}
}

// wantClose reads a close frame; code 0: without one. The reason isn't looked at if it is "*".
func (p *peer) wantClose(what string, code uint16, reason string) {
	p.Helper()
	first, payload := p.readFrame()
	if first != isFin|opClose {
		p.Fatalf("%s: %s got %x %.64q; want a close", what, p.side, first, payload)
	}
	if code == 0 && len(payload) == 0 {
		return
	}
	if len(payload) < 2 || binary.BigEndian.Uint16(payload) != code || reason != "*" && string(payload[2:]) != reason {
		p.Fatalf("%s: %s got close %q; want %d %q", what, p.side, payload, code, reason)
	}
}

// wantEnd reads the end of the stream, with nothing in front of it.
func (p *peer) wantEnd(what string) {
	p.Helper()
	if n, err := p.readOn(); n > 0 || err != io.EOF {
		p.Fatalf("%s: %s got %d bytes, then %v; want the end of the stream", what, p.side, n, err)
	}
}

// wantCut reads the end of the stream or a reset, with nothing in front of it: Unix sockets know no reset of their own.
func (p *peer) wantCut(what string) {
	p.Helper()
	if n, err := p.readOn(); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		p.Fatalf("%s: %s got %d bytes, then %v; want a cut", what, p.side, n, err)
	}
}

// readOn reads until the stream ends in one way or the other.
func (p *peer) readOn() (n int, err error) {
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 32<<10)
	for {
		k, err := p.conn.Read(b)
		n += k
		if err != nil {
			return n, err
		}
	}
}

func isReset(err error) bool { return errors.Is(err, syscall.ECONNRESET) }

// shut ends the peer's stream and leaves the other direction open.
func (p *peer) shut() { _ = p.conn.(interface{ CloseWrite() error }).CloseWrite() }

// close ends both directions.
func (p *peer) close() { _ = p.conn.Close() }

// reset cuts the connection; where there is no such thing (a Unix socket) it is a close.
func (p *peer) reset() {
	if c, ok := p.conn.(interface{ SetLinger(int) error }); ok {
		_ = c.SetLinger(0)
	}
	_ = p.conn.Close()
}
