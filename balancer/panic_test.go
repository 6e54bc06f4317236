package balancer

import (
	"context"
	"math"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"sluice/balancer/discovery"
	"sluice/balancer/discovery/dnstest"
)

// recovered keeps the causes with which an Owner's Panics was called.
type recovered struct {
	mu sync.Mutex

	causes []any // guarded by mu
}

func (r *recovered) handle(name string, cause any, _ []byte) {
	if name != room {
		panic("called for the room " + name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.causes = append(r.causes, cause)
}

func (r *recovered) all() []any {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.causes)
}

func (r *recovered) want(t *testing.T, causes ...any) {
	t.Helper()
	if got := r.all(); !slices.Equal(got, causes) {
		t.Errorf("recovered %v; want %v", got, causes)
	}
}

func TestAPanicOfAProbeSaysNothingAboutTheBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, logs := newLoggedPool(t, healthConfig(2))
		bs, told := newFakeBackends(), new(recovered)
		broken := p.backends[0]
		run(t, p, Owner{Panics: told.handle, Dial: func(ctx context.Context, b *Backend) (net.Conn, error) {
			conn, err := bs.dial(ctx, b)
			if b == broken && bs.count(b.Name()) <= 4 {
				panic("broken")
			}
			return conn, err
		}})
		afterProbes(bs, broken, 4) // fall is 3
		told.want(t, "broken", "broken", "broken", "broken")
		wantState(t, broken, Up)
		wantLogged(t, logs)
		if n := p.Status()[0].Failures["probe"]; n != 0 {
			t.Errorf("%d failures of a backend that did nothing wrong", n)
		}

		// Both are still probed.
		for _, b := range p.backends {
			bs.set(b.Name(), true)
			afterProbes(bs, b, 4)
			wantState(t, b, Down)
		}
	})
}

func TestABackendIsProbedOnAfterAPanicBetweenTwoProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, healthConfig(1))
		p.cfg.Health.Jitter = math.MaxInt64 // which Check refuses: one more is negative
		bs, told := newFakeBackends(), new(recovered)
		run(t, p, Owner{Panics: told.handle, Dial: bs.dial})
		afterProbes(bs, p.backends[0], 3)
		if n := len(told.all()); n < 2 {
			t.Errorf("%d panics; want one after each probe", n)
		}
	})
}

func TestAPanicOfTheOwnerEndsOnlyThatRoundOfADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, configOf(PolicyLeastConn, 2))
		ss, told := newSessions(t, p, 0), new(recovered)
		isBroken := true
		run(t, p, Owner{Panics: told.handle, CloseSessions: func(b *Backend, n int) int {
			if isBroken {
				isBroken = false
				panic("broken")
			}
			return ss.close(b, n)
		}})
		ss.open(t, 100)
		if err := p.Drain(p.backends[0].Name(), 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(panicPause + time.Second)
		synctest.Wait()
		told.want(t, "broken")
		if n := p.backends[0].Sessions(); n != 0 {
			t.Errorf("%d sessions are left after the drain", n)
		}
		if n := p.backends[1].Sessions(); n != 50 {
			t.Errorf("the other backend has %d sessions; want its 50", n)
		}
	})
}

func TestAPanicOfASourceKeepsTheLastBackends(t *testing.T) {
	server := dnstest.New(t)
	server.Set("a.test", "127.0.0.1")
	server.Set("b.test", "127.0.0.2")
	isBroken := false
	p, err := New(resolved(server, discovery.RecordsA, "a.test:9000", "b.test:9000"), zap.New(panickingCore{&isBroken}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	told := new(recovered)
	run(t, p, Owner{Panics: told.handle})
	untilBackends(t, p, "127.0.0.1:9000", "127.0.0.2:9000")

	p.locked(func() { isBroken = true })
	server.Set("a.test", "127.0.0.3")
	until(t, "a panic", func() bool { return len(told.all()) > 0 })
	p.locked(func() { isBroken = false })
	untilBackends(t, p, "127.0.0.3:9000", "127.0.0.2:9000")
	for _, cause := range told.all() {
		if cause != "broken" {
			t.Errorf("recovered %v", cause)
		}
	}
}

// locked runs f while nothing of the pool changes.
func (p *Pool) locked(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// A panickingCore panics where a pool logs, while *isBroken; the pool's mu guards that.
type panickingCore struct{ isBroken *bool }

func (panickingCore) Enabled(zapcore.Level) bool          { return true }
func (c panickingCore) With([]zapcore.Field) zapcore.Core { return c }
func (c panickingCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return checked.AddCore(e, c)
}

func (c panickingCore) Write(zapcore.Entry, []zapcore.Field) error {
	if *c.isBroken {
		panic("broken")
	}
	return nil
}

func (panickingCore) Sync() error { return nil }
