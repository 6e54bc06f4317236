package balancer

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// Faults B9: a backend that is still dead is found by a trial of the gateway's own, and not by a client.
func TestEjectedBackendComesBackOnlyAfterASuccessfulTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, logs := newLoggedPool(t, ejectionConfig(3))
		backends := newFakeBackends()
		run(t, p, Owner{Dial: backends.dial})
		b := p.backends[0]
		backends.set(b.Name(), true)
		fail(p, b, Refused, 3)
		wantLogged(t, logs, "backend ejected")
		for i := range 6 {
			time.Sleep(10*time.Second + time.Millisecond)
			synctest.Wait()
			wantState(t, b, Ejected)
			if n := backends.count(b.Name()); n != i+1 {
				t.Fatalf("%d trials in %d times base_time", n, i+1)
			}
			if n := counts(t, p, 30)[b]; n != 0 {
				t.Fatalf("an ejected backend got %d of 30 picks", n)
			}
		}
		if got := p.Status()[0]; got.Failures["trial"] != 6 || got.LastFailure.Cause != "trial after its ejection: connection refused" {
			t.Errorf("6 trials have failed: %v, %+v", got.Failures, got.LastFailure)
		}
		backends.set(b.Name(), false)
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		wantState(t, b, Up)
		wantLogged(t, logs, "backend up")
		time.Sleep(time.Minute)
		if n := backends.count(b.Name()); n != 7 {
			t.Errorf("%d trials; want none after the one that succeeded", n)
		}
	})
}

// A stopped process accepts connections, and says nothing.
func TestSilentBackendFailsItsTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, ejectionConfig(2))
		var far net.Conn
		run(t, p, Owner{Dial: func(context.Context, *Backend) (near net.Conn, err error) {
			near, far = net.Pipe()
			go func() { _, _ = far.Read(make([]byte, 4096)) }()
			return near, nil
		}})
		b := p.backends[0]
		fail(p, b, HandshakeTimeout, 3)
		time.Sleep(10*time.Second + trialTimeout - time.Millisecond)
		synctest.Wait()
		wantState(t, b, Ejected)
		if until := p.Status()[0].EjectedUntil; until.After(time.Now()) {
			t.Errorf("the next trial is due at %v although one is under way", until)
		}
		time.Sleep(10*time.Second + 2*time.Millisecond)
		synctest.Wait()
		wantState(t, b, Ejected)
		if n := p.Status()[0].Failures["trial"]; n != 1 {
			t.Fatalf("%d trials have failed; want 1", n)
		}
		_, _ = far.Write([]byte("H")) // the second trial is under way
		synctest.Wait()
		wantState(t, b, Up)
	})
}

func TestEjectionEndsWhenItIsTurnedOff(t *testing.T) {
	c := ejectionConfig(2)
	p := newPool(t, c)
	fail(p, p.backends[0], Refused, 3)
	wantState(t, p.backends[0], Ejected)
	c.Ejection = EjectionConfig{}
	reset(t, p, c)
	wantState(t, p.backends[0], Up)
}

func TestPanicOfATrialSaysNothingAboutTheBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, ejectionConfig(2))
		panics := 0
		run(t, p, Owner{
			Dial: func(context.Context, *Backend) (net.Conn, error) {
				if panics == 0 {
					panic("in a trial")
				}
				return newFakeBackends().dial(t.Context(), p.backends[0])
			},
			Panics: func(string, any, []byte) { panics++ },
		})
		b := p.backends[0]
		fail(p, b, Refused, 3)
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		wantState(t, b, Ejected)
		if n := p.Status()[0].Failures["trial"]; panics != 1 || n != 0 {
			t.Errorf("%d panics, %d failures; want 1 and none", panics, n)
		}
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		wantState(t, b, Up)
	})
}

func TestADrainMayEndAfterTheTimeOfAnEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, logs := newLoggedPool(t, ejectionConfig(2))
		b := p.backends[0]
		fail(p, b, Refused, 3)
		if err := p.Drain(b.Name(), 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := p.Undrain(b.Name()); err != nil {
			t.Fatal(err)
		}
		wantState(t, b, Ejected) // until a trial
		lines := logs.FilterMessage("backend ejected").All()
		if len(lines) != 2 || lines[1].ContextMap()["for"] != time.Duration(0) {
			t.Errorf("%d lines; want two, and the second one for 0s: %v", len(lines), lines)
		}
	})
}
