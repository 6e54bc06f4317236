//go:build unix

package test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"sluice/internal/echo"
)

// A talker is a client that sends numbered messages through an echo backend at a steady pace, and expects each of them back once, in
// order, until it is closed. One that is idle only listens.
type talker struct {
	conn     net.Conn
	reader   *bufio.Reader
	isIdle   bool
	ended    chan struct{} // closed when the session is over
	sent     atomic.Int64
	received atomic.Int64

	mu sync.Mutex // over writes

	// To be read once ended is closed.
	code     ws.StatusCode // of the gateway's close
	closedAt time.Time
	err      error // what was wrong
}

// A traffic is talkers, all of which talk until stop.
type traffic struct {
	talkers []*talker
	stopped chan struct{}
	writing sync.WaitGroup
}

// pace is the time between two messages of a talker.
const pace = 100 * time.Millisecond

// sessionCount is how many sessions a test of traffic has: so many, or what SLUICE_TEST_SESSIONS says.
func sessionCount(t *testing.T, usual int) int {
	t.Helper()
	text := os.Getenv("SLUICE_TEST_SESSIONS")
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("SLUICE_TEST_SESSIONS: %v", err)
	}
	return n
}

// runEcho runs an echo backend in the test's process until the test ends, and returns its address.
func runEcho(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- echo.Serve(ctx, ln, echo.Options{Loops: 1}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("echo backend: %v", err)
		}
	})
	return ln.Addr().String()
}

func newTraffic(t *testing.T) *traffic {
	f := &traffic{stopped: make(chan struct{})}
	t.Cleanup(func() {
		f.stop()
		for _, k := range f.talkers {
			_ = k.conn.Close()
			<-k.ended
		}
	})
	return f
}

// add opens a session; secure is whether by TLS.
func (f *traffic) add(t *testing.T, address, path string, isSecure, isIdle bool) {
	t.Helper()
	k := &talker{isIdle: isIdle, ended: make(chan struct{})}
	dialer := ws.Dialer{Timeout: patience, TLSConfig: &tls.Config{InsecureSkipVerify: true}}
	scheme := "ws://"
	if isSecure {
		scheme = "wss://"
	}
	conn, early, _, err := dialer.Dial(context.Background(), scheme+address+path)
	if err != nil {
		t.Fatalf("session %d: %v", len(f.talkers), err)
	}
	k.conn, k.reader = conn, early
	if early == nil {
		k.reader = bufio.NewReader(conn)
	}
	f.talkers = append(f.talkers, k)
	go k.listen()
	if !isIdle {
		f.writing.Go(func() { k.talk(f.stopped) })
	}
}

// talk sends until it is stopped, or the session is over.
func (k *talker) talk(stopped <-chan struct{}) {
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for {
		select {
		case <-stopped:
			return
		case <-k.ended:
			return
		case <-ticker.C:
		}
		var payload [64]byte
		binary.BigEndian.PutUint64(payload[:], uint64(k.sent.Load()))
		if k.write(ws.NewBinaryFrame(payload[:])) != nil {
			return // listen tells why
		}
		k.sent.Add(1)
	}
}

func (k *talker) write(f ws.Frame) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	_ = k.conn.SetWriteDeadline(time.Now().Add(patience))
	return ws.WriteFrame(k.conn, ws.MaskFrame(f))
}

// listen reads until the session is over.
func (k *talker) listen() {
	defer close(k.ended)
	for {
		f, err := readFrame(k.reader)
		switch {
		case err != nil:
			k.err = fmt.Errorf("after %d messages: %w", k.received.Load(), err)
			return
		case f.Header.OpCode == ws.OpClose:
			k.closedAt = time.Now()
			k.code, _ = ws.ParseCloseFrameData(f.Payload)
			_ = k.write(ws.NewCloseFrame(f.Payload))
			return
		case f.Header.OpCode == ws.OpPing:
			_ = k.write(ws.NewPongFrame(f.Payload))
		case f.Header.OpCode != ws.OpBinary || len(f.Payload) != 64 || binary.BigEndian.Uint64(f.Payload) != uint64(k.received.Load()):
			k.err = fmt.Errorf("frame %+v as message %d", f.Header, k.received.Load())
			return
		default:
			k.received.Add(1)
		}
	}
}

// stop ends the talking; the sessions stay.
func (f *traffic) stop() {
	select {
	case <-f.stopped:
	default:
		close(f.stopped)
	}
	f.writing.Wait()
}

// wantWhole ends the talking, and checks that every session lives and no message was lost.
func (f *traffic) wantWhole(t *testing.T) {
	t.Helper()
	f.stop()
	for i, k := range f.talkers {
		eventually(t, patience, fmt.Sprintf("session %d got all that it sent", i), func() bool {
			select {
			case <-k.ended:
				t.Fatalf("session %d is over: code %d, %v", i, k.code, k.err)
			default:
			}
			return k.received.Load() == k.sent.Load()
		})
		if !k.isIdle && k.received.Load() == 0 {
			t.Errorf("session %d was silent", i)
		}
	}
}

// wantSpread waits for the end of all sessions and checks that each was closed with 1012, evenly over the time from begin on, and the
// idle ones first. most is the share that may be closed in a tenth of the time.
func (f *traffic) wantSpread(t *testing.T, begin time.Time, over time.Duration, most float64) {
	t.Helper()
	count := float64(len(f.talkers))
	var tenths [11]int // the last one: too late
	var order []*talker
	for i, k := range f.talkers {
		select {
		case <-k.ended:
		case <-time.After(time.Until(begin.Add(over + patience))):
			t.Fatalf("session %d isn't closed", i)
		}
		if k.err != nil || k.code != 1012 {
			t.Errorf("session %d ended with code %d, %v; want a close with 1012", i, k.code, k.err)
			continue
		}
		order = append(order, k)
		tenths[min(int(10*k.closedAt.Sub(begin)/over), 10)]++
	}
	t.Logf("closed in each tenth of %v: %v", over, tenths)
	for i, n := range tenths {
		if float64(n) > most*count {
			t.Errorf("%d of %d sessions closed in tenth %d, want at most %.0f %%", n, len(f.talkers), i+1, 100*most)
		}
	}
	slices.SortFunc(order, func(a, b *talker) int { return a.closedAt.Compare(b.closedAt) })
	idle, lastIdle := 0, 0
	for i, k := range order {
		if k.isIdle {
			idle, lastIdle = idle+1, i
		}
	}
	if limit := float64(idle) + most*count; float64(lastIdle) > limit {
		t.Errorf("the last of %d idle sessions closed behind %d others, want them first", idle, lastIdle)
	}
}
