//go:build unix

package test

import (
	"fmt"
	"testing"
)

// probing are keys of a pool whose members are probed ten times a second.
func probing(kind string) string {
	return fmt.Sprintf("[pool.health]\nkind = %q\ninterval = \"100ms\"\njitter = \"10ms\"\ntimeout = \"100ms\"\nrise = 2\nfall = 2", kind)
}

func TestAProbeTakesASickBackendOutAndBringsItBack(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		kind          string
		fall, recover func(t *testing.T, s *stub)
	}{
		{"tcp", func(_ *testing.T, s *stub) { s.close() }, func(t *testing.T, s *stub) { s.open(t) }},
		{"http", func(_ *testing.T, s *stub) { s.behave(unhealthy) }, func(_ *testing.T, s *stub) { s.behave(sound) }},
		{"http", func(_ *testing.T, s *stub) { s.behave(silent) }, func(_ *testing.T, s *stub) { s.behave(sound) }},
		{"websocket", func(_ *testing.T, s *stub) { s.behave(deaf) }, func(_ *testing.T, s *stub) { s.behave(sound) }},
		{"websocket", func(_ *testing.T, s *stub) { s.behave(busy) }, func(_ *testing.T, s *stub) { s.behave(sound) }},
	} {
		t.Run(test.kind, func(t *testing.T) {
			t.Parallel()
			sick, steady := startStub(t, "127.0.0.1:0"), startStub(t, "127.0.0.1:0")
			g := runGateway(t, poolOf("policy = \"round_robin\"\nslow_start = \"300ms\"\n"+probing(test.kind), sick.address, steady.address))
			// The first probe of all is believed at once.
			eventually(t, patience, "a second probe", func() bool { return sick.reached.Load() >= 2 })
			test.fall(t, sick)
			if view := g.untilState(t, sick.address, "down"); view.Failures["probe"] < 2 {
				t.Errorf("down after %d failed probes, with fall = 2", view.Failures["probe"])
			}
			for range 6 {
				if got := g.invite(t, nil, "/").backend; got != steady.address {
					t.Fatalf("a session on %s, which is down", got)
				}
			}
			test.recover(t, sick)
			g.untilState(t, sick.address, "slow_start")
			g.untilState(t, sick.address, "up")
			got := map[string]int{}
			for range 6 {
				got[g.invite(t, nil, "/").backend]++
			}
			if got[sick.address] != 3 {
				t.Errorf("6 turns after it is back: %v", got)
			}
			g.wantLoggedOnce(t, "backend down", sick.address)
		})
	}
}

func TestAPoolWithoutAnAvailableBackendChoosesAmongAllOrRefuses(t *testing.T) {
	t.Parallel()
	for _, isPanic := range []bool{true, false} {
		one, other := startStub(t, "127.0.0.1:0"), startStub(t, "127.0.0.1:0")
		one.behave(unhealthy)
		other.behave(unhealthy)
		g := runGateway(t, poolOf(fmt.Sprintf("panic = %v\n%s", isPanic, probing("http")), one.address, other.address))
		g.untilState(t, one.address, "down")
		g.untilState(t, other.address, "down")
		if isPanic {
			if a, b := g.invite(t, nil, "/"), g.invite(t, nil, "/"); a.backend == b.backend {
				t.Errorf("both sessions on %s", a.backend)
			}
			continue
		}
		g.wantRefused(t, 503)
	}
}
