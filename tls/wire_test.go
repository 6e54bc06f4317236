package tls

import (
	ctls "crypto/tls"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// A line is one direction of a connection in memory: it takes every write, and has no bound.
type line struct {
	mu   sync.Mutex
	some *sync.Cond

	data  []byte
	ended bool
	again bool // an empty line says "again" rather than block
}

func newLine() *line {
	l := &line{}
	l.some = sync.NewCond(&l.mu)
	return l
}

func (l *line) put(p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.data = append(l.data, p...)
	l.some.Broadcast()
}

// take returns what is on the line, and empties it.
func (l *line) take() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	data := l.data
	l.data = nil
	return data
}

func (l *line) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.some.Broadcast()
}

func (l *line) setAgain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.again = true
	l.some.Broadcast()
}

// errAgain is what the event loop's connections return when nothing is there.
var errAgain net.Error = again{}

type again struct{}

func (again) Error() string   { return "nothing there" }
func (again) Timeout() bool   { return false }
func (again) Temporary() bool { return true }

// An end is one side of a connection in memory.
type end struct {
	in, out  *line
	writeErr error // what Write fails with; nil: it takes everything
}

// newEnds returns the two sides of a connection that blocks until setAgain.
func newEnds() (a, b *end) {
	x, y := newLine(), newLine()
	return &end{in: x, out: y}, &end{in: y, out: x}
}

func (e *end) Read(p []byte) (int, error) {
	e.in.mu.Lock()
	defer e.in.mu.Unlock()
	for len(e.in.data) == 0 {
		switch {
		case e.in.ended:
			return 0, io.EOF
		case e.in.again:
			return 0, errAgain
		}
		e.in.some.Wait()
	}
	n := copy(p, e.in.data)
	if e.in.data = e.in.data[n:]; len(e.in.data) == 0 {
		e.in.data = nil // it would hold what was read
	}
	return n, nil
}

func (e *end) Write(p []byte) (int, error) {
	if e.writeErr != nil {
		return 0, e.writeErr
	}
	e.out.put(p)
	return len(p), nil
}

func (e *end) Close() error {
	e.in.end()
	e.out.end()
	return nil
}

func (e *end) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (e *end) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (e *end) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (e *end) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (e *end) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

// A pair is a TLS connection in memory, its handshake done.
type pair struct {
	server, client       *ctls.Conn
	serverEnd, clientEnd *end
}

// newPair shakes hands, in blocking mode, and then turns both sides to "again".
func newPair(t testing.TB, server, client *ctls.Config) *pair {
	t.Helper()
	p := &pair{}
	p.serverEnd, p.clientEnd = newEnds()
	p.server, p.client = ctls.Server(p.serverEnd, server), ctls.Client(p.clientEnd, client)
	failed := make(chan error, 1)
	go func() { failed <- p.client.Handshake() }()
	if err := p.server.Handshake(); err != nil {
		t.Fatalf("server's handshake: %v", err)
	}
	if err := <-failed; err != nil {
		t.Fatalf("client's handshake: %v", err)
	}
	p.serverEnd.in.setAgain()
	p.clientEnd.in.setAgain()
	return p
}
