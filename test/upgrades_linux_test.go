package test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"sluice/internal/echo"
)

// A countingListener counts the connections that it accepts.
type countingListener struct {
	net.Listener
	accepted atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return c, err
}

// runCountingEcho is runEcho with a count of connections.
func runCountingEcho(t *testing.T) *countingListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	counting := &countingListener{Listener: ln}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- echo.Serve(ctx, counting, echo.Options{}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("echo backend: %v", err)
		}
	})
	return counting
}

// A prober sends a message each 5 ms and notes how long each takes to come back.
type prober struct {
	conn    net.Conn
	reader  *bufio.Reader
	stopped <-chan struct{}
	ended   chan struct{} // closed when the reader has ended
	wrote   chan struct{}
	sent    atomic.Int64
	err     error
	writing sync.Mutex // for a frame

	mu    sync.Mutex
	trips []trip // guarded by mu
}

// A trip is a message's way to the backend and back.
type trip struct {
	begin time.Time
	took  time.Duration
}

func newProber(t *testing.T, url string, stopped <-chan struct{}) *prober {
	t.Helper()
	dialer := ws.Dialer{Timeout: upgradePatience, TLSConfig: &tls.Config{InsecureSkipVerify: true}}
	conn, early, _, err := dialer.Dial(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	p := &prober{conn: conn, reader: early, stopped: stopped, ended: make(chan struct{}), wrote: make(chan struct{})}
	if early == nil {
		p.reader = bufio.NewReader(conn)
	}
	go p.write()
	go p.listen()
	return p
}

func (p *prober) write() {
	defer close(p.wrote)
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-p.stopped:
			return
		case <-p.ended:
			return
		case <-ticker.C:
		}
		p.sent.Add(1)
		if p.writeFrame(ws.NewBinaryFrame(binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixNano())))) != nil {
			return // listen tells why
		}
	}
}

func (p *prober) writeFrame(f ws.Frame) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	return ws.WriteFrame(p.conn, ws.MaskFrameInPlace(f))
}

// listen reads until the connection is closed.
func (p *prober) listen() {
	defer close(p.ended)
	for {
		f, err := readFrame(p.reader)
		if err == nil && f.Header.OpCode == ws.OpPing {
			_ = p.writeFrame(ws.NewPongFrame(f.Payload)) // else the next read tells why
			continue
		}
		if err == nil && (f.Header.OpCode != ws.OpBinary || len(f.Payload) != 8) {
			err = fmt.Errorf("frame %+v", f.Header)
		}
		if err != nil {
			p.err = err
			return
		}
		begin := time.Unix(0, int64(binary.BigEndian.Uint64(f.Payload)))
		p.mu.Lock()
		p.trips = append(p.trips, trip{begin, time.Since(begin)})
		p.mu.Unlock()
	}
}

// wantWhole waits until all messages have come back.
func (p *prober) wantWhole(t *testing.T, what string) {
	t.Helper()
	<-p.wrote
	eventually(t, upgradePatience, what+": all messages have come back", func() bool {
		if isClosed(p.ended) {
			t.Fatalf("%s: %v", what, p.err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		return int64(len(p.trips)) == p.sent.Load()
	})
}

// A span is a time.
type span struct{ begin, end time.Time }

// tripsWithin returns how long messages took that were under way in one of the spans, or else in none of them, in ascending order.
func tripsWithin(probers []*prober, spans []span, isWithin bool) (took []time.Duration) {
	for _, p := range probers {
		p.mu.Lock()
		for _, trip := range p.trips {
			end := trip.begin.Add(trip.took)
			if slices.ContainsFunc(spans, func(s span) bool { return trip.begin.Before(s.end) && end.After(s.begin) }) == isWithin {
				took = append(took, trip.took)
			}
		}
		p.mu.Unlock()
	}
	slices.Sort(took)
	return took
}

// quantiles describes sorted times.
func quantiles(of []time.Duration) string {
	if len(of) == 0 {
		return "none"
	}
	at := func(q float64) time.Duration { return of[int(q*float64(len(of)-1))].Round(10 * time.Microsecond) }
	return fmt.Sprintf("%d, p50 %v, p99 %v, p99.9 %v, max %v", len(of), at(0.5), at(0.99), at(0.999), at(1))
}

// A usage is what a process uses of the system.
type usage struct{ descriptors, residentKiB int }

func usageOf(t *testing.T, pid int) (u usage) {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	u.descriptors = len(entries)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, isIt := strings.CutPrefix(line, "VmRSS:"); isIt {
			if u.residentKiB, err = strconv.Atoi(strings.Fields(value)[0]); err != nil {
				t.Fatal(err)
			}
		}
	}
	return u
}

// Sessions of all kinds, half of which carry random traffic, live through upgrades in a row, while clients come and go.
func TestUpgradesThatNoClientNotices(t *testing.T) {
	t.Parallel()
	sessions := sessionCount(t, sized(4000, 150))
	upgrades := sized(20, 4)
	backend, visited := runCountingEcho(t), runEcho(t)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	t.Cleanup(web.Close)
	secure := secureGateway(t, "[listener.tls]\nself_signed = true\n", backend.Addr().String())
	// A drain of an hour: what doesn't move keeps its process alive.
	config := strings.NewReplacer(`drain = "0s"`, `drain = "1h"`, `level = "debug"`, `level = "info"`).Replace(basics) + fmt.Sprintf(`[[listener]]
name = "secure"
address = "127.0.0.1:0"
[listener.tls]
self_signed = true
[[route]]
pool = "plain"
ping_interval = "2s"
pong_timeout = "60s"
[[route]]
path = "/secure"
pool = "secure"
ping_interval = "2s"
pong_timeout = "60s"
[[route]]
path = "/visit"
pool = "visited"
[[route]]
path = "/http"
pool = "http"
http = true
[[pool]]
name = "http"
backend = [{ address = %q }]
[[pool]]
name = "plain"
backend = [{ address = %q }]
[[pool]]
name = "secure"
backend = [{ address = "wss://%s" }]
[pool.tls]
insecure = true
[[pool]]
name = "visited"
backend = [{ address = %q }]
`, web.Listener.Addr(), backend.Addr(), secure.listeners["public"], visited)
	u := runUpgradable(t, config)
	stopped := make(chan struct{})
	stop := sync.OnceFunc(func() { close(stopped) })
	t.Cleanup(stop)
	urls := []string{"ws://" + u.listeners["public"] + "/", "wss://" + u.listeners["secure"] + "/", "wss://" + u.listeners["secure"] + "/secure"}
	var couriers []*courier
	for i := range sessions {
		// The fewer there are, the more each of them sends.
		couriers = append(couriers, newCourier(t, urls[i%3], &courier{
			name: uint64(i), isIdle: i/3%2 == 0, mostPause: max(time.Second, time.Duration(sessions)*2*time.Millisecond), stopped: stopped,
		}))
	}
	var probers []*prober
	for i := range 20 {
		probers = append(probers, newProber(t, urls[i%3], stopped))
	}
	count := int64(sessions + len(probers))
	if n := backend.accepted.Load(); n != count {
		t.Fatalf("the backend has %d connections of %d sessions", n, count)
	}
	before := usageOf(t, u.pid)
	visitors := []*visitors{newVisitors(t, 2, urls[0]+"visit"), newVisitors(t, 2, urls[1]+"visit"),
		newVisitors(t, 1, "http://"+u.listeners["public"]+"/http"), newVisitors(t, 1, "https://"+u.listeners["secure"]+"/http")}
	var table strings.Builder
	fmt.Fprintln(&table, "moved  stayed            hand-over  longest batch  gone after")
	var spans []span
	for i := range upgrades {
		for _, v := range visitors {
			v.more(t, 20)
		}
		begin := time.Now()
		report := u.upgrade(t)
		end := time.Now()
		spans = append(spans, span{begin, end})
		if report.Moved < int(count) {
			t.Errorf("upgrade %d: %d sessions moved, want %d at least: %+v", i, report.Moved, count, report)
		}
		gone := "-" // the next upgrade begins while it may live
		if i%2 == 0 {
			u.wantGone(t)
			gone = time.Since(end).Round(time.Millisecond).String()
		}
		fmt.Fprintf(&table, "%5d  %-16s  %6.0f ms  %10.1f ms  %s\n", report.Moved, fmt.Sprint(report.Stayed)[3:], 1000*report.Seconds, 1000*report.LongestPause, gone)
	}
	for _, v := range visitors {
		v.wantAllServed(t)
	}
	u.wantGone(t)
	after := usageOf(t, u.pid)
	stop()
	for i, p := range probers {
		p.wantWhole(t, fmt.Sprintf("prober %d, %s", i, urls[i%3]))
	}
	var carried int64
	for i, c := range couriers {
		c.wantWhole(t, fmt.Sprintf("session %d, %s", i, urls[i%3]))
		carried += c.sentBytes
	}
	if n := backend.accepted.Load(); n != count {
		t.Errorf("the backend has seen %d connections of %d sessions", n, count)
	}
	for _, p := range probers {
		_ = p.conn.Close()
	}
	eventually(t, upgradePatience, "no session is left", func() bool { return u.count(t, "sluice_sessions_active") == 0 })
	load, _ := os.ReadFile("/proc/loadavg")
	t.Logf("%d sessions, %d MB there and back, %d upgrades, load %s%s"+
		"probes during upgrades: %s\nprobes at other times: %s\ndescriptors %d before, %d after; resident %d MiB before, %d MiB after",
		sessions, carried>>20, upgrades, load, &table, quantiles(tripsWithin(probers, spans, true)), quantiles(tripsWithin(probers, spans, false)),
		before.descriptors, after.descriptors, before.residentKiB>>10, after.residentKiB>>10)
}

// With SLUICE_TEST_LONG=true there are about as many sessions as one client address gets of a gateway with 20,000 descriptors.
func TestIdleSessionsMoveWithAllThatTheirProcessUses(t *testing.T) {
	t.Parallel()
	sessions := sized(8200, 300)
	_, backend := startEcho(t, "127.0.0.1:0")
	u := runUpgradable(t, strings.Replace(poolOf("", backend), `drain = "0s"`, `drain = "1h"`, 1))
	guests := u.inviteMany(t, sessions)
	eventually(t, upgradePatience, "all sessions live", func() bool { return u.count(t, "sluice_sessions_active") == sessions })
	for i := range 3 {
		old := usageOf(t, u.pid)
		report := u.upgrade(t)
		if report.Moved != sessions || len(report.Stayed) > 0 {
			t.Errorf("report %+v, want %d sessions moved", report, sessions)
		}
		u.wantGone(t)
		// The new process has the sockets of the old one and no more; either may have a few pipes, files and requests.
		const few = 2*mostPipes + 20
		now := usageOf(t, u.pid)
		if now.descriptors > old.descriptors+few || old.descriptors > now.descriptors+few {
			t.Errorf("upgrade %d: %d descriptors after %d", i, now.descriptors, old.descriptors)
		}
		if now.residentKiB > 2*old.residentKiB+64<<10 {
			t.Errorf("upgrade %d: %d KiB resident after %d", i, now.residentKiB, old.residentKiB)
		}
		load, _ := os.ReadFile("/proc/loadavg")
		t.Logf("%d idle sessions: hand-over %.0f ms, longest batch %.1f ms; descriptors %d, then %d; resident %d MiB, then %d MiB; load %s",
			sessions, 1000*report.Seconds, 1000*report.LongestPause, old.descriptors, now.descriptors, old.residentKiB>>10, now.residentKiB>>10, load)
	}
	for i, guest := range guests {
		if guest.hasEnded() {
			t.Errorf("session %d has ended with code %d", i, guest.code)
		}
	}

}
