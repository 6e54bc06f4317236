package load

import (
	"strings"
	"testing"
	"time"

	"sluice/internal/h2test"
)

func TestSessionsAreStreamsOfFewConnections(t *testing.T) {
	for _, mode := range []Mode{Echo, Push, Idle, Soak} {
		t.Run(string(mode), func(t *testing.T) {
			bridge, err := h2test.Back(serve(t, nil), nil, h2test.BridgeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(bridge.Close)
			o := bounded(mode, "ws://"+bridge.Addr())
			o.Streams = 3
			if mode == Idle {
				o.Count, o.Duration = 0, 300*time.Millisecond
			}
			r := mustRun(t, o)
			if r.Errors != 0 || r.Handshakes != int64(o.Connections) {
				t.Errorf("%d handshakes, errors %v; want %d and none", r.Handshakes, texts(r), o.Connections)
			}
			if n := bridge.Accepted(); n != 3 {
				t.Errorf("%d sessions of 3 a connection had %d connections, want 3", o.Connections, n)
			}
		})
	}
}

func TestAServerThatOffersNoWebSocketOverHTTP2IsNamed(t *testing.T) {
	server, err := h2test.Listen(nil, h2test.Options{NoConnect: true}, func(*h2test.Stream) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	o := bounded(Echo, "ws://"+server.Addr())
	o.Connections, o.Streams = 1, 1
	if r := mustRun(t, o); r.Errors != 1 || !strings.Contains(texts(r)["connect"], "WebSocket over HTTP/2") {
		t.Errorf("errors %v", texts(r))
	}
}
