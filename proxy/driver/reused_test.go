package driver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"sluice/proxy/relay"
)

// A reused is a session with payload that no other session sends, and with taps on the sockets of its peers.
type reused struct {
	*exchange
	testing.TB
	serial int
	isCut  bool       // a frame of side is never sent whole
	side   relay.Side // the one that acts where only one does
	taps   [2]*wiretap
	tls    security
}

// cutTimeout is the close timeout of sessions with a frame that is never sent whole: a drain waits for it twice.
const cutTimeout = 2 * time.Millisecond

// startReused begins a session; side is the one that acts where only one does.
func startReused(t *testing.T, d *tested, c security, isCut bool, side relay.Side) *reused {
	t.Helper()
	x := newReused(t, d, c, side)
	x.isCut = isCut
	config := relay.Config{CloseTimeout: time.Minute, WriteTimeout: time.Minute}
	if isCut {
		config.CloseTimeout = cutTimeout
	}
	x.exchange = join(t, d, x.tappedKind(), setup{config: config})
	if _, isLive := x.handle.Stats(); !isLive { // Stats waits until the session has its slot
		t.Fatal("the session is over before it began")
	}
	return x
}

// startStalled begins a session whose client's socket takes few bytes, so that the others wait in the driver.
func startStalled(t *testing.T, d *tested, c security) *reused {
	t.Helper()
	x := newReused(t, d, c, relay.Client)
	config := relay.Config{CloseTimeout: time.Minute, WriteTimeout: time.Minute}
	x.exchange = join(t, d, x.tappedKind(), setup{config: config, isSmall: [2]bool{relay.Client: true}})
	return x
}

func newReused(t *testing.T, d *tested, c security, side relay.Side) *reused {
	return &reused{TB: t, serial: len(d.owners), side: side, tls: c}
}

// tappedKind returns a kind for this session only, with taps on its peers' sockets.
func (x *reused) tappedKind() *kind {
	side := relay.Client // the client's pair is made first
	return &kind{tls: x.tls, pair: func(t testing.TB, small bool) (peer, gateway net.Conn) {
		peer, gateway = tcpPair(t, small)
		x.taps[side] = &wiretap{Conn: peer, isKept: x.tls.of(side) != 0}
		side++
		return x.taps[side-1], gateway
	}}
}

const (
	largeFrame = 300 << 10
	firstPart  = 1000     // of a large frame: the header is in it, so a loop can move the rest
	lastPart   = 25 << 10 // of a large frame: a loop moves it in one call, and reads nothing of the frame's end
)

// smallFrames are the payload lengths of what sendSmall sends each way.
var smallFrames = []int{0, 16, 4000}

func (x *reused) sendSmall() {
	for _, n := range smallFrames {
		for side := relay.Client; side <= relay.Backend; side++ {
			p, other := x.peers(side)
			f := x.frame(p, n)
			p.write(f)
			other.want("a small frame", f)
		}
	}
}

// sendLarge sends large frames both ways at the same time.
func (x *reused) sendLarge() {
	fromClient, fromBackend := x.frame(x.client, largeFrame), x.frame(x.backend, largeFrame)
	done := x.client.writeAll(fromClient)
	doneToo := x.backend.writeAll(fromBackend)
	x.backend.want("a large frame", fromClient)
	x.client.want("a large frame", fromBackend)
	<-done
	<-doneToo
}

// sendStaged sends a large frame each way, in parts: the loop moves all but the first one.
func (x *reused) sendStaged() {
	for side := relay.Client; side <= relay.Backend; side++ {
		p, _ := x.peers(side)
		f := x.frame(p, largeFrame)
		x.staged(side, f, firstPart, len(f)-lastPart, len(f))
	}
}

// sendPart sends small frames, and the beginning of a large one.
func (x *reused) sendPart() {
	x.sendSmall()
	p, _ := x.peers(x.side)
	x.staged(x.side, x.frame(p, largeFrame), firstPart, largeFrame/2)
}

// staged sends the parts of a frame up to each end; the other side receives one before the next is sent.
func (x *reused) staged(side relay.Side, f []byte, ends ...int) {
	p, other := x.peers(side)
	at := 0
	for _, end := range ends {
		done := p.writeAll(f[at:end])
		other.want("part of a large frame", f[at:end])
		<-done
		at = end
	}
}

// endByClose has a side send a close. The other side answers it, unless it has begun a frame that it never completes.
func (x *reused) endByClose() {
	p, other := x.peers(x.side)
	if x.isCut {
		p, other = other, p
	}
	p.write(p.closing(1000, "bye"))
	other.wantClose("the close", 1000, "bye")
	if !x.isCut {
		other.write(other.closing(1000, "bye"))
		p.wantClose("the answer", 1000, "bye")
	}
	x.seeToTheEnd()
}

func (x *reused) endByEOF() {
	p, other := x.peers(x.side)
	p.shut()
	x.answerClose(other)
	x.seeToTheEnd()
}

func (x *reused) endByReset() {
	p, other := x.peers(x.side)
	p.reset()
	x.answerClose(other)
	x.seeToTheEnd()
}

func (x *reused) endByDrain() {
	x.handle.CloseBoth(1012, relay.ReasonDrain)
	if !x.isCut {
		x.answerClose(x.client)
		x.answerClose(x.backend)
	}
	x.seeToTheEnd()
}

// answerClose has a peer answer the close that the gateway sends, which it can't inside a frame.
func (x *reused) answerClose(p *peer) {
	if x.isCut {
		return
	}
	first, payload := p.readFrame()
	if first != isFin|opClose || len(payload) < 2 {
		x.Fatalf("the %s got %x %.64q; want a close", p.side, first, payload)
	}
	p.write(p.closing(binary.BigEndian.Uint16(payload), ""))
}

// seeToTheEnd has both peers read until their streams end, and close.
func (x *reused) seeToTheEnd() {
	_, _ = x.client.readOn()
	x.client.close()
	x.backend.shut()
	_, _ = x.backend.readOn()
	x.backend.close()
}

// wantEnded waits for the session's end, and checks that the driver told the owner once and holds no bytes.
func (x *reused) wantEnded() Result {
	x.Helper()
	result := x.wantResult(x.TB)
	if n := x.count.Load(); n != 1 {
		x.Errorf("SessionEnded was called %d times; want 1", n)
	}
	if n := x.driver.QueuedBytes(); n != 0 {
		x.Errorf("QueuedBytes = %d after the session; want 0", n)
	}
	return result
}

// inClear begins each 16 bytes of payload.
var inClear = []byte("in clear")

// frame builds a frame whose payload names the session and, each 16 bytes, the place in it.
func (x *reused) frame(p *peer, n int) []byte {
	payload := make([]byte, 0, n+16)
	for i := 0; len(payload) < n; i++ {
		payload = binary.BigEndian.AppendUint32(append(payload, inClear...), uint32(x.serial))
		payload = binary.BigEndian.AppendUint32(payload, uint32(i))
	}
	return p.frame(isFin|opBinary, payload[:n])
}

// checkTaps checks that the peers with TLS received only records, and no payload in clear text.
func (x *reused) checkTaps() {
	x.Helper()
	masked := bytes.Clone(inClear)
	ws.Cipher(masked, maskingKey, 0)
	for side := relay.Client; side <= relay.Backend; side++ {
		if x.tls.of(side) == 0 {
			continue
		}
		raw := x.taps[side].got
		if n := bytes.Count(raw, inClear) + bytes.Count(raw, masked); n > 0 {
			x.Errorf("payload went to the %s in clear text, %d pieces of 16 bytes", side, n)
		}
		if err := checkRecords(raw); err != nil && !(x.isCut && errors.Is(err, io.ErrUnexpectedEOF)) {
			x.Errorf("the %s got: %v", side, err)
		}
	}
}

// checkRecords checks that a stream consists of records of TLS; the error is io.ErrUnexpectedEOF if only the last one isn't whole.
func checkRecords(raw []byte) error {
	for at := 0; at < len(raw); {
		h := raw[at:]
		if len(h) < recordHeader {
			return io.ErrUnexpectedEOF
		}
		// Content types and versions of RFC 8446 section 5.1 and RFC 5246 section 6.2.1.
		size := recordHeader + int(binary.BigEndian.Uint16(h[3:]))
		if h[0] < 20 || h[0] > 23 || h[1] != 3 || h[2] < 1 || h[2] > 3 || size == recordHeader || size > maxRecordBytes {
			return fmt.Errorf("no record of TLS at byte %d of %d: %.16x", at, len(raw), h)
		}
		if size > len(h) {
			return io.ErrUnexpectedEOF
		}
		at += size
	}
	return nil
}

// wirePiece is how many bytes a wiretap writes at a time, if isInPieces.
const wirePiece = 1500

// A wiretap is the socket of a peer, below its TLS. It keeps what the peer receives. Only one goroutine reads it.
type wiretap struct {
	net.Conn
	isKept     bool
	got        []byte
	isInPieces bool // writes go in pieces
}

func (c *wiretap) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.isKept {
		c.got = append(c.got, p[:n]...)
	}
	return n, err
}

func (c *wiretap) Write(p []byte) (n int, err error) {
	for c.isInPieces && len(p) > wirePiece {
		k, err := c.Conn.Write(p[:wirePiece])
		if n += k; err != nil {
			return n, err
		}
		p = p[k:]
		time.Sleep(50 * time.Microsecond) // so that they arrive one by one, mostly
	}
	k, err := c.Conn.Write(p)
	return n + k, err
}

// CloseWrite and SetLinger are the socket's.
func (c *wiretap) CloseWrite() error           { return c.Conn.(*net.TCPConn).CloseWrite() }
func (c *wiretap) SetLinger(seconds int) error { return c.Conn.(*net.TCPConn).SetLinger(seconds) }
