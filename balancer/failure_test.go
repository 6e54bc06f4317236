package balancer

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest/observer"
)

// failures returns the lines about single failures since the last call, and forgets them.
func failures(logs *observer.ObservedLogs) []map[string]any {
	var lines []map[string]any
	for _, e := range logs.FilterMessage("backend failure").All() {
		lines = append(lines, e.ContextMap())
	}
	logs.TakeAll()
	return lines
}

// failWith uses b once, with an outcome and its cause.
func failWith(p *Pool, b *Backend, o Outcome, cause string) {
	p.picks.Lock()
	b.sessions.Add(1)
	p.picks.Unlock()
	b.ReleaseFailed(o, cause)
}

// Faults B9.
func TestFirstFailureIsLoggedAndThenOneLineAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, logs := newLoggedPool(t, configOf(PolicyRoundRobin, 2))
		b := p.backends[0]
		failWith(p, b, Refused, "connection refused")
		lines := failures(logs)
		if len(lines) != 1 || lines[0]["pool"] != "test" || lines[0]["backend"] != b.Name() || lines[0]["reason"] != "refused" ||
			lines[0]["error"] != "connection refused" || lines[0]["unlogged"] != int64(0) {
			t.Fatalf("the first failure is logged as %v", lines)
		}
		fail(p, p.backends[1], HandshakeTimeout, 1)
		if lines := failures(logs); len(lines) != 1 || lines[0]["error"] != "handshake timeout" {
			t.Errorf("the first failure of another backend is logged as %v", lines)
		}
		for range 59 {
			fail(p, b, Lost, 2)
			time.Sleep(time.Second)
		}
		if lines := failures(logs); len(lines) != 0 {
			t.Errorf("logged within a minute: %v", lines)
		}
		time.Sleep(time.Second)
		fail(p, b, 503, 1)
		if lines := failures(logs); len(lines) != 1 || lines[0]["reason"] != "status" || lines[0]["error"] != "answer 503" || lines[0]["unlogged"] != int64(118) {
			t.Errorf("after a minute: %v; want one line with 118 that were left out", lines)
		}
	})
}

// Faults C10.
func TestStatusHasTheLastFailureAndSinceWhenTheBackendFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, configOf(PolicyRoundRobin, 1))
		b := p.backends[0]
		want := func(what string, want *Failure) {
			t.Helper()
			switch got := p.Status()[0].LastFailure; {
			case got == nil || want == nil:
				if got != want {
					t.Errorf("%s: %v; want %v", what, got, want)
				}
			case *got != *want:
				t.Errorf("%s: %+v; want %+v", what, *got, *want)
			}
		}
		want("before any failure", nil)
		first := time.Now()
		failWith(p, b, Refused, "connection refused")
		time.Sleep(time.Second)
		second := time.Now()
		failWith(p, b, TLSFailed, "TLS: certificate has expired")
		want("after two failures", &Failure{Reason: "tls", Cause: "TLS: certificate has expired", At: second, Since: first})
		b.Established()
		want("when it has answered", &Failure{Reason: "tls", Cause: "TLS: certificate has expired", At: second})
		time.Sleep(time.Second)
		third := time.Now()
		p.recordProbe(b, errors.New("ignored: no probes are configured"), third)
		fail(p, b, NameFailed, 1)
		want("after another failure", &Failure{Reason: "dns", Cause: "dns", At: third, Since: third})
	})
}

// Faults B9: a backend of which nothing is known is not called up.
func TestBackendOfWhichNothingIsKnownIsUnprobed(t *testing.T) {
	probed := configOf(PolicyRoundRobin, 1)
	probed.Health = HealthConfig{Kind: "tcp", Path: "/", Interval: 5e9, Timeout: 2e9, Rise: 2, Fall: 3}
	for name, test := range map[string]struct {
		config Config
		see    func(p *Pool, b *Backend)
		want   State
	}{
		"nothing":            {probed, func(*Pool, *Backend) {}, Unprobed},
		"a client's fault":   {probed, func(p *Pool, b *Backend) { fail(p, b, ClientFault, 1) }, Unprobed},
		"a 101":              {probed, func(_ *Pool, b *Backend) { b.Established() }, Up},
		"another answer":     {probed, func(p *Pool, b *Backend) { fail(p, b, 404, 1) }, Up},
		"a failure":          {probed, func(p *Pool, b *Backend) { fail(p, b, Refused, 1) }, Up},
		"a probe":            {probed, func(p *Pool, b *Backend) { p.recordProbe(b, nil, time.Now()) }, Up},
		"a probe that fails": {probed, func(p *Pool, b *Backend) { p.recordProbe(b, errDown, time.Now()) }, Down},
	} {
		p := newPool(t, test.config)
		test.see(p, p.backends[0])
		if got := p.Status()[0].State; got != test.want {
			t.Errorf("after %s the state is %v; want %v", name, got, test.want)
		}
	}
}
