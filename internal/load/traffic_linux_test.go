package load

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

func TestOpenLoopMeasuresFromWhenAMessageWasDue(t *testing.T) {
	rec := newRecorder()
	e := newEcho(&Options{Connections: 1, Rate: 100, Window: 1}, newTemplate(64), rec, 0, math.MaxInt64)
	e.begin(0)
	// A server that takes nothing for a second, and then all at once.
	for e.started < 100 {
		p := e.pending(990 * time.Millisecond)
		e.advance(time.Second, len(p))
	}
	for range 100 {
		if f := e.data(time.Second, ws.OpBinary, e.template.payload, true); f != nil {
			t.Fatal(f)
		}
	}
	// Due each 10 ms, so waited for 10 ms to 1 s. Without the correction all would be 0.
	q := newQuantiles(rec.latency)
	if q.P50 < 490e3 || q.P50 > 510e3 || q.Max < 990e3 || q.Max > 1010e3 {
		t.Errorf("p50 %v, max %v µs; want 500000 and 1000000", q.P50, q.Max)
	}
}

func TestOpenLoopSendsNothingEarlyAndSpreadsSessions(t *testing.T) {
	tmpl := newTemplate(10)
	for id, want := range []time.Duration{0, 25 * time.Millisecond, 50 * time.Millisecond, 75 * time.Millisecond} {
		e := newEcho(&Options{Connections: 4, Rate: 40, Window: 1}, tmpl, newRecorder(), id, math.MaxInt64)
		e.begin(time.Second)
		if e.due() != time.Second+want {
			t.Errorf("session %d: first message due at %v; want 1s + %v", id, e.due(), want)
		}
		if p := e.pending(e.due() - 1); len(p) != 0 {
			t.Errorf("session %d: %d bytes before they are due", id, len(p))
		}
		if p := e.pending(e.due()); len(p) != tmpl.frame {
			t.Errorf("session %d: %d bytes when due; want a frame of %d", id, len(p), tmpl.frame)
		}
	}
}

func TestEchoKeepsItsWindowAtAnySplit(t *testing.T) {
	tmpl := newTemplate(64)
	rec := newRecorder()
	e := newEcho(&Options{Connections: 1, Window: 5}, tmpl, rec, 0, 1000)
	e.begin(0)
	sent := 0
	for !e.isDone() {
		if p := e.pending(0); len(p) > 0 {
			n := 1 + rand.IntN(len(p))
			e.advance(0, n)
			sent += n
		} else if f := e.data(1, ws.OpBinary, tmpl.payload, true); f != nil {
			t.Fatal(f)
		}
		if onTheirWay := e.started - e.received; onTheirWay > 5 {
			t.Fatalf("%d messages are on their way; want at most 5", onTheirWay)
		}
		if e.isBorder() != (sent%tmpl.frame == 0) {
			t.Fatalf("border %v after %d bytes of frames of %d", e.isBorder(), sent, tmpl.frame)
		}
	}
	if sent != 1000*tmpl.frame || rec.messages != 1000 || rec.sentBytes != 64_000 {
		t.Errorf("sent %d bytes, %d of payload, %d messages came back", sent, rec.sentBytes, rec.messages)
	}
}

func TestEchoFindsAnAlteredMessage(t *testing.T) {
	tmpl := newTemplate(8)
	changed := slices.Clone(tmpl.payload)
	changed[7] ^= 1
	for name, tt := range map[string]struct {
		opcode  ws.OpCode
		payload []byte
	}{
		"a byte":  {ws.OpBinary, changed},
		"shorter": {ws.OpBinary, tmpl.payload[:7]},
		"longer":  {ws.OpBinary, append(slices.Clone(tmpl.payload), 0)},
		"text":    {ws.OpText, tmpl.payload},
	} {
		e := newEcho(&Options{Connections: 1, Window: 1}, tmpl, newRecorder(), 0, 1)
		e.begin(0)
		e.advance(0, len(e.pending(0)))
		if f := e.data(0, tt.opcode, tt.payload, true); f == nil || f.kind != "altered" {
			t.Errorf("%s: %v; want altered", name, f)
		}
	}
}

func TestTimersFireInOrder(t *testing.T) {
	var h timers
	var want []time.Duration
	for i := range 1000 {
		at := time.Duration(rand.IntN(100))
		want = append(want, at)
		h.push(timer{at, uint32(i)})
	}
	slices.Sort(want)
	for i := range want {
		if got := h.pop().at; got != want[i] {
			t.Fatalf("timer %d is at %d; want %d", i, got, want[i])
		}
	}
}

func TestSourceAddressesAreThoseOfLoopback(t *testing.T) {
	addr := netip.MustParseAddrPort(serve(t, nil))
	s := source(41)
	fd, err := s.dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	if got := netip.AddrFrom4(sa.(*unix.SockaddrInet4).Addr); got != netip.MustParseAddr("127.0.0.42") {
		t.Errorf("connected from %v; want 127.0.0.42", got)
	}
}

func TestProcessIsMeasured(t *testing.T) {
	pid := unix.Getpid()
	before, err := processCPU(pid)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Millisecond); time.Now().Before(end); {
	}
	after, err := processCPU(pid)
	if err != nil || after <= before {
		t.Errorf("CPU time went from %v to %v, %v; want more", before, after, err)
	}
	if rss, err := processRSS(pid); err != nil || rss < 1<<20 {
		t.Errorf("resident memory = %d, %v; want over 1 MiB", rss, err)
	}
}
