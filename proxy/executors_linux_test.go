package proxy

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"sluice/internal/units"
	"sluice/proxy/driver"
	"sluice/proxy/limits"
)

// A client that goes at once, while its pick has just been lent to a goroutine.
func TestAClientThatGoesWhileItsPickIsLentPanicsNothing(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Pools[0].QueueTimeout, s.Pools[0].Queue = units.Duration(time.Minute), 1000
		s.Pools[0].Backend[0].MaxSessions = 1
		g := s.run(t)
		first := g.dial(t)
		first.send(t, asking("/"))
		firstEnd := backend.accept(t)
		firstEnd.send(t, switching())
		first.wantOpen(t)
		for range 300 {
			c, err := net.Dial("tcp", g.address())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = c.Write([]byte(asking("/")))
			_ = c.Close()
		}
		eventually(t, "no handshake is left", func() bool { return g.Listeners()[0].Handshakes == 0 })
		wantLive(t, first, firstEnd)
	})
}

// slowCore is an access log whose every line takes a while.
type slowCore struct {
	zapcore.Core
	delay time.Duration
}

func (b slowCore) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return c.AddCore(e, b)
}

func (b slowCore) Write(e zapcore.Entry, f []zapcore.Field) error {
	time.Sleep(b.delay)
	return b.Core.Write(e, f)
}

// Close returns after every goroutine of the Proxy has ended: the lines of all handshakes that it cut are written by then.
func TestCloseWaitsForTheHandshakesThatItCuts(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		g := newSetup(driver, backend.Addr().String()).run(t)
		core, access := observer.New(zapcore.InfoLevel)
		g.Proxy.access = zap.New(slowCore{core, 20 * time.Millisecond})
		const count = 20
		for range count {
			c := g.dial(t)
			c.send(t, asking("/"))
			backend.accept(t)
		}
		g.Close()
		if n := access.Len(); n != count {
			t.Errorf("%d access lines when Close has returned, want %d", n, count)
		}
		if n := g.placesHeld(limits.Connections) + g.placesHeld(limits.Sessions); n != 0 {
			t.Errorf("%d places are still held when Close has returned", n)
		}
	})
}

// The PROXY header that a backend gets has the addresses of the one that the gateway got, whichever executor executes the attempt.
func TestSendProxyPassesOnTheAddressesOfAPROXYHeader(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, closedAddress(t), "wss://"+backend.Addr().String())
		s.Pools[0].Backend[1].Backup = true
		s.Pools[0].SendProxy = true
		s.Listeners[0].ProxyProtocol, s.Listeners[0].TrustedProxies = true, []string{"127.0.0.0/8"}
		g := s.run(t)
		c := g.dial(t)
		c.send(t, "PROXY TCP4 192.0.2.7 203.0.113.1 4711 443\r\n"+asking("/"))
		b := backend.connected(t)
		b.mayWait()
		got := make([]byte, 28)
		if _, err := io.ReadFull(b.reader, got); err != nil {
			t.Fatal(err)
		}
		want := proxy2 + "\x21\x11\x00\x0c\xc0\x00\x02\x07\xcb\x00\x71\x01\x12\x67\x01\xbb"
		if string(got) != want {
			t.Errorf("header %q, want %q", got, want)
		}
	})
}

// A client that fills the buffer for its early frames and goes is no fault of the backend that it waits for.
func TestAClientThatSendsMuchAndGoesIsNoFaultOfItsBackend(t *testing.T) {
	withTransports(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		s.Routes[0].HandshakeTimeout = milliseconds(500)
		g := s.run(t)
		c := g.dial(t)
		c.send(t, asking("/"))
		backend.accept(t)
		for range 30 {
			c.send(t, c.text(strings.Repeat("x", 900)))
		}
		time.Sleep(50 * time.Millisecond)
		_ = c.Close()
		if got := g.lines(t, 1)[0].ContextMap()["reason"]; got != "client_lost" {
			t.Errorf("reason %v, want client_lost", got)
		}
		if n := g.metric(t, "sluice_backend_failures_total"); n != 0 {
			t.Errorf("%v failures of the backend, want none", n)
		}
	})
}

// stuckCore is a log that blocks at one message until release is closed.
type stuckCore struct {
	zapcore.Core
	message string
	stuck   chan struct{} // one value for each line that blocks
	release chan struct{}
}

func (b stuckCore) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return c.AddCore(e, b)
}

func (b stuckCore) Enabled(zapcore.Level) bool { return true }

func (b stuckCore) With([]zapcore.Field) zapcore.Core { return b }

func (b stuckCore) Write(e zapcore.Entry, _ []zapcore.Field) error {
	if e.Message == b.message {
		b.stuck <- struct{}{}
		<-b.release
	}
	return nil
}

// runWithLog starts the gateway with a log of the test's own.
func (s *setup) runWithLog(t *testing.T, log zapcore.Core) *gateway {
	t.Helper()
	drive, err := driver.New(s.transport.driver, 1, nil)
	if err != nil {
		t.Skip(err)
	}
	g := &gateway{registry: prometheus.NewRegistry()}
	s.Driver, s.Log, s.Access, s.Metrics = drive, zap.New(log), zap.NewNop(), g.registry
	if g.Proxy, err = New(s.Config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	g.Start()
	return g
}

// A failed attempt may eject its backend, which is logged. A log that is slow must not stop the sessions of the loop.
func TestASlowLogOfAnEjectionStopsNoOtherSession(t *testing.T) {
	withDrivers(t, func(t *testing.T, driverName string) {
		backend := listenRaw(t)
		s := newSetup(driverName, backend.Addr().String())
		broken := newPool("broken", closedAddress(t), closedAddress(t)) // the last available backend is never ejected
		broken.Ejection.Failures = 1
		s.Pools = append(s.Pools, broken)
		s.Routes = append(s.Routes, newRouteConfig("broken"))
		s.Routes[1].Path = "/broken"
		log := stuckCore{zapcore.NewNopCore(), "backend ejected", make(chan struct{}, 10), make(chan struct{})}
		g := s.runWithLog(t, log)
		defer close(log.release)
		client := g.dial(t)
		client.send(t, asking("/"))
		b := backend.accept(t)
		b.send(t, switching())
		client.wantOpen(t)
		refused := g.dial(t)
		refused.send(t, asking("/broken"))
		<-log.stuck
		wantLive(t, client, b)
	})
}
