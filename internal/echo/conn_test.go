package echo

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
)

func TestEchoOfSmallFramesDoesNotAllocate(t *testing.T) {
	c := conn{server: &server{}, phase: phaseOpen}
	frames := bytes.Repeat(ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte("sixteen bytes...")))), 16)
	buf := make([]byte, 4096)
	allocs := testing.AllocsPerRun(100, func() {
		n := copy(buf, frames)
		if got := len(c.receive(buf[:n])); got != n-16*4 {
			t.Errorf("the answer has %d bytes; want %d", got, n-16*4)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations; want 0", allocs)
	}
}

func TestIncompleteHeadIsCutAtItsTimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		client, backend := net.Pipe()
		ln := &oneConn{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
		ln.conns <- backend
		done := make(chan error, 1)
		go func() { done <- Serve(ctx, ln, Options{}) }()
		start := time.Now()
		if _, err := client.Write([]byte("GET / HTTP/1.1\r\n")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(client); err != nil || time.Since(start) != headTimeout {
			t.Errorf("the connection ended after %v with %v; want %v", time.Since(start), err, headTimeout)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
}

// oneConn is a listener of connections without a network.
type oneConn struct {
	net.Listener
	conns  chan net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

// FuzzReceive checks that the answer to any input is the same at any split, that it is frames that a client may get, and that it is no
// longer than the input and one close frame.
func FuzzReceive(f *testing.F) {
	f.Add(ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte("text")))), byte(1))
	f.Add(ws.MustCompileFrame(ws.MaskFrame(ws.NewPingFrame([]byte("ping")))), byte(3))
	f.Add(ws.MustCompileFrame(ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "x")))), byte(7))
	f.Add([]byte{0x01, 0x81, 1, 2, 3, 4, 0xe4 ^ 1, 0x80, 0x82, 0, 0, 0, 0, 0xb8, 0x96}, byte(2))
	f.Fuzz(func(t *testing.T, in []byte, step byte) {
		whole := conn{server: &server{}, phase: phaseOpen}
		want := bytes.Clone(whole.receive(bytes.Clone(in)))
		if len(want) > len(in)+4 {
			t.Errorf("%x is answered by %x", in, want)
		}
		split := conn{server: &server{}, phase: phaseOpen}
		var got []byte
		buf := make([]byte, len(in)+256)
		for rest := in; len(rest) > 0 && split.phase == phaseOpen; {
			n := min(int(step)+1, len(rest))
			carried := copy(buf, split.carry)
			split.carry = nil
			carried += copy(buf[carried:], rest[:n])
			rest = rest[n:]
			got = append(got, split.receive(buf[:carried])...)
			if len(split.carry) > maxCarried {
				t.Fatalf("%d bytes are carried", len(split.carry))
			}
		}
		// A text that turns bad inside a frame is cut where the frame was begun, else closed before it.
		if split.phase != phaseCut && !bytes.Equal(got, want) {
			t.Errorf("%x at steps of %d is answered by %x; whole by %x", in, int(step)+1, got, want)
		}
		for r := bytes.NewReader(want); r.Len() > 0; {
			h, err := ws.ReadHeader(r)
			if err != nil {
				break // the last frame is not whole in the input either
			}
			if err := ws.CheckHeader(ws.Header{Fin: h.Fin, Rsv: h.Rsv, OpCode: h.OpCode, Length: h.Length}, ws.StateClientSide|fragmented(h)); err != nil || h.Masked {
				t.Errorf("answer %x has a bad header %+v: %v", want, h, err)
			}
			_, _ = r.Seek(min(h.Length, int64(r.Len())), io.SeekCurrent)
		}
	})
}

// maxCarried is a close frame less a byte, the longest input that is carried.
const maxCarried = 6 + 125 - 1

func fragmented(h ws.Header) ws.State {
	if h.OpCode == ws.OpContinuation {
		return ws.StateFragmented
	}
	return 0
}
