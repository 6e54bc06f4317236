package proxy

import (
	"context"
	"encoding"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"sluice/balancer"
	"sluice/internal/units"
	"sluice/proxy/driver"
	"sluice/proxy/limits"
	"sluice/proxy/route"
)

// patience bounds each wait for something that is expected at once. The machine may be busy.
const patience = 10 * time.Second

// A gateway is a running Proxy with its logs and metrics.
type gateway struct {
	*Proxy
	access   *observer.ObservedLogs // the access log
	log      *observer.ObservedLogs // the log, from debug on
	registry *prometheus.Registry

	transport transport
	bridges   bridges
}

// A setup is the configuration of a gateway. It begins with one listener "public", one route and one pool "pool".
type setup struct {
	transport transport
	Config
	breaks func(p *Proxy) // called before the gateway accepts; may be nil
}

// newSetup returns the setup of a gateway with these backends. transportName is the driver that accepts and relays, or another one of transports.
func newSetup(transportName string, backends ...string) *setup {
	s := &setup{transport: transportNamed(transportName)}
	s.Listeners = []Listener{newListener("public", "127.0.0.1:0")}
	s.Routes = []route.Config{newRouteConfig("pool")}
	s.Pools = []Pool{newPool("pool", backends...)}
	s.MaxSessions = 1000
	return s
}

func newListener(name, address string) (c Listener) {
	setDefaults(reflect.ValueOf(&c.ListenerConfig).Elem())
	c.Name, c.Address = name, address
	return c
}

func newRouteConfig(pool string) (c route.Config) {
	setDefaults(reflect.ValueOf(&c).Elem())
	c.Pool = pool
	return c
}

func newPool(name string, backends ...string) (c Pool) {
	setDefaults(reflect.ValueOf(&c.Config).Elem())
	c.Name, c.Policy = name, balancer.PolicyRoundRobin
	for _, address := range backends {
		b := balancer.BackendConfig{Address: address}
		setDefaults(reflect.ValueOf(&b).Elem())
		c.Backend = append(c.Backend, b)
	}
	return c
}

// setDefaults sets the fields of a section to the defaults of their keys.
func setDefaults(v reflect.Value) {
	for i := range v.NumField() {
		field, text := v.Field(i), v.Type().Field(i).Tag.Get("default")
		if !field.CanSet() {
			continue // a type of its own, whose zero value is its default
		}
		switch u, isText := field.Addr().Interface().(encoding.TextUnmarshaler); {
		case field.Kind() == reflect.Struct && !isText:
			setDefaults(field)
		case text == "":
		case isText:
			mustDo(u.UnmarshalText([]byte(text)))
		case field.Kind() == reflect.String:
			field.SetString(text)
		case field.Kind() == reflect.Bool:
			field.SetBool(text == "true")
		case field.Kind() == reflect.Slice:
			field.Set(reflect.ValueOf(strings.Split(text, ",")))
		case field.CanInt():
			n, err := strconv.ParseInt(text, 10, 64)
			mustDo(err)
			field.SetInt(n)
		case field.CanFloat():
			f, err := strconv.ParseFloat(text, 64)
			mustDo(err)
			field.SetFloat(f)
		default:
			panic("BUG: default of " + v.Type().Field(i).Name)
		}
	}
}

func mustDo(err error) {
	if err != nil {
		panic("BUG: " + err.Error())
	}
}

// milliseconds returns a duration of the configuration.
func milliseconds(n int) units.Duration {
	return units.Duration(time.Duration(n) * time.Millisecond)
}

// run starts the gateway, which stops at the end of the test.
func (s *setup) run(t *testing.T) *gateway {
	t.Helper()
	s.bridge(t)
	s.check(t)
	drive, err := driver.New(s.transport.driver, 1, s.Panics)
	if err != nil {
		t.Skip(err)
	}
	accessCore, access := observer.New(zapcore.InfoLevel)
	logCore, log := observer.New(zapcore.DebugLevel)
	g := &gateway{access: access, log: log, registry: prometheus.NewRegistry(), transport: s.transport}
	s.Driver, s.Log, s.Access, s.Metrics = drive, zap.New(logCore), zap.New(accessCore), g.registry
	if s.Panics == nil {
		s.Panics = func(room string, cause any, stack []byte) { t.Errorf("panic in %s: %v\n%s", room, cause, stack) }
	}
	g.Proxy, err = New(s.Config)
	if err != nil {
		_ = drive.Close(context.Background())
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	t.Cleanup(g.bridges.Close)
	if s.breaks != nil {
		s.breaks(g.Proxy)
	}
	g.Start()
	return g
}

func mustReload(t *testing.T, g *gateway, next Sections) {
	t.Helper()
	if err := g.Reload(next); err != nil {
		t.Fatal(err)
	}
}

// check fails the test if the configuration has problems.
func (s *setup) check(t *testing.T) {
	t.Helper()
	report := func(key, problem string, got any, want string) {
		t.Fatalf("configuration: %s: %s, got %v (want %s)", key, problem, got, want)
	}
	for i := range s.Listeners {
		s.Listeners[i].Check(report)
	}
	for i := range s.Routes {
		s.Routes[i].Check(report)
	}
	for i := range s.Pools {
		s.Pools[i].Check(report)
	}
}

// withDrivers runs a test with each driver: each has an executor of handshakes of its own.
func withDrivers(t *testing.T, test func(t *testing.T, driver string)) {
	for _, name := range []string{"loop", "goroutine"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, name)
		})
	}
}

// placesHeld returns how many places of a kind all listeners have given.
func (g *gateway) placesHeld(k limits.Kind) int64 { return g.totals[k].Held() }

// address returns the address of the listener "public".
func (g *gateway) address() string { return g.Addr("public").String() }

// metric returns the sum of a metric over all series that have these labels, each as name=value.
func (g *gateway) metric(t *testing.T, name string, labels ...string) (sum float64) {
	t.Helper()
	families, err := g.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var all []string
			for _, l := range m.GetLabel() {
				all = append(all, l.GetName()+"="+l.GetValue())
			}
			if text := strings.Join(all, ","); hasAll(text, labels) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

func hasAll(text string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return false
		}
	}
	return true
}

// lines waits until the access log has count lines, and returns them.
func (g *gateway) lines(t *testing.T, count int) []observer.LoggedEntry {
	t.Helper()
	eventually(t, "lines of the access log", func() bool { return g.access.Len() >= count })
	if all := g.access.All(); len(all) != count {
		t.Fatalf("%d lines of the access log, want %d: %v", len(all), count, all)
	}
	return g.access.All()
}

// wantIdle waits until no backend has a session or handshake.
func (g *gateway) wantIdle(t *testing.T) {
	t.Helper()
	eventually(t, "backends without sessions", func() bool { return g.metric(t, "sluice_backend_sessions") == 0 })
}

// eventually polls until holds returns true. It is for conditions that no event reports.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain for: %s", patience, what)
		}
		time.Sleep(time.Millisecond)
	}
}
