package gateway

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gobwas/ws"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"sluice/internal/config"
)

// startCollector takes spans by OTLP over HTTP; names returns theirs, which belong to the trace of that id.
func startCollector(t *testing.T, id string) (url string, names func() []string) {
	t.Helper()
	var mu sync.Mutex
	var all []string // guarded by mu
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
		var request collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(text, &request)
		}
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, resource := range request.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				for _, span := range scope.Spans {
					if fmt.Sprintf("%x", span.TraceId) == id {
						all = append(all, span.Name)
					}
				}
			}
		}
	}))
	t.Cleanup(server.Close)
	return server.URL + "/v1/traces", func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// startWitness runs a backend that accepts one handshake after another, and returns where it puts their heads.
func startWitness(t *testing.T) (address string, heads <-chan http.Header) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	seen := make(chan http.Header, 16)
	go acceptAll(listener, seen)
	return listener.Addr().String(), seen
}

// acceptAll runs until the listener is closed.
func acceptAll(listener net.Listener, seen chan<- http.Header) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		request, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			_ = conn.Close()
			continue
		}
		seen <- request.Header
		_, _ = ws.Upgrade(struct {
			io.Reader
			io.Writer
		}{strings.NewReader(headOf(request)), conn})
		_ = conn.Close()
	}
}

// headOf writes a request's head anew.
func headOf(r *http.Request) string {
	var text strings.Builder
	fmt.Fprintf(&text, "GET / HTTP/1.1\r\nHost: %s\r\n", r.Host)
	_ = r.Header.Write(&text)
	return text.String() + "\r\n"
}

func TestTraceOfAHandshakeGoesOnToTheBackendAndTheCollector(t *testing.T) {
	const id = "0af7651916cd43dd8448eb211c80319c"
	endpoint, names := startCollector(t, id)
	backend, heads := startWitness(t)
	file, err := config.Parse("test.toml", fmt.Appendf(nil, "[gateway]\ndrain = \"0s\"\n[admin]\naddress = \"\"\n[tracing]\nendpoint = %q\n"+
		"[[listener]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n[[route]]\npool = \"echo\"\n[[pool]]\nname = \"echo\"\npolicy = \"round_robin\"\nretries = 1\n"+
		"backend = [{ address = \"127.0.0.1:1\" }, { address = %q }]\n", endpoint, backend))
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(file, Options{Stderr: failingLog{t}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()

	dialer := ws.Dialer{Header: ws.HandshakeHeaderHTTP(http.Header{"Traceparent": {"00-" + id + "-b7ad6b7169203331-01"}, "Tracestate": {"vendor=1"}})}
	const handshakes = 2 // one of which at least meets the backend that is absent first
	for range handshakes {
		conn, _, _, err := dialer.Dial(ctx, "ws://"+g.Addr("public").String()+"/")
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		head := <-heads
		got := head["Traceparent"]
		if len(got) != 1 || !strings.HasPrefix(got[0], "00-"+id+"-") || strings.Contains(got[0], "b7ad6b7169203331") || !slices.Equal(head["Tracestate"], []string{"vendor=1"}) {
			t.Errorf("the backend is told %q, %q", got, head["Tracestate"])
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	got := names()
	count := map[string]int{}
	for _, name := range got {
		count[name]++
	}
	want := map[string]int{"websocket handshake": handshakes, "accept": handshakes, "route": handshakes, "answer": handshakes}
	for name, n := range want {
		if count[name] != n {
			t.Errorf("%d spans %q, want %d; all: %q", count[name], name, n, got)
		}
	}
	if n := count["dial"]; n <= handshakes || n > 2*handshakes || count["pick"] != n {
		t.Errorf("%d spans \"dial\", %d \"pick\"; want as many of both, one or two a handshake, not one for each; all: %q", n, count["pick"], got)
	}
}
