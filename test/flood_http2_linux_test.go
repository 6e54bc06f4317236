package test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"sluice/internal/h2test"
)

// Floods of HTTP/2: a few connections of one address send what costs them little. They are told to calm down, or what they cost is bounded
// by something else; sessions of others don't notice, and everything comes back. What the flood costs the machine, and with it its own
// clients, a flood of another gateway costs too: others' round trips are measured beside that as well.

// A hostile is one such connection.
type hostile struct {
	conn   net.Conn
	out    *bufio.Writer
	frames *http2.Framer
	raw    *h2test.Raw // encodes fields
	next   uint32      // stream
	ended  chan struct{}

	answered atomic.Int64 // answers that came whole
	isStuck  atomic.Bool  // some didn't
}

// open opens n streams.
func (h *hostile) open(n int, isEnd bool, fields ...h2test.Field) (first uint32) {
	first = h.next
	for range n {
		_ = h.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: h.next, BlockFragment: h.raw.Block(fields...), EndStream: isEnd, EndHeaders: true})
		h.next += 2
	}
	return first
}

// pause lets the gateway handle what was sent. It reports whether the connection still is there.
func (h *hostile) pause(d time.Duration) bool {
	_ = h.out.Flush()
	select {
	case <-h.ended:
		return false
	case <-time.After(d):
		return true
	}
}

// An http2Flood is a kind of them.
type http2Flood struct {
	name     string
	settings []http2.Setting
	begin    func(h *hostile)      // once on a connection
	round    func(h *hostile) bool // again and again; false: the connection has ended
	isDeaf   bool                  // it never reads
	isCalmed bool                  // it is ended with ENHANCE_YOUR_CALM
	isOne    bool                  // of one connection: more would take all memory that the kernel has for TCP, at the backend's end
}

func plainGet(path string) []h2test.Field { return h2test.Request("GET", "gateway.test", path) }

func connectTo(path string) []h2test.Field { return h2test.WebSocket("gateway.test", path) }

// each makes a round of n frames at once.
func each(n int, frame func(h *hostile, i int)) func(h *hostile) bool {
	return func(h *hostile) bool {
		for i := range n {
			frame(h, i)
		}
		return h.pause(0)
	}
}

// stay makes rounds of nothing.
func stay(h *hostile) bool { return h.pause(10 * time.Millisecond) }

// drop makes a round of one byte of a frame that doesn't end.
func drop(h *hostile) bool {
	_, _ = h.out.Write([]byte{0})
	return h.pause(10 * time.Millisecond)
}

// refused makes rounds of 50 requests, and awaits the answers.
func refused(isEnd bool, fields []h2test.Field) func(h *hostile) bool {
	return func(h *hostile) bool {
		answered := h.answered.Load()
		h.open(50, isEnd, fields...)
		_ = h.frames.WriteWindowUpdate(0, 50<<10) // no answer is longer than 1 KiB
		for begin := time.Now(); h.pause(100 * time.Microsecond); {
			switch {
			case h.answered.Load() >= answered+50:
				return true
			case time.Since(begin) > patience:
				h.isStuck.Store(true)
				return false
			}
		}
		return false
	}
}

var http2Floods = []http2Flood{
	{name: "rapid reset", isCalmed: true, round: each(50, func(h *hostile, _ int) {
		_ = h.frames.WriteRSTStream(h.open(1, true, plainGet("/plain")...), http2.ErrCodeCancel)
	})},
	{name: "rapid reset of sessions", isCalmed: true, round: func(h *hostile) bool {
		first := h.open(50, false, connectTo("/")...)
		isThere := h.pause(20 * time.Millisecond) // so that requests reach a backend
		for id := first; id < h.next; id += 2 {
			_ = h.frames.WriteRSTStream(id, http2.ErrCodeCancel)
		}
		return isThere
	}},
	{name: "requests for sessions that end at once", isCalmed: true, round: each(50, func(h *hostile, _ int) {
		_ = h.frames.WriteData(h.open(1, false, connectTo("/")...), true, nil)
	})},
	{name: "requests for sessions that end with their head", isCalmed: true, round: each(50, func(h *hostile, _ int) {
		h.open(1, true, connectTo("/")...)
	})},
	{name: "SETTINGS", isCalmed: true, round: each(1000, func(h *hostile, i int) {
		_ = h.frames.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)})
	})},
	{name: "PING", isCalmed: true, round: each(1000, func(h *hostile, _ int) { _ = h.frames.WritePing(false, [8]byte{}) })},
	{name: "empty DATA", isCalmed: true,
		begin: func(h *hostile) { h.open(1, false, h2test.Request("POST", "gateway.test", "/plain")...) },
		round: each(1000, func(h *hostile, _ int) { _ = h.frames.WriteData(1, false, nil) })},
	{name: "CONTINUATION", isCalmed: true,
		begin: func(h *hostile) { _ = h.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 1}) },
		round: each(1000, func(h *hostile, _ int) { _ = h.frames.WriteContinuation(1, false, nil) })},
	{name: "windows of 1 byte", isCalmed: true, settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}},
		begin: func(h *hostile) { h.open(10, true, plainGet("/big")...) },
		round: each(1000, func(h *hostile, i int) { _ = h.frames.WriteWindowUpdate(uint32(2*(i%10)+1), 1) })},
	{name: "a window of the connection of 1 byte", isCalmed: true, settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 1 << 30}},
		begin: func(h *hostile) { h.open(10, true, plainGet("/big")...) },
		round: each(1000, func(h *hostile, i int) { _ = h.frames.WriteWindowUpdate(0, 1) })},
	{name: "a window of the connection of 1 KiB", settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 1 << 30}},
		begin: func(h *hostile) { h.open(100, true, plainGet("/big")...) },
		round: each(1000, func(h *hostile, i int) { _ = h.frames.WriteWindowUpdate(0, 1<<10) })},
	{name: "fields of one byte each", round: func(h *hostile) bool {
		bomb := append(plainGet("/plain"), h2test.Field{Name: "bomb", Value: strings.Repeat("b", 3900)})
		h.open(1, true, bomb...)
		h.open(1, true, plainGet("/plain")...) // from now on each of its fields is in the table
		block := h.raw.Block(plainGet("/plain")...)
		index := h.raw.Block(bomb[len(bomb)-1])
		for range 20 {
			_ = h.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: h.next, EndStream: true, EndHeaders: true,
				BlockFragment: append(slices.Clone(block), slices.Repeat(index, 16000/len(index))...)})
			h.next += 2
		}
		return h.pause(time.Millisecond)
	}},
	{name: "many fields", round: func() func(h *hostile) bool {
		many := plainGet("/plain")
		for i := range 400 {
			many = append(many, h2test.Field{Name: "f" + strconv.Itoa(i), Value: "v", Sensitive: true})
		}
		return func(h *hostile) bool { h.open(20, true, many...); return h.pause(time.Millisecond) }
	}()},
	{name: "lists of 60 KiB", isCalmed: true, round: func(h *hostile) bool {
		block := h.raw.Block(append(plainGet("/plain"), h2test.Field{Name: "large", Value: strings.Repeat("~", 15<<10), Sensitive: true})...)
		_ = h.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: h.next, BlockFragment: block, EndStream: true})
		for i := range 3 {
			_ = h.frames.WriteContinuation(h.next, i == 2, h.raw.Block(h2test.Field{Name: "large", Value: strings.Repeat("v", 15<<10), Sensitive: true}))
		}
		h.next += 2
		return h.pause(time.Millisecond)
	}},
	{name: "windows of 0 under a backend that pushes", isOne: true, settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}},
		begin: func(h *hostile) { h.open(100, false, connectTo("/push")...) }, round: stay},
	{name: "requests that are never answered", begin: func(h *hostile) {
		for range 60 {
			_ = h.frames.WriteData(h.open(1, false, connectTo("/silent")...), false, make([]byte, 16000))
		}
	}, round: stay},
	{name: "bodies that never come", begin: func(h *hostile) {
		h.open(100, false, h2test.Request("POST", "gateway.test", "/plain")...)
	}, round: stay},
	{name: "half a frame", begin: func(h *hostile) { _, _ = h.out.Write([]byte{0, 64, 0, 1, 4, 0, 0, 0, 1}) }, round: drop},
	{name: "half a field block", begin: func(h *hostile) {
		_ = h.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: make([]byte, 16000)})
		_, _ = h.out.Write([]byte{0, 64, 0, 9, 0, 0, 0, 0, 1})
	}, round: drop},
	{name: "bodies that nobody reads", isDeaf: true, settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 1 << 30}},
		begin: func(h *hostile) {
			_ = h.frames.WriteWindowUpdate(0, 1<<30)
			h.open(100, true, plainGet("/big")...)
		}, round: stay},
	{name: "answers that nobody reads", isDeaf: true, round: func(h *hostile) bool { h.open(50, true, plainGet("/plain")...); return h.pause(2 * time.Millisecond) }},
	{name: "refused requests", round: refused(true, plainGet("/a/../b"))},
	{name: "refused requests for sessions", round: refused(false, connectTo("/a/../b"))},
}

// keptConns is how many connections to a backend wait for further plain requests, and a few for what else goes on.
const keptConns = 64 + 2

func TestAFloodOfHTTP2IsNotNoticedByOthers(t *testing.T) {
	backend := floodBackend(t)
	config := fmt.Sprintf(`
[gateway]
drain = "0s"
[admin]
address = "127.0.0.1:0"
[log]
access = false
[[listener]]
name = "public"
address = "127.0.0.1:0"
http2 = "websocket"
[[route]]
pool = "pool"
ping_interval = "1h"
[[pool]]
name = "pool"
backend = [{ address = %q }]
`, backend)
	g, other := runGateway(t, config), runGateway(t, config)
	length := time.Duration(sized(int(2*time.Second), int(150*time.Millisecond)))
	others := newOthers(t, g.listeners["public"])
	others.roundTrips(t, 100*time.Millisecond)
	for _, kind := range http2Floods {
		t.Run(kind.name, func(t *testing.T) {
			before, fds, otherFDs := g.resident(t), g.descriptors(t), other.descriptors(t)
			alone := others.roundTrips(t, length)
			beside := newHTTP2Flood(kind, other)
			aside := others.roundTrips(t, length)
			beside.stop()
			eventually(t, patience, "the other gateway's descriptors come back", func() bool { return other.descriptors(t) <= otherFDs+keptConns })

			cpu, most := g.cpuSeconds(t), before
			f := newHTTP2Flood(kind, g)
			watched := make(chan struct{})
			go func() {
				defer close(watched)
				for !f.isOver.Load() {
					most = max(most, g.resident(t))
					time.Sleep(20 * time.Millisecond)
				}
			}()
			among := others.roundTrips(t, length)
			f.stop()
			cpu = g.cpuSeconds(t) - cpu
			<-watched
			eventually(t, patience, "the descriptors come back", func() bool { return g.descriptors(t) <= fds+keptConns })
			t.Logf("%s: %d connections, %d rounds, ends %v; others' round trips: alone %v, beside a flood of another gateway %v, during the flood %v; memory %d KiB, at most %d KiB more, %d KiB after; %.2f s of CPU a second",
				kind.name, f.conns.Load(), f.rounds.Load(), f.codes, alone, aside, among, before>>10, (most-before)>>10, (g.resident(t)-before)>>10, cpu/length.Seconds())
			if f.codes["stuck"] > 0 {
				t.Error("requests have no answer")
			}
			if kind.isCalmed && f.codes["ENHANCE_YOUR_CALM"] == 0 {
				t.Error("no connection is told to calm down")
			}
			if isLong() && among.p99 > aside.p99+100*time.Millisecond {
				t.Errorf("others' round trips: beside a flood of another gateway %v, during the flood %v", aside, among)
			}
		})
	}
}

// An http2FloodRun is connections of one kind.
type http2FloodRun struct {
	kind    http2Flood
	address string
	isOver  atomic.Bool
	conns   atomic.Int64
	rounds  atomic.Int64
	running sync.WaitGroup

	mu sync.Mutex

	codes map[string]int // guarded by mu: how often a connection ended with what
}

// newHTTP2Flood floods a gateway until stop.
func newHTTP2Flood(kind http2Flood, g *gateway) *http2FloodRun {
	f := &http2FloodRun{kind: kind, address: g.listeners["public"], codes: map[string]int{}}
	conns := sized(4, 2)
	if kind.isOne {
		conns = 1
	}
	for range conns {
		f.running.Go(func() {
			for !f.isOver.Load() {
				f.one()
			}
		})
	}
	return f
}

func (f *http2FloodRun) stop() {
	f.isOver.Store(true)
	f.running.Wait()
}

// one makes a connection and floods it until it ends.
func (f *http2FloodRun) one() {
	c, err := dialFrom(f.address, "127.0.0.1")
	if err != nil {
		time.Sleep(time.Millisecond)
		return
	}
	f.conns.Add(1)
	defer func() {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}()
	h := &hostile{conn: c, out: bufio.NewWriterSize(c, 64<<10), raw: h2test.NewRaw(c), next: 1, ended: make(chan struct{})}
	h.frames = http2.NewFramer(h.out, c)
	h.frames.AllowIllegalWrites = true
	_, _ = io.WriteString(h.out, http2.ClientPreface)
	_ = h.frames.WriteSettings(f.kind.settings...)
	if f.kind.isDeaf {
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	} else {
		f.running.Go(func() { f.read(h) })
	}
	if f.kind.begin != nil {
		f.kind.begin(h)
	}
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	if !h.pause(10 * time.Millisecond) {
		return
	}
	for !f.isOver.Load() {
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		if !f.kind.round(h) {
			break
		}
		f.rounds.Add(1)
	}
	if h.isStuck.Load() {
		f.note("stuck")
	}
}

// read reads what comes, until the end of the connection.
func (f *http2FloodRun) read(h *hostile) {
	defer close(h.ended)
	for {
		frame, err := h.frames.ReadFrame()
		code := ""
		switch g, isGoAway := frame.(*http2.GoAwayFrame); {
		case err != nil && f.isOver.Load():
			return
		case err != nil:
			code = "lost"
		case isGoAway:
			code = g.ErrCode.String()
		default:
			switch reset, isReset := frame.(*http2.RSTStreamFrame); {
			case (frame.Header().Type == http2.FrameHeaders || frame.Header().Type == http2.FrameData) && frame.Header().Flags.Has(http2.FlagDataEndStream):
				h.answered.Add(1)
			case isReset:
				f.note("reset " + reset.ErrCode.String())
			}
			continue
		}
		f.note(code)
		return
	}
}

func (f *http2FloodRun) note(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.codes[what]++
}

// others are sessions that echo: one over HTTP/1.1, and one over HTTP/2.
type others []net.Conn

func newOthers(t *testing.T, address string) others {
	t.Helper()
	c, err := dialFrom(address, "127.0.1.1")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, request("/"))
	if answer, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || answer.StatusCode != 101 {
		t.Fatalf("%v, %v; want a session", answer, err)
	}
	shared, err := dialFrom(address, "127.0.1.2")
	if err != nil {
		t.Fatal(err)
	}
	client, err := h2test.NewClient(shared, h2test.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := client.OpenWebSocket("gateway.test", "/")
	if err != nil || s == nil {
		t.Fatal("no session: ", err)
	}
	t.Cleanup(func() { _ = c.Close(); _ = client.Close() })
	return others{c, s}
}

// A spread is what round trips took.
type spread struct{ median, p99 time.Duration }

func (s spread) String() string { return fmt.Sprintf("%v median, %v p99", s.median, s.p99) }

// roundTrips measures round trips for a time.
func (o others) roundTrips(t *testing.T, length time.Duration) spread {
	t.Helper()
	frame, echo := []byte("\x81\x84\x00\x00\x00\x00echo"), []byte("\x81\x04echo")
	var took []time.Duration
	for begin := time.Now(); time.Since(begin) < length; time.Sleep(time.Millisecond) {
		for _, c := range o {
			_ = c.SetDeadline(time.Now().Add(patience))
			start := time.Now()
			_, _ = c.Write(frame)
			got := make([]byte, len(echo))
			if _, err := io.ReadFull(c, got); err != nil || string(got) != string(echo) {
				t.Fatalf("a session of another client: %q, %v", got, err)
			}
			took = append(took, time.Since(start))
		}
	}
	slices.Sort(took)
	return spread{took[len(took)/2], took[len(took)*99/100]}
}

// descriptors returns how many descriptors the gateway's process has.
func (g *gateway) descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
