package balancer

import (
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/units"
)

// ejectionConfig ejects after three failed handshakes, or three lost sessions, for 10s, then 20s,
// then 40s.
func ejectionConfig(n int) Config {
	c := configOf(PolicyRoundRobin, n)
	c.Ejection = EjectionConfig{
		Failures: 3, Lost: 3, MaxPercent: 50,
		Window:   units.Duration(30 * time.Second),
		BaseTime: units.Duration(10 * time.Second),
		MaxTime:  units.Duration(40 * time.Second),
	}
	return c
}

func TestConsecutiveFailuresEject(t *testing.T) {
	for _, o := range []Outcome{DialFailed, Refused, DialTimeout, HandshakeTimeout, HandshakeReset, BadAnswer, NameFailed, NoSocket, TLSFailed, Lost, 502, 503, 504} {
		synctest.Test(t, func(t *testing.T) {
			p, logs := newLoggedPool(t, ejectionConfig(3))
			run(t, p, Owner{})
			b := p.backends[0]
			fail(p, b, o, 2)
			wantState(t, b, Up)
			fail(p, b, o, 1)
			wantState(t, b, Ejected)
			wantLogged(t, logs, "backend ejected")
			if n := counts(t, p, 90)[b]; n != 0 {
				t.Errorf("outcome %d: an ejected backend got %d of 90 picks", o, n)
			}
			time.Sleep(10*time.Second + time.Millisecond)
			synctest.Wait()
			wantState(t, b, Up)
			wantLogged(t, logs, "backend up")
			if n := counts(t, p, 90)[b]; n != 30 {
				t.Errorf("outcome %d: a backend that is back got %d of 90 picks; want 30", o, n)
			}
		})
	}
}

func TestOutcomesThatAreNotTheBackendsFaultDoNotCount(t *testing.T) {
	for _, o := range []Outcome{Ended, ClientFault, GatewayFault, Shed, 400, 401, 404, 426, 429, 500, 501} {
		p := newPool(t, ejectionConfig(3))
		b := p.backends[0]
		fail(p, b, o, 100)
		wantState(t, b, Up)
		for reason, n := range p.Status()[0].Failures {
			if n != 0 {
				t.Errorf("outcome %d counted %d times as %s", o, n, reason)
			}
		}
	}
}

func TestGoodHandshakeResetsTheFailures(t *testing.T) {
	p := newPool(t, ejectionConfig(3))
	b := p.backends[0]
	for range 10 {
		fail(p, b, Refused, 2)
		b.Established()
		fail(p, b, Refused, 2)
		fail(p, b, 404, 1)
		fail(p, b, Lost, 2)
		fail(p, b, Ended, 1)
		wantState(t, b, Up)
	}
	if got := p.Status()[0].Failures["refused"]; got != 40 {
		t.Errorf("refused is counted %d times; want 40", got)
	}
}

func TestFailuresOutsideTheWindowAreNotConsecutive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, ejectionConfig(3))
		b := p.backends[0]
		for range 10 {
			fail(p, b, Refused, 2)
			wantState(t, b, Up)
			time.Sleep(31 * time.Second)
		}
		fail(p, b, Refused, 3)
		wantState(t, b, Ejected)
	})
}

func TestEjectionsGrowLongerAndStartAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, ejectionConfig(3))
		run(t, p, Owner{})
		b := p.backends[0]
		lasts := func(want time.Duration) {
			t.Helper()
			fail(p, b, Refused, 3)
			wantState(t, b, Ejected)
			time.Sleep(want - time.Millisecond)
			synctest.Wait()
			wantState(t, b, Ejected)
			time.Sleep(2 * time.Millisecond)
			synctest.Wait()
			wantState(t, b, Up)
		}
		for _, want := range []time.Duration{10, 20, 40, 40, 40} {
			lasts(want * time.Second)
		}
		time.Sleep(41 * time.Second)
		lasts(10 * time.Second)
	})
}

func TestLastAvailableBackendIsNeverEjected(t *testing.T) {
	c := ejectionConfig(3)
	c.Ejection.MaxPercent = 100
	p := newPool(t, c)
	for _, b := range p.backends {
		fail(p, b, Refused, 10)
	}
	for i, want := range []State{Ejected, Ejected, Up} {
		wantState(t, p.backends[i], want)
	}
	single := newPool(t, ejectionConfig(1))
	fail(single, single.backends[0], Refused, 100)
	wantState(t, single.backends[0], Up)
}

func TestBackendIsTheLastWhenTheOthersDrainOrAreDown(t *testing.T) {
	p := newPool(t, ejectionConfig(2))
	if err := p.Drain(p.backends[0].Name(), 0); err != nil {
		t.Fatal(err)
	}
	fail(p, p.backends[1], Refused, 10)
	wantState(t, p.backends[1], Up)
}

func TestAtMostMaxPercentAreEjected(t *testing.T) {
	for _, test := range []struct{ backends, percent, want int }{{10, 50, 5}, {10, 20, 2}, {10, 1, 1}, {3, 50, 2}, {4, 50, 2}, {5, 50, 3}, {2, 10, 1}} {
		c := ejectionConfig(test.backends)
		c.Ejection.MaxPercent = test.percent
		p := newPool(t, c)
		ejected := 0
		for _, b := range p.backends {
			fail(p, b, Refused, 10)
			if b.State() == Ejected {
				ejected++
			}
		}
		if ejected != test.want {
			t.Errorf("%d of %d ejected with max_percent %d; want %d", ejected, test.backends, test.percent, test.want)
		}
	}
}

func TestKilledBackendIsEjectedOnce(t *testing.T) {
	p, logs := newLoggedPool(t, ejectionConfig(3))
	fail(p, p.backends[1], Lost, 500)
	wantState(t, p.backends[1], Ejected)
	wantLogged(t, logs, "backend ejected")
	if got := p.Status()[1].Failures["lost"]; got != 500 {
		t.Errorf("lost is counted %d times; want 500", got)
	}
}

func TestFlappingBackendIsEjectedForLongerEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, logs := newLoggedPool(t, ejectionConfig(3))
		run(t, p, Owner{})
		flapping := p.backends[2]
		// Ten picks a second for five minutes on a backend that answers none.
		failures := 0
		for range 3000 {
			b := pick(t, p, requestOf(0))
			if b == flapping {
				failures++
				b.Release(HandshakeTimeout)
			} else {
				b.Established()
				b.Release(Ended)
			}
			time.Sleep(100 * time.Millisecond)
		}
		// 10 + 20 + 40 n seconds out, three failures each time it is back.
		if failures < 24 || failures > 33 {
			t.Errorf("%d of 3,000 picks failed; want 3 for each of about 9 ejections", failures)
		}
		logs = logs.FilterMessage("backend ejected")
		if n := logs.Len(); n != failures/3 {
			t.Errorf("%d ejections logged after %d failures", n, failures)
		}
	})
}

// Faults C25.
func TestStreamEndsCountAsLossesOnlyWhereSeveralComeWithinASecond(t *testing.T) {
	for _, c := range []struct {
		name     string
		outcomes []Outcome
		apart    time.Duration
		want     int // losses
	}{
		{"one after the other", []Outcome{StreamEnded, StreamEnded, StreamEnded, StreamEnded}, 1001 * time.Millisecond, 0},
		{"together", []Outcome{StreamEnded, StreamEnded}, time.Second, 2},
		{"together with a loss before", []Outcome{Lost, StreamEnded}, time.Second, 2},
		{"together with a loss after", []Outcome{StreamEnded, Lost}, time.Second, 2},
		{"three together", []Outcome{StreamEnded, StreamEnded, StreamEnded}, time.Millisecond, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPool(t, ejectionConfig(3))
				b := p.backends[0]
				for _, o := range c.outcomes {
					fail(p, b, o, 1)
					time.Sleep(c.apart)
				}
				if n := p.Status()[0].Failures["lost"]; n != uint64(c.want) {
					t.Errorf("%d losses; want %d", n, c.want)
				}
				want := Up
				if c.want == 3 {
					want = Ejected
				}
				wantState(t, b, want)
			})
		})
	}
}
