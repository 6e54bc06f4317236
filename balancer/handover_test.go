package balancer

import (
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"sluice/internal/units"
)

// handedOver returns a pool of c that goes on with what another one knows.
func handedOver(t *testing.T, from *Pool, c Config) *Pool {
	t.Helper()
	state := from.HandOver()
	p := newPool(t, c)
	p.TakeOver(&state)
	return p
}

func TestAPoolGoesOnWithWhatAnotherProcessKnowsOfItsBackends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := ejectionConfig(6)
		c.SlowStart = units.Duration(40 * time.Second)
		c.Health = healthConfig(1).Health
		old := newPool(t, c)
		at := func(p *Pool, i int) *Backend { return p.byID["tcp!"+addressOf(i)] }
		fail(old, at(old, 0), Refused, c.Ejection.Failures)
		fail(old, at(old, 1), Refused, c.Ejection.Failures-1)
		if err := old.Drain(addressOf(2), time.Minute); err != nil {
			t.Fatal(err)
		}
		for range c.Health.Fall {
			old.recordProbe(at(old, 3), errPanicked, time.Now())
		}
		old.locked(func() {
			at(old, 4).warmsSince = time.Now()
			old.updateState(at(old, 4), time.Now(), "")
		})
		at(old, 5).Established()
		time.Sleep(10 * time.Second)

		p := handedOver(t, old, c)
		for i, want := range []State{Ejected, Up, Draining, Down, Warming, Up} {
			wantState(t, at(p, i), want)
		}
		if got, want := at(p, 0).ejection.until, at(old, 0).ejection.until; !got.Equal(want) {
			t.Errorf("ejected until %v; want %v", got, want)
		}
		if got := time.Until(p.drains[at(p, 2)].until); got != 50*time.Second {
			t.Errorf("%v left of the drain; want 50s", got)
		}
		if got := at(p, 4).warmth(time.Now()); got != 0.25 {
			t.Errorf("warmth %v; want 0.25", got)
		}
		fail(p, at(p, 1), Refused, 1)
		wantState(t, at(p, 1), Ejected) // the failures before count
		for i, want := range map[int]bool{2: false, 3: true, 4: false, 5: true} {
			if got := at(p, i).isSeen(); got != want {
				t.Errorf("%s: seen is %v; want %v", addressOf(i), got, want)
			}
		}
		if again, want := p.HandOver(), old.HandOver(); !slices.Equal(again.Backends[2:], want.Backends[2:]) {
			t.Errorf("handed over again as %+v; want %+v", again.Backends[2:], want.Backends[2:])
		}
	})
}

func TestABackendThatOnlyTheNewConfigurationHasJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := newPool(t, configOf(PolicyLeastConn, 2))
		c := configOf(PolicyLeastConn, 3)
		c.SlowStart = units.Duration(time.Minute)
		p := handedOver(t, old, c)
		for i, want := range []State{Up, Up, Warming} {
			wantState(t, p.backends[i], want)
		}
	})
}

func TestWhatTheNewConfigurationHasTurnedOffIsNotTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := ejectionConfig(3)
		c.Health = healthConfig(1).Health
		old := newPool(t, c)
		fail(old, old.backends[0], Refused, c.Ejection.Failures)
		for range c.Health.Fall {
			old.recordProbe(old.backends[1], errPanicked, time.Now())
		}
		wantState(t, old.backends[0], Ejected)
		wantState(t, old.backends[1], Down)
		p := handedOver(t, old, configOf(PolicyLeastConn, 3))
		for _, b := range p.backends {
			wantState(t, b, Up)
		}
	})
}

func TestFoundBackendsAreThereBeforeTheirNameIsResolvedAgain(t *testing.T) {
	c := Config{Name: "test", Policy: PolicyLeastConn, Backend: []BackendConfig{{Address: "backend.example:9000", Weight: 3}}}
	c.Discovery = DiscoveryConfig{DNS: "a", Server: "127.0.0.1:1", Interval: units.Duration(time.Second), Timeout: units.Duration(time.Second)}
	old, err := New(c, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	old.locked(func() {
		old.found["backend.example:9000"] = &discovered{specs: []spec{
			{address: address{text: "10.0.0.1:9000", network: "tcp", dial: "10.0.0.1:9000"}},
			{address: address{text: "10.0.0.2:9000", network: "tcp", dial: "10.0.0.2:9000"}, weight: 7, backup: true},
		}}
		old.updateBackends(time.Now())
	})
	state := old.HandOver()
	p := newPool(t, c)
	p.discovered("backend.example:9000", nil, errPanicked) // the first lookup fails here
	p.TakeOver(&state)
	if len(p.backends) != 2 {
		t.Fatalf("%d backends; want 2", len(p.backends))
	}
	state.Found[0].Backends = state.Found[0].Backends[:1]
	p.TakeOver(&state)
	if len(p.backends) != 2 {
		t.Error("an older list has replaced what was found here")
	}
	for i, want := range old.backends {
		if got := p.backends[i]; got.spec != want.spec || got.State() != Up {
			t.Errorf("%+v, %v; want %+v, up", got.spec, got.State(), want.spec)
		}
	}
}

func TestPlacesOfSessionsThatAreTakenOverCount(t *testing.T) {
	c := configOf(PolicyLeastConn, 2)
	c.Backend[0].MaxSessions = 1
	old := newPool(t, c)
	p := newPool(t, c)
	for range 3 { // over the limit
		b, err := p.Occupy(old.backends[0].Identity())
		if err != nil || b != p.backends[0] {
			t.Fatalf("Occupy = %v, %v", b, err)
		}
	}
	for range 4 {
		if b := pick(t, p, requestOf(0)); b != p.backends[1] {
			t.Fatalf("picked %s, which is full", b.Name())
		}
	}
	for range 3 {
		p.backends[0].Release(Ended)
	}
	if b := pick(t, p, requestOf(0)); b != p.backends[0] {
		t.Fatalf("picked %s; want the least loaded one", b.Name())
	}
}

func TestASessionOfAnUnknownBackendHasAPlaceOfOneThatHasGone(t *testing.T) {
	for _, p := range []*Pool{newPool(t, configOf(PolicyRoundRobin, 1)), NewGone("test", zap.NewNop())} {
		id := Identity{Name: "wss://b.example:443", Network: "tcp", Address: "b.example:443", HasTLS: true, ServerName: "b.example"}
		first, err := p.Occupy(id)
		if err != nil {
			t.Fatal(err)
		}
		second, err := p.Occupy(id)
		if err != nil || first != second {
			t.Fatalf("Occupy = %v, %v; want the same backend", second, err)
		}
		wantState(t, first, Gone)
		if got := first.Identity(); got != id {
			t.Errorf("identity %+v; want %+v", got, id)
		}
		all := p.Status()
		if last := all[len(all)-1]; last.Backend != first || last.Sessions != 2 {
			t.Errorf("status %+v; want the backend that has gone, with 2 sessions", last)
		}
		first.Release(Lost)
		first.Release(Ended)
		if n := first.Sessions(); n != 0 {
			t.Errorf("%d sessions; want none", n)
		}
		p.Close()
		if _, err := p.Occupy(id); err == nil {
			t.Error("a closed pool gave a place")
		}
	}
}

func TestAPoolThatTheConfigurationLacksMayComeBack(t *testing.T) {
	p := NewGone("test", zap.NewNop())
	t.Cleanup(p.Close)
	b, err := p.Occupy(Identity{Name: addressOf(0), Network: "tcp", Address: addressOf(0)})
	if err != nil {
		t.Fatal(err)
	}
	reset(t, p, configOf(PolicyLeastConn, 2))
	wantState(t, b, Up)
	if got := pick(t, p, requestOf(0)); got == b {
		t.Error("picked the backend that has a session already")
	}
}

func TestNonsenseOfAnotherProcessIsRefusedOrBounded(t *testing.T) {
	for _, id := range []Identity{
		{}, {Name: "a"}, {Name: "a", Address: "a:1"}, {Name: "a", Address: "a:1", Network: "udp"},
		{Name: "a\xff", Address: "a:1", Network: "tcp"}, {Name: string(make([]byte, maxIdentity+1)), Address: "a:1", Network: "tcp"},
		{Name: "a", Address: "/a", Network: "unix", HasTLS: true}, {Name: "a", Address: "a:1", Network: "tcp", ServerName: "a"},
	} {
		if _, err := newPool(t, configOf(PolicyLeastConn, 1)).Occupy(id); err == nil {
			t.Errorf("a place of %+v", id)
		}
	}
	c := ejectionConfig(2)
	c.SlowStart = units.Duration(time.Minute)
	c.Health = healthConfig(1).Health
	for _, n := range []int64{math.MinInt64, -1, 1, math.MaxInt64} {
		p := newPool(t, c)
		p.TakeOver(&PoolState{
			Found: []FoundState{{Text: "nowhere", Backends: []FoundBackend{{Weight: n}}}},
			Backends: []BackendState{{Backend: Identity{Name: "\xff"}}, {
				Backend: p.backends[0].Identity(), IsDraining: true, DrainLeft: n, IsEjected: true, EjectionLeft: n, Ejections: n, IsDown: true,
				ProbesAgainst: n, WarmFor: n, Failures: n, FailuresAge: n, Losses: n, LossesAge: n,
			}},
		})
		b := p.backends[0]
		wantState(t, b, Draining)
		if left := time.Until(b.ejection.until); left > c.Ejection.MaxTime.Std() {
			t.Errorf("ejected for %v", left)
		}
		fail(p, b, Refused, 3)
		fail(p, b, Lost, 3)
		p.recordProbe(b, nil, time.Now())
		p.advance(time.Now())
		if err := p.Undrain(b.Name()); err != nil {
			t.Fatal(err)
		}
	}
}
