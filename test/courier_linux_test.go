package test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// A courier sends messages of random sizes, 0 to 1 MiB, in random fragments with pings among them, through an echo backend, and compares sums
// of all bytes that go and come. It reads and writes at its own paces: now and then it reads nothing for a while, and what it writes leaves it
// in pieces, in the middle of frames and of TLS records. newCourier starts it.
type courier struct {
	name      uint64        // seeds its dice
	mostPause time.Duration // between messages
	isIdle    bool          // it sends one message only, when it is told to stop
	stopped   <-chan struct{}

	conn       net.Conn
	reader     *bufio.Reader
	writing    sync.Mutex // for a frame
	sent, got  hash.Hash64
	sentBytes  int64
	gotBytes   atomic.Int64
	pings      atomic.Uint64 // sent so far; each carries its number
	pongs      atomic.Uint64 // the number of the last pong
	wrote      chan struct{} // closed when all is sent
	read       chan struct{} // closed when the reader has ended
	writeError error
	readError  error
}

// newCourier opens a session for a courier.
func newCourier(t *testing.T, url string, c *courier) *courier {
	t.Helper()
	dialer := ws.Dialer{Timeout: upgradePatience, TLSConfig: &tls.Config{InsecureSkipVerify: true}}
	dialer.NetDial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return &tornConn{Conn: conn, dice: newDice(c.name, 3)}, err
	}
	conn, early, _, err := dialer.Dial(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c.conn, c.reader, c.sent, c.got, c.wrote, c.read = conn, early, fnv.New64a(), fnv.New64a(), make(chan struct{}), make(chan struct{})
	if early == nil {
		c.reader = bufio.NewReader(conn)
	}
	go c.write(newDice(c.name, 1))
	go c.listen(newDice(c.name, 2))
	return c
}

// A tornConn writes some of what it is given in two pieces, with a pause between them.
type tornConn struct {
	net.Conn
	dice dice // guarded by the writer's lock
}

func (c *tornConn) Write(p []byte) (int, error) {
	if len(p) < 2 || !c.dice.oneIn(10) {
		return c.Conn.Write(p)
	}
	at := c.dice.between(1, len(p)-1)
	n, err := c.Conn.Write(p[:at])
	if err != nil {
		return n, err
	}
	time.Sleep(c.dice.within(30 * time.Millisecond))
	n, err = c.Conn.Write(p[at:])
	return at + n, err
}

func (c *courier) write(dice dice) {
	defer close(c.wrote)
	if c.isIdle {
		<-c.stopped
		c.writeError = c.send(dice, []byte("at last"))
		return
	}
	random := rand.NewChaCha8([32]byte{byte(c.name)})
	for !isClosed(c.stopped) {
		payload := make([]byte, dice.IntN(1+1<<dice.IntN(21)))
		_, _ = random.Read(payload)
		if c.writeError = c.send(dice, payload); c.writeError != nil {
			return
		}
		select {
		case <-time.After(dice.within(c.mostPause)):
		case <-c.stopped:
		}
	}
}

// send sends a message, and a last ping after it.
func (c *courier) send(dice dice, payload []byte) error {
	_, _ = c.sent.Write(payload)
	c.sentBytes += int64(len(payload))
	opcode := ws.OpBinary
	for isLast := false; !isLast; opcode = ws.OpContinuation {
		part := payload
		if dice.oneIn(2) {
			part = payload[:dice.IntN(len(payload)+1)]
		}
		payload = payload[len(part):]
		isLast = len(payload) == 0 && dice.oneIn(2)
		if err := c.writeFrame(ws.MaskFrameInPlace(ws.NewFrame(opcode, isLast, part))); err != nil {
			return err
		}
		if isLast || dice.oneIn(4) {
			ping := binary.BigEndian.AppendUint64(nil, c.pings.Add(1))
			if err := c.writeFrame(ws.MaskFrameInPlace(ws.NewPingFrame(ping))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *courier) writeFrame(f ws.Frame) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return ws.WriteFrame(c.conn, f)
}

// listen reads until the connection is closed.
func (c *courier) listen(dice dice) {
	defer close(c.read)
	buf := make([]byte, 16<<10)
	for {
		if err := c.listenFrame(dice, buf); err != nil {
			c.readError = err
			return
		}
	}
}

func (c *courier) listenFrame(dice dice, buf []byte) error {
	header, err := ws.ReadHeader(c.reader)
	if err != nil {
		return err
	}
	if header.OpCode.IsControl() {
		payload := make([]byte, header.Length)
		if _, err := io.ReadFull(c.reader, payload); err != nil {
			return err
		}
		return c.control(header.OpCode, payload)
	}
	if header.OpCode != ws.OpBinary && header.OpCode != ws.OpContinuation {
		return fmt.Errorf("opcode %v", header.OpCode)
	}
	for left := header.Length; left > 0; {
		n, err := c.reader.Read(buf[:min(left, int64(len(buf)))])
		if err != nil {
			return err
		}
		_, _ = c.got.Write(buf[:n])
		c.gotBytes.Add(int64(n))
		left -= int64(n)
		if dice.oneIn(50) {
			time.Sleep(20 * time.Millisecond)
		}
		if dice.oneIn(1000) {
			time.Sleep(time.Second)
		}
	}
	return nil
}

// control answers pings, and checks that pongs are answers to pings, in order.
func (c *courier) control(opcode ws.OpCode, payload []byte) error {
	switch opcode {
	case ws.OpPing:
		go func() { _ = c.writeFrame(ws.MaskFrameInPlace(ws.NewPongFrame(payload))) }() // the writer may wait for this reader
		return nil
	case ws.OpPong:
		if len(payload) != 8 {
			return fmt.Errorf("pong of %d bytes", len(payload))
		}
		n := binary.BigEndian.Uint64(payload)
		if before := c.pongs.Swap(n); n <= before || n > c.pings.Load() {
			return fmt.Errorf("pong %d after pong %d and %d pings", n, before, c.pings.Load())
		}
		return nil
	default:
		code, reason := ws.ParseCloseFrameData(bytes.Clone(payload))
		return fmt.Errorf("opcode %v, code %d %q", opcode, code, reason)
	}
}

// wantWhole waits until all that was sent has come back, and compares. The courier must have been told to stop.
func (c *courier) wantWhole(t *testing.T, what string) {
	t.Helper()
	eventually(t, 5*upgradePatience, what+": all that was sent has come back", func() bool {
		if isClosed(c.read) {
			t.Fatalf("%s: after %d bytes: %v", what, c.gotBytes.Load(), c.readError)
		}
		if !isClosed(c.wrote) {
			return false
		}
		if c.writeError != nil {
			t.Fatalf("%s: after %d bytes: %v", what, c.sentBytes, c.writeError)
		}
		return c.gotBytes.Load() >= c.sentBytes && c.pongs.Load() == c.pings.Load()
	})
	_ = c.conn.Close()
	<-c.read
	if c.gotBytes.Load() != c.sentBytes || c.sent.Sum64() != c.got.Sum64() {
		t.Errorf("%s: %d bytes of sum %x have come back, want %d of sum %x", what, c.gotBytes.Load(), c.got.Sum64(), c.sentBytes, c.sent.Sum64())
	}
}
