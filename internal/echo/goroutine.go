package echo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// connBuffer is the size of a connection's read buffer. It must hold a head and the bytes carried with it.
const connBuffer = 32 << 10

// serveConns runs one goroutine per connection, and a second one to push.
func (s *server) serveConns(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for {
		c, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = c.Close()
			}
			return nil
		case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ECONNABORTED):
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
			}
		case err != nil:
			return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
		default:
			b := &blocking{conn: conn{server: s}, socket: c}
			wg.Go(func() { b.run(ctx) })
		}
	}
}

// blocking is a connection of the goroutine engine.
type blocking struct {
	socket net.Conn

	mu   sync.Mutex // held for whole frames of output
	conn            // guarded by mu
}

func (b *blocking) run(ctx context.Context) {
	defer b.socket.Close()
	defer context.AfterFunc(ctx, b.goAway)()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer b.socket.Close() // ends the pushing goroutine
	buf := make([]byte, connBuffer)
	_ = b.socket.SetReadDeadline(time.Now().Add(headTimeout))
	for at := phaseHead; at < phaseEnded; {
		b.mu.Lock()
		carried := copy(buf, b.carry)
		b.mu.Unlock()
		n, err := b.socket.Read(buf[carried:])
		if err != nil {
			return
		}
		now, err := b.answer(buf[:carried+n])
		if err != nil {
			return
		}
		if at == phaseHead && now == phaseOpen {
			_ = b.socket.SetReadDeadline(time.Time{})
			if b.push != nil {
				wg.Go(b.pushAll)
			}
		}
		at = now
	}
	wg.Wait() // the pushing goroutine ends with a whole frame
	b.linger()
}

// answer handles what was read and sends the answer to it.
func (b *blocking) answer(p []byte) (phase, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase >= phaseEnded { // by the pushing goroutine
		return b.phase, nil
	}
	b.carry = nil
	_, err := b.socket.Write(b.receive(p))
	return b.phase, err
}

// pushAll sends the stream of /push, frame by frame, while the connection is open.
func (b *blocking) pushAll() {
	for b.pushFrames() {
	}
}

func (b *blocking) pushFrames() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase != phaseOpen {
		return false
	}
	if b.push.isDone() {
		_, _ = b.socket.Write(b.end(nil, 1000))
		// The reading goroutine sees the phase when the peer's close comes.
		_ = b.socket.SetReadDeadline(time.Now().Add(lingerTimeout))
		return false
	}
	for {
		n, err := b.socket.Write(b.push.next())
		b.push.advance(n)
		if err != nil {
			b.phase = phaseCut
			return false
		}
		if b.push.boundary() == 0 {
			return true
		}
	}
}

// goAway sends a close with 1001, if the peer accepts it at once, and ends the connection.
func (b *blocking) goAway() {
	// A write that waits for the peer holds mu; the deadline makes it fail at once.
	_ = b.socket.SetWriteDeadline(time.Now())
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase == phaseOpen && !b.inFrame && (b.push == nil || b.push.boundary() == 0) {
		_ = b.socket.SetWriteDeadline(time.Now().Add(lingerTimeout))
		_, _ = b.socket.Write(b.end(nil, 1001))
	}
	_ = b.socket.Close()
}

// linger ends this side and gives the peer time to read the last bytes, since a close with unread input is a reset.
func (b *blocking) linger() {
	if b.phase == phaseCut {
		return
	}
	c, ok := b.socket.(interface{ CloseWrite() error })
	if !ok || c.CloseWrite() != nil {
		return
	}
	_ = b.socket.SetReadDeadline(time.Now().Add(lingerTimeout))
	_, _ = io.CopyN(io.Discard, b.socket, maxLingerBytes)
}
