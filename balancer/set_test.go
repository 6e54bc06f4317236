package balancer

import (
	"testing"

	"go.uber.org/zap"
)

func TestSetKeepsTheBackendsOfKnownAddresses(t *testing.T) {
	c := ejectionConfig(3)
	p := newPool(t, c)
	kept, gone, ejected := p.backends[0], p.backends[1], p.backends[2]
	for i := range 6 {
		pick(t, p, requestOf(i))
	}
	fail(p, ejected, Refused, 3)
	if err := p.Drain(kept.Name(), 0); err != nil {
		t.Fatal(err)
	}

	next := c
	next.Policy = PolicyLeastConn
	next.Backend = []BackendConfig{
		{Address: addressOf(9), Weight: 1},
		{Address: addressOf(2), Weight: 5},
		{Address: addressOf(0), Weight: 7, MaxSessions: 50},
	}
	reset(t, p, next)
	if p.backends[1] != ejected || p.backends[2] != kept {
		t.Fatal("the backends of known addresses are others")
	}
	wantState(t, kept, Draining)
	wantState(t, ejected, Ejected)
	wantState(t, gone, Gone)
	statuses := p.Status()
	if len(statuses) != 4 || statuses[3].Name != gone.Name() || statuses[3].Sessions != 2 {
		t.Fatalf("statuses = %+v; want the gone backend last with its 2 sessions", statuses)
	}
	if s := statuses[2]; s.Weight != 7 || s.MaxSessions != 50 || s.Sessions != 2 || s.State != Draining {
		t.Errorf("status of the backend that was kept = %+v", s)
	}
	if s := statuses[1]; s.Failures["refused"] != 3 || s.Weight != 5 {
		t.Errorf("status of the ejected backend = %+v", s)
	}

	// It comes back with the sessions that it still has.
	gone.Release(Ended)
	reset(t, p, c)
	if p.backends[1] != gone || gone.Sessions() != 1 {
		t.Errorf("backend that came back has %d sessions; want the 1 that was left", p.backends[1].Sessions())
	}
	wantState(t, gone, Up)
}

func TestBackendThatHasGoneIsForgottenWithItsLastSession(t *testing.T) {
	c := configOf(PolicyLeastConn, 2)
	p := newPool(t, c)
	one := c
	one.Backend = c.Backend[:1]
	gone := p.backends[1]
	pick(t, p, requestOf(0))
	pick(t, p, requestOf(1))
	reset(t, p, one)
	gone.Release(Lost)
	if statuses := p.Status(); len(statuses) != 1 {
		t.Errorf("%d statuses; want that of the only backend", len(statuses))
	}
	reset(t, p, c)
	if p.backends[1].Sessions() != 0 {
		t.Errorf("%d sessions on a backend that came back after its last one", p.backends[1].Sessions())
	}
}

func TestBrokenConfigurationChangesNothing(t *testing.T) {
	c := configOf(PolicyLeastConn, 2)
	p := newPool(t, c)
	before := p.snapshot.Load()
	broken := c
	broken.Policy = "fastest"
	if err := p.Set(broken); err == nil {
		t.Fatal("Set of an unknown policy is no error")
	}
	broken = configOf(PolicySticky, 2)
	broken.Sticky.Secret, broken.Sticky.SecretFile = "", "/does/not/exist"
	if err := p.Set(broken); err == nil {
		t.Fatal("Set with a secret file that is absent is no error")
	}
	if p.snapshot.Load() != before {
		t.Error("a configuration that was refused changed the pool")
	}
	if _, err := New(broken, zap.NewNop()); err == nil {
		t.Error("New with a secret file that is absent is no error")
	}
}

func TestSetWhilePicking(t *testing.T) {
	c := configOf(PolicyHash, 4)
	p := newPool(t, c)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 5000 {
			got, err := p.Pick(t.Context(), requestOf(i), nil)
			if err != nil {
				t.Error(err)
				return
			}
			got.Backend.Release(Ended)
		}
	}()
	policies := []string{PolicyRoundRobin, PolicySticky, PolicyHash, PolicyRandomTwo}
	for i := 0; ; i++ {
		select {
		case <-done:
			for _, b := range p.backends {
				if b.Sessions() != 0 {
					t.Errorf("%s has %d sessions after the last release", b.Name(), b.Sessions())
				}
			}
			return
		default:
			reset(t, p, configOf(policies[i%len(policies)], 2+i%3))
		}
	}
}
