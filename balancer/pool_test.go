package balancer

import (
	"context"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"go.uber.org/zap"
)

// seeded returns random numbers that are the same in every run.
func seeded() func() uint64 {
	var mu sync.Mutex
	source := rand.NewPCG(1, 2)
	return func() uint64 {
		mu.Lock()
		defer mu.Unlock()
		return source.Uint64()
	}
}

// configOf returns a pool of n backends of weight 1.
func configOf(policy string, n int) Config {
	c := Config{Name: "test", Policy: policy, RetryAfter: 5e9, Queue: 16, Panic: true}
	for i := range n {
		c.Backend = append(c.Backend, BackendConfig{Address: addressOf(i), Weight: 1})
	}
	if policy == PolicyHash {
		c.Hash.Header = "X-Key"
	}
	if policy == PolicySticky {
		c.Sticky = StickyConfig{Cookie: "sluice", Secret: "0123456789abcdef", Path: "/", HTTPOnly: true, SameSite: "lax"}
	}
	return c
}

func addressOf(i int) string {
	return "10.0." + strconv.Itoa(i/250) + "." + strconv.Itoa(i%250+1) + ":9000"
}

// newPool returns a pool with seeded random numbers.
func newPool(t testing.TB, c Config) *Pool {
	t.Helper()
	p, err := New(c, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	p.random = seeded()
	reset(t, p, c)
	return p
}

func reset(t testing.TB, p *Pool, c Config) {
	t.Helper()
	if err := p.Set(c); err != nil {
		t.Fatal(err)
	}
}

// pick picks or ends the test.
func pick(t testing.TB, p *Pool, r *Request, tried ...*Backend) *Backend {
	t.Helper()
	got, err := p.Pick(context.Background(), r, tried)
	if err != nil {
		t.Fatalf("Pick = %v", err)
	}
	return got.Backend
}

func TestRoundRobinTakesTurns(t *testing.T) {
	p := newPool(t, configOf(PolicyRoundRobin, 3))
	last := make(map[*Backend]int)
	for i := 1; i <= 300; i++ {
		b := pick(t, p, &Request{})
		if n := last[b]; n != 0 && i-n != 3 {
			t.Fatalf("pick %d is %s, as was pick %d; want every third", i, b.Name(), n)
		}
		last[b] = i
	}
}

func TestLeastConnStaysWithinOneSession(t *testing.T) {
	p := newPool(t, configOf(PolicyLeastConn, 3))
	random := rand.New(rand.NewPCG(3, 4))
	var live []*Backend
	for range 10_000 {
		live = append(live, pick(t, p, &Request{}))
		low, high := int64(math.MaxInt64), int64(0)
		for _, b := range p.backends {
			low, high = min(low, b.Sessions()), max(high, b.Sessions())
		}
		if high-low > 1 {
			t.Fatalf("after %d picks the sessions are from %d to %d; want them within 1", len(live), low, high)
		}
	}
	random.Shuffle(len(live), func(i, k int) { live[i], live[k] = live[k], live[i] })
	for _, b := range live {
		b.Release(Ended)
	}
	for _, b := range p.backends {
		if b.Sessions() != 0 {
			t.Errorf("%s has %d sessions after the last was released", b.Name(), b.Sessions())
		}
	}
}

func TestPickAgainTakesTheSameBackendWhileThatTakesSessions(t *testing.T) {
	c := configOf(PolicyRoundRobin, 3)
	c.Backend[0].MaxSessions = 2
	p := newPool(t, c)
	b := pick(t, p, &Request{})
	for b.Name() != addressOf(0) {
		b = pick(t, p, &Request{})
	}
	if again, isPicked := p.PickAgain(b); !isPicked || again.Backend != b || b.Sessions() != 2 {
		t.Errorf("%v, %t, %d sessions; want the backend with a second session", again.Backend, isPicked, b.Sessions())
	}
	if _, isPicked := p.PickAgain(b); isPicked {
		t.Error("a full backend is picked")
	}
	b.Release(Ended)
	c.Backend = c.Backend[1:]
	reset(t, p, c)
	if _, isPicked := p.PickAgain(b); isPicked {
		t.Error("a removed backend is picked")
	}
}
