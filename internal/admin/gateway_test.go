package admin

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"sluice/balancer"
	"sluice/internal/echo"
	"sluice/internal/units"
	"sluice/proxy"
	"sluice/proxy/driver"
	"sluice/proxy/route"
	"sluice/proxy/session"
)

// patience is far more than anything here takes.
const patience = 20 * time.Second

// A testGateway is a gateway with two echo backends behind two routes, and its admin listener.
type testGateway struct {
	*testing.T
	proxy    *proxy.Proxy
	server   *Server
	registry *prometheus.Registry
	admin    string
	address  string // for clients
	backends []string
	level    zap.AtomicLevel
	isReady  *atomic.Bool
	process  atomic.Pointer[Process]
	upgraded atomic.Pointer[Upgraded] // nil: upgrades fail
}

// startGateway runs a gateway until the test ends.
func startGateway(t *testing.T, config Config, reload func(context.Context) ([]string, error)) *testGateway {
	t.Helper()
	g := &testGateway{T: t, registry: prometheus.NewRegistry(), level: zap.NewAtomicLevelAt(zap.WarnLevel), isReady: new(atomic.Bool)}
	g.isReady.Store(true)
	g.process.Store(new(Process))
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "sluice_test_total", Help: "A metric of the test."})
	g.registry.MustRegister(counter)
	log := zaptest.NewLogger(t, zaptest.Level(g.level))
	g.proxy = g.startProxy(log)
	server, err := Listen(Options{
		Config: config, Gatherer: g.registry, IsReady: g.isReady.Load, Proxy: g.proxy, Level: g.level, Reload: reload, Log: log,
		Process: func() Process { return *g.process.Load() }, Upgrade: g.upgrade, Panics: g.handlePanic,
		Configuration: func() *Configuration {
			return &Configuration{Files: []string{"a.toml"}, Configuration: map[string]any{}, Waiting: []WaitingKey{{"gateway.workers", 1, nil}}, TOML: []byte("# a\n")}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown = %v", err)
		}
	})
	g.server, g.admin = server, server.Addr().String()
	return g
}

func (g *testGateway) upgrade(context.Context) (*Upgraded, error) {
	if report := g.upgraded.Load(); report != nil {
		return report, nil
	}
	return nil, errors.New("no upgrade")
}

// handlePanic is a recovery.Handler. A recovered panic fails the test.
func (g *testGateway) handlePanic(room string, cause any, stack []byte) {
	g.Errorf("panic in %s: %v\n%s", room, cause, stack)
}

func (g *testGateway) startProxy(log *zap.Logger) *proxy.Proxy {
	g.Helper()
	pool := balancer.Config{
		Name: "echo", Policy: balancer.PolicyRoundRobin, Retries: 1, Panic: true,
		Queue: 1, RetryAfter: units.Duration(time.Second),
		Sticky:    balancer.StickyConfig{Cookie: "sluice", Path: "/", HTTPOnly: true, SameSite: "lax"},
		Discovery: balancer.DiscoveryConfig{Interval: units.Duration(time.Second), Timeout: units.Duration(time.Second)},
		Health:    balancer.HealthConfig{Path: "/", Interval: units.Duration(time.Second), Timeout: units.Duration(time.Second), Rise: 1, Fall: 1},
		Ejection:  balancer.EjectionConfig{Window: units.Duration(time.Second), BaseTime: units.Duration(time.Second), MaxTime: units.Duration(time.Second), MaxPercent: 50},
		Rebalance: balancer.RebalanceConfig{Tolerance: 5, Interval: units.Duration(time.Second)},
	}
	for range 2 {
		address := startEcho(g.T)
		g.backends = append(g.backends, address)
		pool.Backend = append(pool.Backend, balancer.BackendConfig{Address: address, Weight: 1})
	}
	section := func(path string) route.Config {
		return route.Config{
			Path: path, Pool: "echo", HTTP: true, EncodedSlashes: "refuse", Ping: "answer",
			PongTimeout: units.Duration(time.Second), CloseTimeout: units.Duration(time.Second), WriteTimeout: units.Duration(patience),
			CloseCodes:     route.CloseCodes{Drained: 1012, BackendLost: 1011, ClientLost: 1001},
			ConnectTimeout: units.Duration(patience), HandshakeTimeout: units.Duration(patience), ResponseTimeout: units.Duration(patience),
		}
	}
	drive, err := driver.New("auto", 2, nil)
	if err != nil {
		g.Fatal(err)
	}
	p, err := proxy.New(proxy.Config{
		Sections: proxy.Sections{
			Listeners: []proxy.Listener{{ListenerConfig: proxy.ListenerConfig{
				Name: "public", Address: "127.0.0.1:0", HeadTimeout: units.Duration(patience), MaxHandshakes: 100,
			}}},
			Routes: []route.Config{section("/"), section("/chat")},
			Pools:  []proxy.Pool{{Config: pool}}, MaxSessions: 20_000,
		},
		Driver: drive, Log: log, Access: zap.NewNop(), Metrics: g.registry, Panics: g.handlePanic,
	})
	if err != nil {
		g.Fatal(err)
	}
	p.Start()
	g.Cleanup(p.Close)
	g.address = p.Addr("public").String()
	return p
}

// startEcho runs an echo backend until the test ends, and returns its address.
func startEcho(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- echo.Serve(ctx, listener, echo.Options{Loops: 1}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("echo backend: %v", err)
		}
	})
	return listener.Addr().String()
}

// dial opens a session and waits until the gateway has it: a client gets its 101 just before.
func (g *testGateway) dial(path string) net.Conn {
	g.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dialer := ws.Dialer{Protocols: []string{"chat.v1"}}
	conn, early, _, err := dialer.Dial(ctx, "ws://"+g.address+path)
	if err != nil || early != nil {
		g.Fatalf("dial %s: %v, early frames: %v", path, err, early != nil)
	}
	g.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		g.Fatal(err)
	}
	for !g.has(conn) {
		if ctx.Err() != nil {
			g.Fatalf("the session of %s isn't listed", path)
		}
	}
	return conn
}

// has reports whether the gateway has the session of a client.
func (g *testGateway) has(conn net.Conn) bool {
	page, err := g.proxy.Sessions().Page(&session.Query{}, "", MostPage)
	if err != nil {
		g.Fatal(err)
	}
	return slices.ContainsFunc(page.Sessions, func(s session.View) bool { return s.Client.Address == conn.LocalAddr().String() })
}

// echo sends a text and waits for it.
func (g *testGateway) echo(conn net.Conn, text string) {
	g.Helper()
	if err := wsutil.WriteClientText(conn, []byte(text)); err != nil {
		g.Fatal(err)
	}
	if got, err := wsutil.ReadServerText(conn); err != nil || string(got) != text {
		g.Fatalf("echo of %q = %q, %v", text, got, err)
	}
}

// wantClose reads up to the close frame, checks its code, and answers it.
func (g *testGateway) wantClose(conn net.Conn, want ws.StatusCode) {
	g.Helper()
	header, err := ws.ReadHeader(conn)
	if err != nil || header.OpCode != ws.OpClose || header.Length > ws.MaxControlFramePayloadSize {
		g.Fatalf("frame %+v, %v; want a close", header, err)
	}
	payload := make([]byte, header.Length)
	if _, err := io.ReadFull(conn, payload); err != nil {
		g.Fatal(err)
	}
	if code, _ := ws.ParseCloseFrameData(payload); code != want {
		g.Errorf("close code %d, want %d", code, want)
	}
	if err := ws.WriteFrame(conn, ws.MaskFrameInPlace(ws.NewCloseFrame(payload))); err != nil {
		g.Error(err)
	}
	_ = conn.Close()
}
