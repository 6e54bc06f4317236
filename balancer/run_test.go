package balancer

import (
	"testing"
	"time"

	"sluice/balancer/discovery"
	"sluice/balancer/discovery/dnstest"
	"sluice/balancer/probe"
	"sluice/internal/units"
)

func TestProbeHasTheHostOfItsBackend(t *testing.T) {
	for _, test := range []struct{ address, want string }{
		{"10.0.0.1:9000", "10.0.0.1:9000"},
		{"ws://chat.internal:9000", "chat.internal:9000"},
		{"wss://chat.internal:443", "chat.internal:443"},
		{"unix:/run/chat.sock", "localhost"},
	} {
		c := configOf(PolicyLeastConn, 0)
		c.Backend = []BackendConfig{{Address: test.address, Weight: 1}}
		if got := newPool(t, c).backends[0].host(); got != test.want {
			t.Errorf("%s is probed with Host %q; want %q", test.address, got, test.want)
		}
	}
}

func TestRunEndsWithAllThatItStarted(t *testing.T) {
	server := dnstest.New(t)
	server.Set("echo.test", "127.0.0.1", "127.0.0.2")
	c := resolved(server, discovery.RecordsA, "echo.test:9000", "127.0.0.3:9000")
	c.Health = HealthConfig{
		Kind: probe.TCP, Rise: 1, Fall: 1, Interval: units.Duration(time.Millisecond), Timeout: units.Duration(time.Millisecond),
	}
	p := newPool(t, c)
	ended := make(chan struct{})
	go func() {
		p.Run(t.Context(), Owner{})
		close(ended)
	}()
	until(t, "a probe", func() bool { return p.Status()[0].Failures["probe"] > 3 })
	p.Close()
	<-ended
	if _, err := p.Pick(t.Context(), requestOf(0), nil); err != ErrNone {
		t.Errorf("Pick after Close = %v; want ErrNone", err)
	}
	if err := p.Set(c); err == nil {
		t.Error("Set after Close is no error")
	}
	if err := p.Drain("127.0.0.3:9000", 0); err != nil {
		t.Fatal(err)
	}
	if err := p.Undrain("127.0.0.3:9000"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Pick(t.Context(), requestOf(0), nil); err != ErrNone {
		t.Errorf("Pick after the end of a drain of a closed pool = %v; want ErrNone", err)
	}
	p.Run(t.Context(), Owner{}) // ends at once
	p.Close()
}
