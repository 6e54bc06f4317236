package driver

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// memoryBytes is how much a memory connection holds each way before a write blocks.
const memoryBytes = 64 << 10

// A memory connection is a stream that is no socket, as an HTTP/2 stream is none. It waits by sync.Cond alone, so that in a
// bubble of testing/synctest the clock goes on while it blocks. Unlike net.Pipe it buffers, half-closes and resets.
type memory struct {
	in, out *flow
}

// A flow is one direction.
type flow struct {
	mu   sync.Mutex
	cond sync.Cond

	// Guarded by mu.
	b        []byte
	isEnded  bool      // by its writer
	isReset  bool      // by either
	isClosed [2]bool   // reading and writing end
	until    [2]bool   // the deadline of that end has passed
	timer    [2]*timer // that will make it pass
}

type timer = time.Timer

const (
	readingEnd = iota
	writingEnd
)

func memoryPair() (a, b net.Conn) {
	x, y := &flow{}, &flow{}
	x.cond.L, y.cond.L = &x.mu, &y.mu
	return &memory{x, y}, &memory{y, x}
}

func (m *memory) Read(p []byte) (int, error) {
	f := m.in
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		switch {
		case f.isClosed[readingEnd]:
			return 0, net.ErrClosed
		case len(f.b) > 0:
			n := copy(p, f.b)
			f.b = f.b[n:]
			f.cond.Broadcast()
			return n, nil
		case f.isReset:
			return 0, syscall.ECONNRESET
		case f.isEnded:
			return 0, io.EOF
		case f.until[readingEnd]:
			return 0, os.ErrDeadlineExceeded
		}
		f.cond.Wait()
	}
}

func (m *memory) Write(p []byte) (n int, err error) {
	f := m.out
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(p) > 0 {
		switch {
		case f.isClosed[writingEnd]:
			return n, net.ErrClosed
		case f.isReset || f.isEnded || f.isClosed[readingEnd]:
			return n, syscall.EPIPE
		case f.until[writingEnd]:
			return n, os.ErrDeadlineExceeded
		}
		if k := min(len(p), memoryBytes-len(f.b)); k > 0 {
			f.b = append(f.b, p[:k]...)
			n += k
			p = p[k:]
			f.cond.Broadcast()
			continue
		}
		f.cond.Wait()
	}
	return n, nil
}

// Close resets the stream if bytes of the peer were not read, as TCP does.
func (m *memory) Close() error {
	m.in.change(func(f *flow) {
		f.isReset = f.isReset || len(f.b) > 0
		f.isClosed[readingEnd] = true
	})
	m.out.change(func(f *flow) { f.isEnded, f.isClosed[writingEnd] = true, true })
	return nil
}

func (m *memory) CloseWrite() error {
	m.out.change(func(f *flow) { f.isEnded = true })
	return nil
}

// SetLinger resets the stream at once, as the Close that follows does in a socket.
func (m *memory) SetLinger(int) error {
	m.in.change(func(f *flow) { f.isReset = true })
	m.out.change(func(f *flow) { f.isReset = true })
	return nil
}

func (f *flow) change(how func(*flow)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	how(f)
	f.cond.Broadcast()
}

func (m *memory) SetReadDeadline(t time.Time) error  { m.in.setDeadline(readingEnd, t); return nil }
func (m *memory) SetWriteDeadline(t time.Time) error { m.out.setDeadline(writingEnd, t); return nil }

func (m *memory) SetDeadline(t time.Time) error {
	_ = m.SetReadDeadline(t)
	return m.SetWriteDeadline(t)
}

func (f *flow) setDeadline(end int, t time.Time) {
	f.change(func(f *flow) {
		if f.timer[end] != nil {
			f.timer[end].Stop()
		}
		f.until[end] = false
		if !t.IsZero() {
			f.timer[end] = time.AfterFunc(time.Until(t), func() {
				f.change(func(f *flow) { f.until[end] = true })
			})
		}
	})
}

func (m *memory) LocalAddr() net.Addr  { return &net.UnixAddr{Name: "memory", Net: "unix"} }
func (m *memory) RemoteAddr() net.Addr { return m.LocalAddr() }
