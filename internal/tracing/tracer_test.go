package tracing

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/proto"

	"sluice/proxy/handshake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fakeCollector takes what is sent by OTLP over HTTP.
type fakeCollector struct {
	*httptest.Server

	mu sync.Mutex

	spans []*spans.Span // guarded by mu
}

func startCollector(t *testing.T) *fakeCollector {
	t.Helper()
	c := &fakeCollector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			unzipped, err := gzip.NewReader(body)
			if err != nil {
				t.Error(err)
				return
			}
			body = unzipped
		}
		text, err := io.ReadAll(body)
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("request to %s: %v", r.URL, err)
		}
		var request collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(text, &request); err != nil {
			t.Error(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, resource := range request.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// newTracer returns a tracer; finish closes it, so that all has arrived.
func newTracer(t *testing.T, c *Config, log *zap.Logger) (tracer *Tracer, finish func()) {
	t.Helper()
	tracer, err := New(c, Options{Version: "v1", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	return tracer, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := tracer.Close(ctx); err != nil {
			t.Error(err)
		}
	}
}

func TestHandshakeArrivesAsASpanWithItsParts(t *testing.T) {
	c := startCollector(t)
	tracer, finish := newTracer(t, &Config{Endpoint: c.URL + "/v1/traces", Sample: 1, Service: "sluice"}, zap.NewNop())
	start := time.Now()
	trace := tracer.Begin(start, handshake.TraceParent{})
	trace.Step(handshake.TraceStep{Name: "accept", Start: start, End: start.Add(time.Millisecond)})
	trace.Step(handshake.TraceStep{Name: "dial", Start: start.Add(time.Millisecond), End: start.Add(3 * time.Millisecond), Backend: "b:1", Err: errors.New("refused")})
	parent, state := trace.Fields()
	trace.End(handshake.TraceEnd{Session: "1", Route: "/", Status: 502, Err: errors.New("no backend")})
	finish()

	if len(c.spans) != 3 {
		t.Fatalf("%d spans, want 3: %v", len(c.spans), c.spans)
	}
	byName := map[string]*spans.Span{}
	for _, s := range c.spans {
		byName[s.Name] = s
	}
	root, accept, dial := byName["websocket handshake"], byName["accept"], byName["dial"]
	if root == nil || accept == nil || dial == nil {
		t.Fatalf("spans %v", byName)
	}
	if string(accept.ParentSpanId) != string(root.SpanId) || string(dial.TraceId) != string(root.TraceId) || len(root.ParentSpanId) != 0 {
		t.Error("the parts are not below the handshake")
	}
	if got := dial.EndTimeUnixNano - dial.StartTimeUnixNano; got != uint64(2*time.Millisecond) {
		t.Errorf("dial lasts %d ns, want 2ms", got)
	}
	if root.Status.GetCode() != spans.Status_STATUS_CODE_ERROR || dial.Status.GetMessage() != "refused" || accept.Status.GetCode() == spans.Status_STATUS_CODE_ERROR {
		t.Errorf("status of the handshake %v, of dial %v, of accept %v", root.Status, dial.Status, accept.Status)
	}
	if !strings.HasPrefix(parent, "00-") || !strings.HasSuffix(parent, "-01") || state != "" {
		t.Errorf("the backend is told %q, %q", parent, state)
	}
}

// Only a trusted proxy decides that a trace is recorded; everybody's trace goes on.
func TestAStrangersFlagDoesNotOverrideTheSample(t *testing.T) {
	c := startCollector(t)
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"
	for _, test := range []struct {
		sample    float64
		flag      string
		isTrusted bool
		want      string // the flag that the backend gets
	}{
		{0, "1", false, "0"},
		{0, "1", true, "1"},
		{1, "1", false, "1"},
		{1, "0", false, "0"},
		{1, "0", true, "0"},
	} {
		tracer, finish := newTracer(t, &Config{Endpoint: c.URL + "/v1/traces", Sample: test.sample, Service: "sluice"}, zap.NewNop())
		trace := tracer.Begin(time.Now(), handshake.TraceParent{Parent: parent + test.flag, State: "vendor=1", IsTrusted: test.isTrusted})
		sent, state := trace.Fields()
		if !strings.HasPrefix(sent, parent[:36]) || !strings.HasSuffix(sent, "-0"+test.want) || state != "vendor=1" || trace.IsRecorded() != (test.want == "1") {
			t.Errorf("%+v: the backend is told %q, %q, recorded is %v", test, sent, state, trace.IsRecorded())
		}
		trace.End(handshake.TraceEnd{Status: 101})
		finish()
	}
}

func TestTraceOfTheClientIsContinued(t *testing.T) {
	c := startCollector(t)
	tracer, finish := newTracer(t, &Config{Endpoint: c.URL + "/v1/traces", Sample: 0, Service: "sluice"}, zap.NewNop())
	const id = "0af7651916cd43dd8448eb211c80319c"
	sampled := tracer.Begin(time.Now(), handshake.TraceParent{Parent: "00-" + id + "-b7ad6b7169203331-01", State: "vendor=1", IsTrusted: true})
	parent, state := sampled.Fields()
	if !strings.HasPrefix(parent, "00-"+id+"-") || !strings.HasSuffix(parent, "-01") || strings.Contains(parent, "b7ad6b7169203331") || state != "vendor=1" {
		t.Errorf("the backend is told %q, %q", parent, state)
	}
	sampled.End(handshake.TraceEnd{Status: 101})
	unsampled := tracer.Begin(time.Now(), handshake.TraceParent{Parent: "00-" + id + "-b7ad6b7169203331-00", IsTrusted: true})
	if parent, _ := unsampled.Fields(); !strings.HasPrefix(parent, "00-"+id+"-") || !strings.HasSuffix(parent, "-00") {
		t.Errorf("of a trace that isn't recorded the backend is told %q", parent)
	}
	unsampled.Step(handshake.TraceStep{Name: "accept"})
	unsampled.End(handshake.TraceEnd{Status: 101})
	for _, wrong := range []string{"", "x", "00-" + id + "-0000000000000000-01", "ff-" + id + "-b7ad6b7169203331-01", "00-" + strings.ToUpper(id) + "-b7ad6b7169203331-01"} {
		own := tracer.Begin(time.Now(), handshake.TraceParent{Parent: wrong, State: "vendor=1"})
		if parent, state := own.Fields(); len(parent) != 55 || strings.Contains(parent, id) || !strings.HasSuffix(parent, "-00") || state != "" {
			t.Errorf("traceparent %q: the backend is told %q, %q; want a trace of its own", wrong, parent, state)
		}
		own.End(handshake.TraceEnd{Status: 101})
	}
	finish()
	if len(c.spans) != 1 || c.spans[0].Status.GetCode() == spans.Status_STATUS_CODE_ERROR {
		t.Errorf("spans %v, want that of the recorded trace", c.spans)
	}
}

func TestCollectorThatIsAbsentIsTold(t *testing.T) {
	c := startCollector(t)
	c.Close()
	core, lines := observer.New(zap.WarnLevel)
	tracer, err := New(&Config{Endpoint: c.URL + "/v1/traces", Sample: 1, Service: "sluice"}, Options{Version: "v1", Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	tracer.Begin(time.Now(), handshake.TraceParent{}).End(handshake.TraceEnd{Status: 101})
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	// It is told by Close, or by a line before.
	if err := tracer.Close(ctx); err == nil && lines.FilterMessage("traces lost").Len() == 0 {
		t.Error("nothing tells that traces are lost")
	}
}

func TestCheckReportsWhatNoCollectorIs(t *testing.T) {
	tests := []struct {
		config Config
		want   string // keys
	}{
		{Config{Sample: 1, Service: "s"}, ""},
		{Config{Endpoint: "https://c.example/v1/traces", Sample: 0.5, Service: "s"}, ""},
		{Config{Endpoint: "c.example:4318", Service: "s"}, "endpoint"},
		{Config{Endpoint: "grpc://c.example:4317", Service: "s"}, "endpoint"},
		{Config{Endpoint: "http://user:password@c.example", Service: "s"}, "endpoint"},
		{Config{Sample: 1.5}, "sample service"},
		{Config{Sample: -1, Service: "s"}, "sample"},
	}
	for _, test := range tests {
		var keys []string
		test.config.Check(func(key, problem string, got any, want string) { keys = append(keys, key) })
		if got := strings.Join(keys, " "); got != test.want {
			t.Errorf("%+v: problems of %q, want of %q", test.config, got, test.want)
		}
	}
}

// A panickingExporter panics at its first export.
type panickingExporter struct {
	sdk.SpanExporter
	exports int
}

func (e *panickingExporter) ExportSpans(context.Context, []sdk.ReadOnlySpan) error {
	if e.exports++; e.exports == 1 {
		panic("boom")
	}
	return nil
}

func TestAPanicOfAnExportLosesItsTracesOnly(t *testing.T) {
	told := 0
	core, lines := observer.New(zap.WarnLevel)
	exporter := &reported{&panickingExporter{}, zap.New(core), func(name string, cause any, _ []byte) {
		told++
		if name != room || cause != "boom" {
			t.Errorf("told of %v in the room %s", cause, name)
		}
	}}
	for range 2 {
		if err := exporter.ExportSpans(t.Context(), nil); err != nil {
			t.Error(err)
		}
	}
	if told != 1 || lines.FilterMessage("traces lost").Len() != 1 {
		t.Errorf("%d panics and %d lines of lost traces, want 1 of both", told, lines.Len())
	}
}
