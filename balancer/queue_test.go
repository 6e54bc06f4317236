package balancer

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/units"
)

func wantFull(t *testing.T, p *Pool, seconds int) {
	t.Helper()
	_, err := p.Pick(t.Context(), requestOf(0), nil)
	var full *FullError
	if !errors.Is(err, ErrFull) || !errors.As(err, &full) || full.RetryAfter != time.Duration(seconds)*time.Second {
		t.Fatalf("Pick of a full pool = %v; want ErrFull with RetryAfter %ds", err, seconds)
	}
}

// fullConfig is one backend of one place, and a queue of two.
func fullConfig() Config {
	c := configOf(PolicyLeastConn, 1)
	c.Backend[0].MaxSessions = 1
	c.Queue = 2
	c.QueueTimeout = units.Duration(10 * time.Second)
	return c
}

// A result is how a Pick in the background ended.
type result struct {
	who  int
	pick Pick
	err  error
	at   time.Time
}

// inQueue starts a Pick that has to wait, and returns when it does.
func inQueue(ctx context.Context, p *Pool, who int, results chan<- result) {
	go func() {
		pick, err := p.Pick(ctx, requestOf(who), nil)
		results <- result{who, pick, err, time.Now()}
	}()
	synctest.Wait()
}

func TestFirstInTheQueueIsServedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, fullConfig())
		b := pick(t, p, requestOf(0))
		results := make(chan result, 2)
		inQueue(t.Context(), p, 1, results)
		inQueue(t.Context(), p, 2, results)
		for who := 1; who <= 2; who++ {
			b.Release(Ended)
			got := <-results
			if got.who != who || got.err != nil || got.pick.Backend != b {
				t.Fatalf("released place %d went to %+v", who, got)
			}
			if b.Sessions() != 1 {
				t.Fatalf("%d sessions on a backend of one place", b.Sessions())
			}
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, fullConfig())
		pick(t, p, requestOf(0))
		results := make(chan result, 2)
		inQueue(t.Context(), p, 1, results)
		inQueue(t.Context(), p, 2, results)
		start := time.Now()
		wantFull(t, p, 5)
		if d := time.Since(start); d != 0 {
			t.Errorf("refused after %v; want at once", d)
		}
		for range 2 {
			if got := <-results; !errors.Is(got.err, ErrFull) || got.at.Sub(start) != 10*time.Second {
				t.Errorf("waiter %d ended with %v after %v; want ErrFull after 10s", got.who, got.err, got.at.Sub(start))
			}
		}
	})
}

func TestHandshakeLeavesTheQueueWhenItsClientIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, fullConfig())
		b := pick(t, p, requestOf(0))
		results := make(chan result, 2)
		ctx, cancel := context.WithCancel(t.Context())
		inQueue(ctx, p, 1, results)
		inQueue(t.Context(), p, 2, results)
		cancel()
		if got := <-results; got.who != 1 || !errors.Is(got.err, context.Canceled) {
			t.Fatalf("after the first one's client was gone: %+v", got)
		}
		b.Release(Ended)
		if got := <-results; got.who != 2 || got.err != nil {
			t.Fatalf("after a release: %+v", got)
		}
	})
}

func TestNewPlacesServeTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fullConfig()
		p := newPool(t, c)
		pick(t, p, requestOf(0))
		results := make(chan result, 2)
		inQueue(t.Context(), p, 1, results)
		inQueue(t.Context(), p, 2, results)
		c.Backend = []BackendConfig{{Address: addressOf(0), Weight: 1, MaxSessions: 3}}
		reset(t, p, c)
		for range 2 {
			if got := <-results; got.err != nil {
				t.Errorf("waiter %d after max_sessions rose by two: %v", got.who, got.err)
			}
		}
	})
}

func TestRetryDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fullConfig()
		c.Backend = append(c.Backend, BackendConfig{Address: addressOf(1), Weight: 1, MaxSessions: 1})
		p := newPool(t, c)
		first, _ := pick(t, p, requestOf(0)), pick(t, p, requestOf(1))
		start := time.Now()
		if _, err := p.Pick(t.Context(), requestOf(0), []*Backend{first}); !errors.Is(err, ErrFull) || time.Since(start) != 0 {
			t.Errorf("retry = %v after %v; want ErrFull at once", err, time.Since(start))
		}
	})
}

func TestTryPickNeverWaits(t *testing.T) {
	c := fullConfig()
	p := newPool(t, c)
	taken, err := p.TryPick(requestOf(0))
	if err != nil {
		t.Fatalf("TryPick of a pool with a place = %v", err)
	}
	if _, err := p.TryPick(requestOf(1)); err != ErrWait {
		t.Errorf("TryPick of a full pool with a queue = %v; want ErrWait", err)
	}
	c.QueueTimeout = 0
	reset(t, p, c)
	if _, err := p.TryPick(requestOf(1)); !errors.Is(err, ErrFull) {
		t.Errorf("TryPick of a full pool without a queue = %v; want ErrFull", err)
	}
	taken.Backend.Release(Ended)
}

func TestCloseEndsTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, fullConfig())
		b := pick(t, p, requestOf(0))
		results := make(chan result, 2)
		inQueue(t.Context(), p, 1, results)
		inQueue(t.Context(), p, 2, results)
		p.Close()
		for range 2 {
			if got := <-results; got.err != ErrNone {
				t.Errorf("waiter %d after Close: %v; want ErrNone", got.who, got.err)
			}
		}
		b.Release(Ended)
		if b.Sessions() != 0 {
			t.Errorf("%d sessions after the last release", b.Sessions())
		}
	})
}

// One address that fills a pool's queue leaves places in it.
// Faults D.
func TestOneAddressHasItsShareOfAQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := fullConfig()
		c.Queue = 100
		p := newPool(t, c)
		pick(t, p, requestOf(0))
		results := make(chan result, 200)
		for range 100 {
			inQueue(t.Context(), p, 1, results)
		}
		refused := 0
		for len(results) > 0 {
			got := <-results
			var full *FullError
			if refused++; !errors.As(got.err, &full) || !full.IsShare || full.RetryAfter != 5*time.Second {
				t.Fatalf("refused by %v, want the share of an address", got.err)
			}
		}
		if refused != 49 {
			t.Errorf("%d of 100 handshakes of one address are refused, want 49", refused)
		}
		for who := range 10 {
			inQueue(t.Context(), p, who+2, results)
		}
		if len(results) > 0 {
			t.Errorf("another address gets no place in the queue: %v", (<-results).err)
		}
		for range 51 + 10 {
			<-results // of queue_timeout
		}
		p.picks.Lock()
		defer p.picks.Unlock()
		if len(p.queue.of) != 0 {
			t.Errorf("%d addresses are counted in an empty queue", len(p.queue.of))
		}
	})
}
