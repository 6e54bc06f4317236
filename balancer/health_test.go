package balancer

import (
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"sluice/balancer/probe"
	"sluice/internal/units"
)

// healthConfig probes every 5s, up to 0.5s later.
func healthConfig(n int) Config {
	c := configOf(PolicyRoundRobin, n)
	c.Health = HealthConfig{
		Kind: probe.TCP, Path: "/", Rise: 2, Fall: 3,
		Interval: units.Duration(5 * time.Second),
		Jitter:   units.Duration(500 * time.Millisecond),
		Timeout:  units.Duration(2 * time.Second),
	}
	return c
}

// afterProbes waits until b was probed n more times.
func afterProbes(bs *fakeBackends, b *Backend, n int) {
	for until := bs.count(b.Name()) + n; bs.count(b.Name()) < until; {
		time.Sleep(100 * time.Millisecond)
	}
	synctest.Wait()
}

func TestBackendFallsAndRises(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, logs := newLoggedPool(t, healthConfig(3))
		bs := newFakeBackends()
		run(t, p, Owner{Dial: bs.dial})
		b := p.backends[0]
		afterProbes(bs, b, 1)
		for range 3 {
			bs.set(b.Name(), true)
			afterProbes(bs, b, 2)
			wantState(t, b, Up)
			afterProbes(bs, b, 1)
			wantState(t, b, Down)
			wantLogged(t, logs, "backend down")
			if n := counts(t, p, 90)[b]; n != 0 {
				t.Errorf("a backend that is down got %d of 90 picks", n)
			}
			bs.set(b.Name(), false)
			afterProbes(bs, b, 1)
			wantState(t, b, Down)
			afterProbes(bs, b, 1)
			wantState(t, b, Up)
			wantLogged(t, logs, "backend up")
		}
		if got := p.Status()[0].Failures["probe"]; got != 9 {
			t.Errorf("probe is counted %d times; want 9", got)
		}
	})
}

func TestFirstProbeAppliesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, healthConfig(3))
		bs := newFakeBackends()
		bs.set(p.backends[1].Name(), true)
		run(t, p, Owner{Dial: bs.dial})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		wantState(t, p.backends[0], Up)
		wantState(t, p.backends[1], Down)
	})
}

func TestSingleFailuresDoNotTakeABackendDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, logs := newLoggedPool(t, healthConfig(2))
		bs := newFakeBackends()
		run(t, p, Owner{Dial: bs.dial})
		b := p.backends[0]
		afterProbes(bs, b, 1)
		for range 20 {
			bs.set(b.Name(), true)
			afterProbes(bs, b, 2)
			bs.set(b.Name(), false)
			afterProbes(bs, b, 1)
			wantState(t, b, Up)
		}
		wantLogged(t, logs)
	})
}

func TestProbesKeepTheirInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, healthConfig(50))
		bs := newFakeBackends()
		run(t, p, Owner{Dial: bs.dial})
		time.Sleep(10 * time.Minute)
		for _, b := range p.backends {
			// 600 s by 5 s and, on the average, 0.25 s of jitter and 0.05 s to the next step.
			if n := bs.count(b.Name()); n < 108 || n > 120 {
				t.Errorf("%s was probed %d times in 10m; want about 113", b.Name(), n)
			}
		}
	})
}

func TestProbesFollowTheConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := healthConfig(3)
		p := newPool(t, c)
		bs := newFakeBackends()
		bs.set(addressOf(0), true)
		run(t, p, Owner{Dial: bs.dial})
		time.Sleep(time.Minute)
		b := p.backends[0]
		wantState(t, b, Down)

		fewer := c
		fewer.Backend = c.Backend[:2]
		reset(t, p, fewer)
		synctest.Wait()
		before := bs.count(addressOf(2))
		time.Sleep(time.Minute)
		if n := bs.count(addressOf(2)) - before; n != 0 {
			t.Errorf("a backend that has gone was probed %d times", n)
		}
		wantState(t, b, Down)

		fewer.Health = HealthConfig{}
		reset(t, p, fewer)
		synctest.Wait()
		wantState(t, b, Up)
		before = bs.count(addressOf(1))
		time.Sleep(time.Minute)
		if n := bs.count(addressOf(1)) - before; n != 0 {
			t.Errorf("%d probes after they were turned off", n)
		}
	})
}

func TestPanicChoosesAmongAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := healthConfig(3)
		p, logs := newLoggedPool(t, c)
		bs := newFakeBackends()
		for _, b := range p.backends {
			bs.set(b.Name(), true)
		}
		run(t, p, Owner{Dial: bs.dial})
		time.Sleep(6 * time.Second)
		synctest.Wait()
		wantLogged(t, logs, "backend down", "backend down", "backend down", "pool without available backend")
		chosen := counts(t, p, 90)
		for _, b := range p.backends {
			if chosen[b] != 30 {
				t.Errorf("%s got %d of 90 picks in panic; want 30", b.Name(), chosen[b])
			}
		}
		bs.set(addressOf(1), false)
		time.Sleep(15 * time.Second)
		synctest.Wait()
		wantLogged(t, logs, "backend up", "pool available again")
		if n := counts(t, p, 90)[p.backends[1]]; n != 90 {
			t.Errorf("the only available backend got %d of 90 picks", n)
		}

		bs.set(addressOf(1), true)
		time.Sleep(20 * time.Second)
		c.Panic = false
		reset(t, p, c)
		if _, err := p.Pick(t.Context(), requestOf(0), nil); err != ErrNone {
			t.Errorf("Pick without panic = %v; want ErrNone", err)
		}
	})
}

func TestRetryMayGoToTheEjected(t *testing.T) {
	p := newPool(t, ejectionConfig(2))
	ejected, last := p.backends[0], p.backends[1]
	fail(p, ejected, Refused, 3)
	if b := pick(t, p, requestOf(0)); b != last {
		t.Fatalf("Pick = %s; want the available one", b.Name())
	}
	if b := pick(t, p, requestOf(0), last); b != ejected {
		t.Errorf("Pick after the last available one failed = %s; want the ejected one", b.Name())
	}
}

func TestSlowStartGrowsTheShare(t *testing.T) {
	for _, policy := range []string{PolicyRoundRobin, PolicyRandom, PolicyLeastConn} {
		synctest.Test(t, func(t *testing.T) {
			c := ejectionConfig(3)
			c.Policy = policy
			c.SlowStart = units.Duration(100 * time.Second)
			p, logs := newLoggedPool(t, c)
			run(t, p, Owner{})
			b := p.backends[0]
			wantState(t, b, Up)
			fail(p, b, Refused, 3)
			time.Sleep(10*time.Second + time.Millisecond)
			synctest.Wait()
			wantState(t, b, Warming)
			wantLogged(t, logs, "backend ejected", "backend in slow start")
			for _, step := range []struct{ seconds, low, high float64 }{
				{0, 0.3, 4.6}, {20, 7, 11.5}, {30, 18, 22}, {49, 30, 35},
			} {
				time.Sleep(time.Duration(step.seconds * float64(time.Second)))
				synctest.Wait()
				// Of shares w, 1 and 1 it is w/(w+2): 2.4 %, 9 %, 20 %, 33 %.
				var live []*Backend
				for i := range 5000 {
					live = append(live, pick(t, p, requestOf(i)))
				}
				share := float64(b.Sessions()) / 50
				for _, b := range live {
					b.Release(Ended)
				}
				if share < step.low || share > step.high {
					t.Errorf("%s: %.1f%% of the sessions; want %v to %v", policy, share, step.low, step.high)
				}
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			wantState(t, b, Up)
			if w := p.Status()[0].Warmth; w != 1 {
				t.Errorf("warmth after the slow start = %v; want 1", w)
			}
		})
	}
}

func TestBackendThatJoinsStartsSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := configOf(PolicyLeastConn, 3)
		c.SlowStart = units.Duration(10 * time.Second)
		p := newPool(t, c)
		run(t, p, Owner{})
		for _, b := range p.backends {
			wantState(t, b, Up)
		}
		reset(t, p, func() Config {
			c.Backend = append(c.Backend, BackendConfig{Address: addressOf(3), Weight: 1})
			return c
		}())
		wantState(t, p.backends[3], Warming)
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		wantState(t, p.backends[3], Up)
	})
}

// Faults C2.
func TestAProbeThatTheGatewayCannotMakeSaysNothingOfTheBackend(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM} {
		synctest.Test(t, func(t *testing.T) {
			p, logs := newLoggedPool(t, healthConfig(2))
			bs := newFakeBackends()
			run(t, p, Owner{Dial: bs.dial})
			up, down := p.backends[0], p.backends[1]
			bs.set(down.Name(), true)
			afterProbes(bs, down, 4)
			wantLogged(t, logs, "backend down")
			before := p.Status()[0].Failures["probe"]
			bs.setError(&net.OpError{Op: "dial", Err: os.NewSyscallError("socket", errno)})
			start := time.Now()
			afterProbes(bs, up, 10)
			wantState(t, up, Up)
			wantState(t, down, Down)
			if got := p.Status()[0].Failures["probe"]; got != before {
				t.Errorf("%v: %d failures are counted, want %d", errno, got, before)
			}
			for i, e := range logs.TakeAll() {
				if e.Message != "probes can't be made, their last results stay" || i > int(time.Since(start)/exhaustedInterval) {
					t.Errorf("%v: line %d within %v: %s", errno, i+1, time.Since(start), e.Message)
				}
			}
			bs.setError(nil)
			afterProbes(bs, up, 3)
			wantState(t, up, Up)
			wantState(t, down, Down)
		})
	}
}
