package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"sluice/internal/admin"
	"sluice/proxy/session"
)

// fetch asks the admin listener.
func (p *process) fetch(path string) []byte {
	p.t.Helper()
	answer, err := http.Get("http://" + p.admin + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		p.t.Fatalf("GET %s: %d %s, %v", path, answer.StatusCode, body, err)
	}
	return body
}

// scrape returns counters and gauges by their names and labels, as Prometheus writes them, and a histogram's count as NAME_count.
func (p *process) scrape() map[string]float64 {
	p.t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(p.fetch("/metrics")))
	if err != nil {
		p.t.Fatal(err)
	}
	values := map[string]float64{}
	for name, family := range families {
		for _, metric := range family.Metric {
			var labels []string
			for _, pair := range metric.Label {
				labels = append(labels, pair.GetName()+"="+pair.GetValue())
			}
			key := name + "{" + strings.Join(labels, ",") + "}"
			if h := metric.Histogram; h != nil {
				values[name+"_count{"+strings.Join(labels, ",")+"}"] = float64(h.GetSampleCount())
				for _, bucket := range h.Bucket {
					values[fmt.Sprintf("%s_bucket{%g}", name, bucket.GetUpperBound())] = float64(bucket.GetCumulativeCount())
				}
				continue
			}
			values[key] = metric.Counter.GetValue() + metric.Gauge.GetValue()
		}
	}
	return values
}

// waitFor scrapes until a value is what it should be.
func (p *process) waitFor(key string, want float64) map[string]float64 {
	p.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		values := p.scrape()
		if values[key] == want {
			return values
		}
		if time.Now().After(end) {
			p.t.Fatalf("%s = %v, want %v", key, values[key], want)
		}
	}
}

// A tally is what clients counted, by the keys of the metrics.
type tally struct {
	mu     sync.Mutex
	counts map[string]float64 // guarded by mu
}

func (c *tally) add(key string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[key] += float64(n)
}

// frame counts a frame that was sent or received. Of data, the payload counts.
func (c *tally) frame(direction string, h ws.Header) {
	name := map[ws.OpCode]string{ws.OpContinuation: "continuation", ws.OpText: "text", ws.OpBinary: "binary", ws.OpClose: "close", ws.OpPing: "ping"}[h.OpCode]
	c.add("sluice_frames_total{direction="+direction+",opcode="+name+"}", 1)
	if h.OpCode.IsData() || h.OpCode == ws.OpContinuation {
		c.add("sluice_payload_bytes_total{direction="+direction+"}", int(h.Length))
	}
}

// talk sends messages of one and more frames, and pings, reads as many back, and closes with a code.
func (c *tally) talk(conn net.Conn, seed uint64, code ws.StatusCode) error {
	random := rand.New(rand.NewPCG(seed, seed))
	send := func(f ws.Frame) error {
		c.frame("to_backend", f.Header)
		return ws.WriteFrame(conn, ws.MaskFrameInPlace(f))
	}
	for range 20 {
		opcode := []ws.OpCode{ws.OpText, ws.OpBinary}[random.IntN(2)]
		for i, last := 0, random.IntN(3); i <= last; i++ {
			if err := send(ws.NewFrame(opcode, i == last, bytes.Repeat([]byte("x"), random.IntN(300)))); err != nil {
				return err
			}
			opcode = ws.OpContinuation
			if random.IntN(4) == 0 {
				if err := send(ws.NewPingFrame([]byte("hello"))); err != nil {
					return err
				}
			}
		}
		for isLast := false; !isLast; {
			f, err := readFrame(conn)
			if err != nil {
				return err
			}
			if f.Header.OpCode == ws.OpPong {
				continue // the gateway's own: it came from no backend
			}
			c.frame("to_client", f.Header)
			isLast = f.Header.Fin
		}
	}
	if err := send(ws.NewCloseFrame(ws.NewCloseFrameBody(code, ""))); err != nil {
		return err
	}
	c.add(fmt.Sprintf("sluice_closes_total{code=%d,initiator=client,reason=closed}", code), 1)
	for {
		f, err := readFrame(conn)
		if err != nil {
			return err
		}
		if f.Header.OpCode == ws.OpClose {
			c.frame("to_client", f.Header)
			return conn.Close()
		}
	}
}

// readFrame reads a frame of no more than what talk sends.
func readFrame(conn net.Conn) (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(conn); err != nil {
		return f, err
	}
	if f.Header.Length > 1<<10 {
		return f, fmt.Errorf("a frame of %d bytes", f.Header.Length)
	}
	f.Payload = make([]byte, f.Header.Length)
	_, err = io.ReadFull(conn, f.Payload)
	return f, err
}

func TestCountersAgreeWithWhatClientsCounted(t *testing.T) {
	p := startProcess(t, "")
	c := &tally{counts: map[string]float64{}}
	const clients = 40
	var talking sync.WaitGroup
	for i := range clients {
		conn := dial(t, p.gateway)
		talking.Go(func() {
			if err := c.talk(conn, uint64(i), []ws.StatusCode{1000, 1001, 4000}[i%3]); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	talking.Wait()
	for range 3 {
		answer, err := http.Get("http://" + p.gateway + "/..%2f") // refused
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
	}
	values := p.waitFor("sluice_sessions_active{listener=public,pool=echo,route=/}", 0)
	c.add("sluice_sessions_total{pool=echo,result=established,route=/}", clients)
	c.add("sluice_session_seconds_count{}", clients)
	c.add("sluice_handshake_seconds_count{}", clients)
	c.add("sluice_queued_bytes{}", 0)
	got := map[string]float64{}
	for key := range c.counts {
		got[key] = values[key]
	}
	if diff := cmp.Diff(c.counts, got); diff != "" {
		t.Errorf("clients counted (-) and the gateway did (+):\n%s", diff)
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		refused := 0.0
		for key, n := range p.scrape() {
			if strings.HasPrefix(key, "sluice_handshakes_rejected_total{") {
				refused += n
			}
		}
		if refused == 3 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%v refused handshakes, want 3", refused)
		}
	}
}

// An autoscaler counts on it, and rates.
func TestCountsOfSessionsBeginAtNought(t *testing.T) {
	values := startProcess(t, "").scrape()
	for _, key := range []string{
		"sluice_sessions_active{listener=public,pool=echo,route=/}", "sluice_sessions_total{pool=echo,result=established,route=/}",
		"sluice_sessions_total{pool=echo,result=refused,route=/}", "sluice_sessions_total{pool=echo,result=failed,route=/}",
	} {
		if n, isThere := values[key]; n != 0 || !isThere {
			t.Errorf("%s is %v (there: %v), want 0", key, n, isThere)
		}
	}
}

func TestEveryPromisedMetricIsThere(t *testing.T) {
	p := startProcess(t, "")
	wantEcho(t, dial(t, p.gateway), "hello")
	text := string(p.fetch("/metrics"))
	for _, name := range []string{
		"sluice_sessions_active", "sluice_sessions_total", "sluice_session_seconds", "sluice_handshake_seconds", "sluice_frames_total",
		"sluice_payload_bytes_total", "sluice_protocol_errors_total", "sluice_ping_rtt_seconds", "sluice_backend_up",
		"sluice_backend_sessions", "sluice_backend_failures_total", "sluice_loop_turn_seconds", "sluice_queued_bytes", "sluice_build_info",
		"process_open_fds", "go_goroutines",
	} {
		if !strings.Contains(text, "# TYPE "+name+" ") {
			t.Errorf("%s is missing", name)
		}
	}
}

// promtool is Prometheus's own judgement of the metrics' names, types and texts.
func TestPromtoolFindsNoFaultInTheMetrics(t *testing.T) {
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("no promtool (Debian: prometheus)")
	}
	p := startProcess(t, "")
	c := dial(t, p.gateway)
	wantEcho(t, c, "hello")
	if err := (&tally{counts: map[string]float64{}}).talk(c, 1, 1000); err != nil {
		t.Fatal(err)
	}
	values := p.waitFor("sluice_sessions_active{listener=public,pool=echo,route=/}", 0)
	if len(values) < 50 {
		t.Fatalf("only %d values", len(values))
	}
	command := exec.Command(path, "check", "metrics")
	command.Stdin = bytes.NewReader(p.fetch("/metrics"))
	if out, err := command.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// With SLUICE_TEST_SESSIONS=8000 it shows what it promises; the descriptors of a usual limit suffice for fewer.
func TestScrapeAndListOfManySessionsStallNobody(t *testing.T) {
	count := 500
	if text := os.Getenv("SLUICE_TEST_SESSIONS"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	p := startProcess(t, "")
	openMany(t, p.gateway, count)
	before := p.waitFor("sluice_sessions_active{listener=public,pool=echo,route=/}", float64(count))

	var took []time.Duration
	const scrapes = 20
	for range scrapes {
		start := time.Now()
		p.fetch("/metrics")
		took = append(took, time.Since(start))
	}
	start, listed := time.Now(), 0
	for query := ""; ; {
		page := pageOf(t, p.fetch("/api/v1/sessions?limit="+strconv.Itoa(admin.MostPage)+query))
		listed += len(page.Sessions)
		if page.Next == "" {
			break
		}
		query = "&cursor=" + page.Next
	}
	list := time.Since(start)
	after := p.scrape()
	slices.Sort(took)
	turns := after["sluice_loop_turn_seconds_count{}"] - before["sluice_loop_turn_seconds_count{}"]
	quick := after["sluice_loop_turn_seconds_bucket{0.001}"] - before["sluice_loop_turn_seconds_bucket{0.001}"]
	t.Logf("%d sessions: scrape %v (median), %v (worst); all listed in %v; of %v turns %v took over 1ms", count, took[scrapes/2], took[scrapes-1], list, turns, turns-quick)
	if listed != count {
		t.Errorf("%d sessions are listed, want %d", listed, count)
	}
	// Others use this machine: the half is what the gateway can answer for.
	if took[scrapes/2] > 50*time.Millisecond {
		t.Errorf("a scrape takes %v, want 50ms at most", took[scrapes/2])
	}
	if quick < 0.9*turns {
		t.Errorf("of %v turns %v took over 1ms", turns, turns-quick)
	}
}

// pageOf reads a page of sessions.
func pageOf(t *testing.T, text []byte) (page session.Page) {
	t.Helper()
	if err := json.Unmarshal(text, &page); err != nil {
		t.Fatal(err)
	}
	return page
}

// openMany opens sessions, some at once, which stay open until the test ends.
func openMany(t *testing.T, address string, count int) {
	t.Helper()
	places := make(chan struct{}, 64)
	var dialing sync.WaitGroup
	for range count {
		places <- struct{}{}
		dialing.Go(func() {
			defer func() { <-places }()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			conn, _, _, err := ws.Dial(ctx, "ws://"+address+"/")
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
		})
	}
	dialing.Wait()
}

func TestEveryRoomHasItsCountOfPanicsFromTheStart(t *testing.T) {
	values := startProcess(t, "").scrape()
	for _, room := range []string{"proxy", "driver", "balancer", "tls", "admin", "tracing", "filewatch", "sluice"} {
		key := "sluice_recovered_panics_total{room=" + room + "}"
		if n, isThere := values[key]; n != 0 || !isThere {
			t.Errorf("%s is %v (there: %v), want 0", key, n, isThere)
		}
	}
}
