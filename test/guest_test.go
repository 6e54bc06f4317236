//go:build unix

package test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// isLong reports whether scenarios run at the size that the project promises for; else at one that
// fits into a run of all tests.
func isLong() bool { return os.Getenv("SLUICE_TEST_LONG") == "true" }

// sized returns how many sessions a scenario has.
func sized(long, short int) int {
	if isLong() {
		return long
	}
	return short
}

// A guest is a client that stays until somebody ends its session: it answers a close and goes.
type guest struct {
	conn    net.Conn
	backend string // as the 101 says; empty: it doesn't
	cookie  string // that the 101 sets, without its attributes
	ended   chan struct{}

	code ws.StatusCode // that ended the session; 0: none did. Written before ended is closed
}

// A refusal is an answer other than 101.
type refusal struct {
	status     int
	retryAfter string
	body       string
}

func (r *refusal) Error() string { return fmt.Sprintf("status %d, %q", r.status, r.body) }

// join opens a session from an address of loopback; nil: any. The error is a *refusal if there was an
// answer. It may be called by any goroutine.
func join(address string, from net.IP, path string, lines ...string) (*guest, error) {
	d := net.Dialer{Timeout: patience}
	if from != nil {
		d.LocalAddr = &net.TCPAddr{IP: from}
	}
	conn, err := d.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	g := &guest{conn: conn, ended: make(chan struct{})}
	_ = conn.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReaderSize(conn, 512)
	if _, err := io.WriteString(conn, request(path, lines...)); err != nil {
		_ = conn.Close()
		return nil, err
	}
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(response.Body)
		_ = conn.Close()
		return nil, &refusal{response.StatusCode, response.Header.Get("Retry-After"), string(bytes.TrimSpace(body))}
	}
	g.backend = response.Header.Get("X-Backend")
	if cookies := response.Cookies(); len(cookies) > 0 {
		g.cookie = cookies[0].Name + "=" + cookies[0].Value
	}
	_ = conn.SetDeadline(time.Time{})
	go g.stay(r)
	return g, nil
}

// stay reads until the session ends.
func (g *guest) stay(r io.Reader) {
	defer close(g.ended)
	defer g.conn.Close()
	for {
		f, err := readFrame(r)
		if err != nil {
			return
		}
		switch f.Header.OpCode {
		case ws.OpPing:
			_ = ws.WriteFrame(g.conn, ws.MaskFrame(ws.NewPongFrame(f.Payload)))
		case ws.OpClose:
			g.code, _ = ws.ParseCloseFrameData(f.Payload)
			_ = ws.WriteFrame(g.conn, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(g.code, ""))))
			return
		}
	}
}

// say sends a text.
func (g *guest) say(text string) error {
	return ws.WriteFrame(g.conn, ws.MaskFrame(ws.NewTextFrame([]byte(text))))
}

// leave closes the session and waits for its end.
func (g *guest) leave() {
	_ = g.conn.SetDeadline(time.Now().Add(patience))
	_ = ws.WriteFrame(g.conn, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))))
	<-g.ended
}

// hasEnded reports whether the session is over.
func (g *guest) hasEnded() bool {
	select {
	case <-g.ended:
		return true
	default:
		return false
	}
}

// invite opens a session, and ends it with the test.
func (g *gateway) invite(t *testing.T, from net.IP, path string, lines ...string) *guest {
	t.Helper()
	guest, err := join(g.listeners["public"], from, path, lines...)
	if err != nil {
		t.Fatalf("join %s: %v", path, err)
	}
	t.Cleanup(func() { _ = guest.conn.Close(); <-guest.ended })
	return guest
}

// inviteMany opens n sessions, 16 at a time.
func (g *gateway) inviteMany(t *testing.T, n int) []*guest {
	t.Helper()
	guests, errs := make([]*guest, n), make([]error, n)
	var joining sync.WaitGroup
	const atOnce = 16
	for first := range atOnce {
		joining.Go(func() {
			for i := first; i < n; i += atOnce {
				guests[i], errs[i] = join(g.listeners["public"], nil, "/")
			}
		})
	}
	joining.Wait()
	t.Cleanup(func() {
		for _, guest := range guests {
			if guest != nil {
				_ = guest.conn.Close()
				<-guest.ended
			}
		}
	})
	for i, err := range errs {
		if err != nil {
			t.Fatalf("session %d of %d: %v", i, n, err)
		}
	}
	return guests
}

// wantRefused opens no session: it is refused with that status.
func (g *gateway) wantRefused(t *testing.T, status int) *refusal {
	t.Helper()
	guest, err := join(g.listeners["public"], nil, "/")
	if err == nil {
		_ = guest.conn.Close()
	}
	r, isRefused := err.(*refusal)
	if !isRefused || r.status != status {
		t.Fatalf("a session that should be refused with %d: %v", status, err)
	}
	return r
}

// A stream is clients that come one after the other, each for a moment.
type stream struct {
	gateway *gateway
	stop    chan struct{}
	done    chan struct{}

	mu       sync.Mutex
	joined   int
	errors   []string
	slowest  time.Duration
	backends map[string]int
}

// streamGap is the time between two clients of a stream.
const streamGap = 5 * time.Millisecond

func startStream(t *testing.T, g *gateway) *stream {
	s := &stream{gateway: g, stop: make(chan struct{}), done: make(chan struct{}), backends: map[string]int{}}
	go s.run()
	t.Cleanup(func() { s.end() })
	return s
}

func (s *stream) run() {
	defer close(s.done)
	tick := time.NewTicker(streamGap)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		start := time.Now()
		g, err := join(s.gateway.listeners["public"], nil, "/")
		took := time.Since(start)
		s.mu.Lock()
		s.slowest = max(s.slowest, took)
		if err != nil {
			s.errors = append(s.errors, err.Error())
		} else {
			s.joined++
			s.backends[g.backend]++
		}
		s.mu.Unlock()
		if err == nil {
			g.leave()
		}
	}
}

// count returns how many have joined.
func (s *stream) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.joined
}

// end ends the stream. It may be called twice.
func (s *stream) end() {
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	<-s.done
}

// wantNoErrors ends the stream, of which every client must have got its session.
func (s *stream) wantNoErrors(t *testing.T) {
	t.Helper()
	s.end()
	if len(s.errors) > 0 {
		t.Errorf("%d of %d new sessions failed, at first: %s", len(s.errors), len(s.errors)+s.joined, s.errors[0])
	}
	if s.joined == 0 {
		t.Error("no new session at all")
	}
	t.Logf("%d new sessions, the slowest after %v", s.joined, s.slowest)
}

// roomHeader is the line of a request by which the policy hash may choose.
func roomHeader(i int) string { return "X-Room: room-" + strconv.Itoa(i) }
