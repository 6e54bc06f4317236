package balancer

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/units"
)

// sessions is an owner of sessions whose clients come back some time after they were closed.
type sessions struct {
	pool *Pool
	back time.Duration // 0: they do not come back

	mu     sync.Mutex
	live   map[*Backend]int
	closed map[*Backend]int
	log    []closing

	ending sync.WaitGroup
}

type closing struct {
	at time.Time
	n  int
}

func newSessions(t *testing.T, p *Pool, back time.Duration) *sessions {
	ss := &sessions{pool: p, back: back, live: make(map[*Backend]int), closed: make(map[*Backend]int)}
	t.Cleanup(ss.ending.Wait)
	return ss
}

// open opens n sessions.
func (ss *sessions) open(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		b := pick(t, ss.pool, requestOf(i))
		b.Established()
		ss.mu.Lock()
		ss.live[b]++
		ss.mu.Unlock()
	}
}

// close is an Owner's CloseSessions: a closing handshake takes half a second.
func (ss *sessions) close(b *Backend, n int) int {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	n = min(n, ss.live[b])
	ss.live[b] -= n
	ss.closed[b] += n
	ss.log = append(ss.log, closing{time.Now(), n})
	for range n {
		ss.ending.Go(func() { ss.end(b) })
	}
	return n
}

func (ss *sessions) end(b *Backend) {
	time.Sleep(500 * time.Millisecond)
	b.Release(Shed)
	if ss.back == 0 {
		return
	}
	time.Sleep(rand.N(ss.back))
	if got, err := ss.pool.Pick(context.Background(), requestOf(0), nil); err == nil {
		ss.mu.Lock()
		ss.live[got.Backend]++
		ss.mu.Unlock()
	}
}

// total returns how many sessions were closed.
func (ss *sessions) total() int {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	n := 0
	for _, k := range ss.closed {
		n += k
	}
	return n
}

// perSecond returns the most sessions that were closed within one second.
func (ss *sessions) perSecond() int {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	most := 0
	for i, first := range ss.log {
		n := 0
		for _, c := range ss.log[i:] {
			if c.at.Sub(first.at) < time.Second {
				n += c.n
			}
		}
		most = max(most, n)
	}
	return most
}

func TestDrainSpreadsTheCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, logs := newLoggedPool(t, configOf(PolicyLeastConn, 3))
		ss := newSessions(t, p, time.Second)
		run(t, p, Owner{CloseSessions: ss.close})
		ss.open(t, 900)
		b := p.backends[0]
		if err := p.Drain(b.Name(), 30*time.Second); err != nil {
			t.Fatal(err)
		}
		wantState(t, b, Draining)
		wantLogged(t, logs, "backend draining")
		for _, at := range []int{10, 20} {
			time.Sleep(10 * time.Second)
			if left, want := b.Sessions(), int64(300-10*at); left < want-15 || left > want+15 {
				t.Errorf("%d sessions are left after %ds of 30s; want %d within 15", left, at, want)
			}
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if n := b.Sessions(); n != 0 {
			t.Errorf("%d sessions are left after the drain", n)
		}
		if n := ss.total(); n != 300 {
			t.Errorf("%d sessions closed; want the 300 of the backend", n)
		}
		if n := ss.perSecond(); n > 15 {
			t.Errorf("%d sessions closed within a second; want an even 10", n)
		}

		if err := p.Undrain(b.Name()); err != nil {
			t.Fatal(err)
		}
		wantState(t, b, Up)
		wantLogged(t, logs, "backend up")
		if pick(t, p, requestOf(0)) != b {
			t.Error("the empty backend was not chosen after its drain ended")
		}
	})
}

func TestUndrainKeepsTheSessionsThatAreLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, configOf(PolicyLeastConn, 2))
		ss := newSessions(t, p, 0)
		run(t, p, Owner{CloseSessions: ss.close})
		ss.open(t, 200)
		if err := p.Drain(p.backends[0].Name(), 10*time.Second); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if err := p.Undrain(p.backends[0].Name()); err != nil {
			t.Fatal(err)
		}
		closed := ss.total()
		time.Sleep(time.Minute)
		if n := ss.total(); n != closed || n < 45 || n > 55 {
			t.Errorf("%d sessions closed, %d of them in the first half of the drain; want 50 and no more", n, closed)
		}
	})
}

func TestDrainOfAnUnknownBackendIsAnError(t *testing.T) {
	p := newPool(t, configOf(PolicyLeastConn, 2))
	if p.Drain("10.9.9.9:1", 0) == nil || p.Undrain("10.9.9.9:1") == nil {
		t.Error("drain of a backend that the pool has not is no error")
	}
}

func TestDrainAtOnceClosesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, configOf(PolicyLeastConn, 2))
		ss := newSessions(t, p, 0)
		run(t, p, Owner{CloseSessions: ss.close})
		ss.open(t, 200)
		if err := p.Drain(p.backends[0].Name(), 0); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := ss.total(); n != 100 {
			t.Errorf("%d sessions closed at once; want 100", n)
		}
	})
}

// rebalanceConfig closes 50 sessions a second.
func rebalanceConfig(n int) Config {
	c := configOf(PolicyLeastConn, n)
	c.Rebalance = RebalanceConfig{Rate: 50, Tolerance: 5, Interval: units.Duration(10 * time.Second)}
	return c
}

func TestRebalanceGivesANewBackendItsShare(t *testing.T) {
	for _, back := range []time.Duration{time.Second, 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			c := rebalanceConfig(3)
			p := newPool(t, c)
			ss := newSessions(t, p, back)
			run(t, p, Owner{CloseSessions: ss.close})
			ss.open(t, 3000)
			time.Sleep(time.Minute)
			if n := ss.total(); n != 0 {
				t.Fatalf("%d sessions closed in balance", n)
			}

			c.Backend = append(c.Backend, BackendConfig{Address: addressOf(3), Weight: 1})
			reset(t, p, c)
			if got := p.Status()[0].Surplus; got != 250 {
				t.Errorf("surplus of 1,000 sessions, whose share is 750: %d", got)
			}
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			for _, b := range p.backends {
				if n := b.Sessions(); n < 713 || n > 787 {
					t.Errorf("%s has %d sessions; want 750 within 5%%", b.Name(), n)
				}
			}
			if n := ss.total(); n > 750 {
				t.Errorf("%d sessions closed; the surplus was 750", n)
			}
			if n := ss.closed[p.backends[3]]; n != 0 {
				t.Errorf("%d sessions of the new backend closed", n)
			}
			if n := ss.perSecond(); n > 55 {
				t.Errorf("%d sessions closed within a second; the rate is 50", n)
			}
		})
	}
}

func TestRebalanceWaitsForSlowStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := rebalanceConfig(2)
		c.SlowStart = units.Duration(time.Minute)
		p := newPool(t, c)
		ss := newSessions(t, p, time.Second)
		run(t, p, Owner{CloseSessions: ss.close})
		ss.open(t, 600)
		c.Backend = append(c.Backend, BackendConfig{Address: addressOf(2), Weight: 1})
		reset(t, p, c)
		time.Sleep(59 * time.Second)
		if n := ss.total(); n != 0 {
			t.Errorf("%d sessions closed during the slow start", n)
		}
		time.Sleep(time.Minute)
		if n := p.backends[2].Sessions(); n < 190 || n > 210 {
			t.Errorf("the new backend has %d of 600 sessions; want 200 within 5%%", n)
		}
	})
}

func TestRebalanceStopsWhenTheOwnerHasNothingToClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := rebalanceConfig(1)
		p := newPool(t, c)
		asked := 0
		run(t, p, Owner{CloseSessions: func(*Backend, int) int { asked++; return 0 }})
		for i := range 100 {
			pick(t, p, requestOf(i)) // handshakes, not sessions yet
		}
		c.Backend = append(c.Backend, BackendConfig{Address: addressOf(1), Weight: 1})
		reset(t, p, c)
		time.Sleep(65 * time.Second)
		synctest.Wait()
		if asked < 5 || asked > 8 {
			t.Errorf("the owner, who has none, was asked %d times in 65s; want once each 10s", asked)
		}
	})
}

func TestSurplus(t *testing.T) {
	unlimited := 1e9
	for _, test := range []struct {
		name  string
		loads []load
		want  []int64
	}{
		{"a new backend", []load{{1000, 1, unlimited}, {1000, 1, unlimited}, {1000, 1, unlimited}, {0, 1, unlimited}}, []int64{250, 250, 250, 0}},
		{"within the tolerance", []load{{760, 1, unlimited}, {740, 1, unlimited}}, []int64{0, 0}},
		{"only who is over gives", []load{{1000, 1, unlimited}, {760, 1, unlimited}, {760, 1, unlimited}, {480, 1, unlimited}}, []int64{250, 0, 0, 0}},
		{"none is over and one is under", []load{{780, 1, unlimited}, {780, 1, unlimited}, {780, 1, unlimited}, {660, 1, unlimited}}, []int64{30, 30, 30, 0}},
		{"by weight", []load{{500, 1, unlimited}, {500, 4, unlimited}}, []int64{300, 0}},
		{"a full backend's share goes to the others", []load{{700, 1, unlimited}, {100, 1, 100}, {100, 1, unlimited}}, []int64{300, 0, 0}},
		{"one session is no surplus", []load{{1, 1, unlimited}, {0, 1, unlimited}, {0, 1, unlimited}}, []int64{0, 0, 0}},
		{"alone", []load{{100, 1, unlimited}}, []int64{0}},
		{"no backend", nil, []int64{}},
	} {
		got := surplusOf(test.loads, 0.05)
		for i := range got {
			if got[i] != test.want[i] {
				t.Errorf("%s: surplus of %v = %v; want %v", test.name, test.loads, got, test.want)
				break
			}
		}
	}
}
