package load

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bounded are options of a load that ends by its count, long before its time.
func bounded(mode Mode, url string) Options {
	o := Options{Mode: mode, URL: url, Connections: 7, Duration: time.Minute, Count: 100, Size: 1000, Window: 1, Seed: 1}
	if mode == Echo || mode == Soak {
		o.Window = 3
	}
	return o
}

func TestEchoPushAndSoakEndAfterTheirCountWithoutErrors(t *testing.T) {
	for scheme, start := range servers {
		url, ca := start(t)
		for _, mode := range []Mode{Echo, Push, Soak} {
			t.Run(scheme+" "+string(mode), func(t *testing.T) {
				o := bounded(mode, url)
				o.CA = ca
				r := mustRun(t, o)
				if r.Errors != 0 || r.Handshakes != 7 || r.Messages < 100 || mode != Push && r.Messages != 100 {
					t.Errorf("got %d messages, %d handshakes, errors %v; want 100, 7 and none", r.Messages, r.Handshakes, texts(r))
				}
				if mode == Echo && (r.BytesSent != 100_000 || r.BytesReceived != 100_000) {
					t.Errorf("%d bytes were sent and %d received; want 100000 of each", r.BytesSent, r.BytesReceived)
				}
			})
		}
	}
}

func TestStormEndsAfterItsCount(t *testing.T) {
	for scheme, start := range servers {
		t.Run(scheme, func(t *testing.T) {
			url, ca := start(t)
			o := bounded(Storm, url)
			o.CA = ca
			r := mustRun(t, o)
			if r.Errors != 0 || r.Handshakes != 100 || r.Handshake == nil {
				t.Errorf("got %d handshakes, errors %v; want 100 and none", r.Handshakes, texts(r))
			}
		})
	}
}

func TestStormResumesTLSSessionsOnlyWithResume(t *testing.T) {
	var resumed atomic.Int64
	url, ca := startTLSWith(t, func(cs tls.ConnectionState) error {
		if cs.DidResume {
			resumed.Add(1)
		}
		return nil
	})
	o := bounded(Storm, url)
	o.CA = ca
	if r := mustRun(t, o); r.Errors != 0 || resumed.Load() != 0 {
		t.Errorf("%d of %d handshakes were resumed, errors %v; want none", resumed.Load(), r.Handshakes, texts(r))
	}
	o.Resume = true
	// The first one of each connection has no ticket yet.
	if r := mustRun(t, o); r.Errors != 0 || resumed.Load() < 50 {
		t.Errorf("%d of %d handshakes were resumed, errors %v; want most", resumed.Load(), r.Handshakes, texts(r))
	}
}

func TestOpenLoopKeepsItsRate(t *testing.T) {
	for scheme, start := range servers {
		t.Run(scheme, func(t *testing.T) {
			url, ca := start(t)
			o := bounded(Echo, url)
			o.CA, o.Count, o.Window, o.Rate, o.Duration = ca, 0, 1, 1000, 500*time.Millisecond
			r := mustRun(t, o)
			// 500 are due in the time. How late the last ones come is the machine's.
			if r.Errors != 0 || r.Messages < 100 || r.Messages > 600 {
				t.Errorf("got %d messages, errors %v; want about 500 and none", r.Messages, texts(r))
			}
		})
	}
}

func TestIdleHoldsSessionsAndMeasuresProcesses(t *testing.T) {
	for scheme, start := range servers {
		t.Run(scheme, func(t *testing.T) {
			url, ca := start(t)
			o := bounded(Idle, url)
			o.CA, o.From, o.Duration, o.PIDs, o.Count = ca, 3, 300*time.Millisecond, []int{os.Getpid()}, 0
			r := mustRun(t, o)
			if r.Errors != 0 || r.Handshakes != 7 || r.Seconds < 0.3 {
				t.Errorf("held %d sessions for %v s, errors %v; want 7 for 0.3 s and none", r.Handshakes, r.Seconds, texts(r))
			}
			if len(r.Processes) != 1 || r.Processes[0].RSS == 0 || r.RSSPerSession == nil {
				t.Errorf("processes = %+v, memory a session = %v; want both", r.Processes, r.RSSPerSession)
			}
		})
	}
}

func TestLoadEndsByItsTimeAndByItsContext(t *testing.T) {
	url, _ := startPlain(t)
	o := bounded(Echo, url)
	o.Count, o.Duration, o.Warmup = 0, 50*time.Millisecond, 10*time.Millisecond
	if r := mustRun(t, o); r.Errors != 0 || r.Messages == 0 || r.Latency == nil || r.Seconds < 0.05 {
		t.Errorf("got %d messages in %v s, errors %v", r.Messages, r.Seconds, texts(r))
	}
	o.Duration = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if r, err := Run(ctx, o, nil); err != nil || r.Errors != 0 {
		t.Errorf("Run until its context ends = %v, %v", r, err)
	}
}

func TestErrorsAreCountedByKind(t *testing.T) {
	const accepted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
	tests := []struct {
		kind   string
		answer string // after the head of the request; ACCEPT is what the accept field should be
	}{
		{"status_503", "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"},
		{"handshake", "SSH-2.0-OpenSSH\r\n\r\n"},
		{"handshake", accepted + "AAAA\r\n\r\n"},
		{"handshake", accepted + "ACCEPT\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"},
		{"handshake", ""},
		{"handshake", strings.Repeat("x", maxAnswer+1)},
		{"closed_1012", accepted + "ACCEPT\r\n\r\n\x88\x02\x03\xf4"},
		{"closed_1005", accepted + "ACCEPT\r\n\r\n\x88\x00"},
		{"eof", accepted + "ACCEPT\r\n\r\n"},
		{"protocol", accepted + "ACCEPT\r\n\r\n\xff\xff"},
		{"protocol", accepted + "ACCEPT\r\n\r\n\x82\x81abcd1"},
		{"protocol", accepted + "ACCEPT\r\n\r\n\x80\x00"},
		{"protocol", accepted + "ACCEPT\r\n\r\n\x82\x7e\x00\x05hello"},
		{"protocol", accepted + "ACCEPT\r\n\r\n\x09\x00"},
		{"duplicated", accepted + "ACCEPT\r\n\r\n\x82\x01x"},
	}
	for _, tt := range tests {
		o := bounded(Echo, "ws://"+fakeServer(t, tt.answer))
		o.Connections = 1
		r := mustRun(t, o)
		if r.Errors != 1 || r.ErrorsByKind[tt.kind] == nil {
			t.Errorf("answer %q: errors %v; want one %s", tt.answer, texts(r), tt.kind)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	for _, scheme := range []string{"ws://", "wss://"} {
		r := mustRun(t, bounded(Echo, scheme+ln.Addr().String()))
		if f := r.ErrorsByKind["connect"]; r.Errors != 7 || f == nil || f.Count != 7 || !strings.Contains(f.First, ln.Addr().String()) {
			t.Errorf("no server at %s: errors %v; want 7 connect", ln.Addr(), texts(r))
		}
	}
}

func TestOpenLoopReportsAStallOfTheServer(t *testing.T) {
	const stall = 400 * time.Millisecond
	for scheme, start := range servers {
		t.Run(scheme, func(t *testing.T) {
			backend, ca := start(t)
			parts := 0
			stalling := relay(t, backend, func(p []byte) []byte {
				// The handshakes are complete.
				if parts++; parts == 10 {
					time.Sleep(stall)
				}
				return p
			})
			// 200 messages are due in the second. Those of the first 200 ms of the stall wait for 200 ms or more: a fifth of all. Who sends
			// the next message when the last is back would see one that is late.
			r := mustRun(t, Options{Mode: Echo, URL: stalling, CA: ca, Connections: 1, Duration: time.Second, Size: 64, Window: 1, Rate: 200})
			if r.Errors != 0 || r.Latency.P90 < 200e3 || r.Latency.Max < 390e3 {
				t.Errorf("errors %v, latency %+v; want none, a p90 of 200000 µs and a maximum of 390000 at least", texts(r), *r.Latency)
			}
		})
	}
}

func TestInvalidOptionsAreRefused(t *testing.T) {
	tests := []struct {
		want   string
		change func(o *Options)
	}{
		{"-mode", func(o *Options) { o.Mode = "flood" }},
		{"-url", func(o *Options) { o.URL = "" }},
		{"-url", func(o *Options) { o.URL = "http://127.0.0.1/" }},
		{"-url", func(o *Options) { o.URL = "ws://127.0.0.1:99999/" }},
		{"-url", func(o *Options) { o.URL = "ws://127.0.0.1:0/" }},
		{"-url", func(o *Options) { o.URL = "ws://127.0.0.1:1/%zz" }},
		{"-c", func(o *Options) { o.Connections = 0 }},
		{"-d", func(o *Options) { o.Duration = 0 }},
		{"-n", func(o *Options) { o.Count = -1 }},
		{"-warmup", func(o *Options) { o.Warmup = -1 }},
		{"-size", func(o *Options) { o.Size = maxSize + 1 }},
		{"-size", func(o *Options) { o.Mode, o.Size = Soak, 15 }},
		{"-window", func(o *Options) { o.Window = 0 }},
		{"-rate", func(o *Options) { o.Rate = -1 }},
		{"-rate is for", func(o *Options) { o.Mode, o.Window, o.Rate = Push, 1, 1 }},
		{"-from", func(o *Options) { o.From = 1 }},
		{"-from", func(o *Options) { o.Mode, o.From = Idle, 7 }},
		{"-loops", func(o *Options) { o.Loops = -1 }},
		{"-resume", func(o *Options) { o.URL, o.Resume = "wss://127.0.0.1/", true }},
		{"-resume", func(o *Options) { o.Mode, o.Window, o.Resume = Storm, 1, true }},
		{"-window is for", func(o *Options) { o.Mode = Push }},
		{"-window and -rate", func(o *Options) { o.Rate = 1 }},
		{"-n", func(o *Options) { o.Mode, o.Window = Idle, 1 }},
		{"-pid", func(o *Options) { o.PIDs = []int{1 << 30} }},
		{"-ca", func(o *Options) { o.URL, o.CA = "wss://127.0.0.1/", "/does/not/exist" }},
		{"the file has no certificate", func(o *Options) { o.URL, o.CA = "wss://127.0.0.1/", "load_test.go" }},
		{"-ca is for wss", func(o *Options) { o.CA = "load_test.go" }},
		{"-allow-remote", func(o *Options) { o.URL = "ws://192.0.2.1/" }},
		{"-allow-remote", func(o *Options) { o.URL = "wss://[2001:db8::1]/" }},
	}
	for _, tt := range tests {
		o := bounded(Echo, "ws://127.0.0.1:1/")
		tt.change(&o)
		var wrong OptionError
		if r, err := Run(t.Context(), o, nil); !errors.As(err, &wrong) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Run(%+v) = %v, %v; want an OptionError about %s", o, r, err, tt.want)
		}
	}
}

func TestReportHasItsDocumentedKeys(t *testing.T) {
	url, _ := startPlain(t)
	o := bounded(Echo, url)
	o.PIDs = []int{os.Getpid()}
	r := mustRun(t, o)
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]any
	if err := json.Unmarshal(text, &keys); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"messages", "errors", "errors_by_kind", "latency_us", "cpu_us_per_message", "cpu_s_per_gb", "rss_bytes_per_session"} {
		if _, ok := keys[key]; !ok {
			t.Errorf("key %s is missing in %s", key, text)
		}
	}
	for _, key := range []string{"p50", "p90", "p99", "p999", "max"} {
		if v, ok := keys["latency_us"].(map[string]any)[key].(float64); !ok || v <= 0 {
			t.Errorf("latency_us.%s = %v in %s", key, v, text)
		}
	}
	var table strings.Builder
	if err := r.Print(&table); err != nil || !strings.Contains(table.String(), "p99.9") || !strings.Contains(table.String(), "errors") {
		t.Errorf("Print = %v:\n%s", err, &table)
	}
}

func TestProgressIsPrintedEachSecond(t *testing.T) {
	url, _ := startPlain(t)
	o := bounded(Echo, url)
	o.Count, o.Window, o.Rate, o.Duration = 0, 1, 100, 1200*time.Millisecond
	var lines strings.Builder
	if _, err := Run(t.Context(), o, &lines); err != nil || !strings.Contains(lines.String(), "7 handshakes") {
		t.Errorf("Run = %v; printed %q", err, &lines)
	}
}

// The keys of a report are a contract.
func TestEveryKeyOfAReportIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(text)
	for _, of := range []reflect.Type{reflect.TypeFor[Report](), reflect.TypeFor[Quantiles](), reflect.TypeFor[Process](), reflect.TypeFor[FaultCount]()} {
		for i := range of.NumField() {
			key, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			if !strings.Contains(doc, "`"+key+"`") {
				t.Errorf("key %s of %v is not in docs/benchmarks.md", key, of)
			}
		}
	}
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	kind := regexp.MustCompile(`faultf\("([a-z]+)"`)
	for _, name := range sources {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range kind.FindAllStringSubmatch(string(source), -1) {
			if !strings.Contains(doc, "`"+found[1]+"`") {
				t.Errorf("%s: errors of the kind %s are not in docs/benchmarks.md", name, found[1])
			}
		}
	}
}
