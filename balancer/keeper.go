package balancer

import (
	"context"
	"net"
	"sync"
	"time"

	"sluice/internal/recovery"
)

// An Owner is who holds the sessions of a pool's backends. The zero value holds none.
type Owner struct {
	// Dial connects to a backend as its sessions do; the probes use it and own the connection.
	// nil: TCP or a Unix socket, with TLS and the system's roots if the backend speaks it.
	Dial func(ctx context.Context, b *Backend) (net.Conn, error)
	// CloseSessions begins to close up to n sessions of b, idle ones first, each with 1012 at a
	// message boundary, and returns how many. They are released with Shed. It must not block, and
	// is called by one goroutine. nil: there is nobody who could.
	CloseSessions func(b *Backend, n int) int
	// Panics is called for each panic of a probe, of a source, or of another turn of Run. It ends
	// that turn only, and counts against no backend. nil: panics are not recovered.
	Panics recovery.Handler
}

// room is the name of this package in calls of Owner.Panics.
const room = "balancer"

// panicPause is the time from a turn of Run that panicked to the next.
const panicPause = time.Second

// A keeper is how the rest of the pool reaches Run.
type keeper struct {
	woken   chan struct{} // states have changed; room for one signal
	refresh chan struct{} // sources are to look soon; room for one signal
	running sync.WaitGroup

	cancel context.CancelFunc // of Run; guarded by the pool's mu
}

func newKeeper() keeper {
	return keeper{woken: make(chan struct{}, 1), refresh: make(chan struct{}, 1)}
}

func (k *keeper) wake() { signal(k.woken) }

// refreshSources brings the next attempt of each source forward.
func (p *Pool) refreshSources() { signal(p.keeper.refresh) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run does what a pool needs time for, probes and names included, until ctx ends or the pool is
// closed. It is called once; all that it started has ended when it returns.
func (p *Pool) Run(ctx context.Context, owner Owner) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !p.begin(cancel) {
		return
	}
	defer p.keeper.running.Done()

	sources := newSources(p, owner.Panics)
	defer sources.stop()
	probes := newProbers(p, owner)
	defer probes.stop()
	var rebalance rebalance

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.keeper.woken:
		case <-p.keeper.refresh:
			sources.refresh()
		case <-timer.C:
		}
		now := time.Now()
		next := now.Add(panicPause)
		owner.Panics.Guard(room, func() {
			sources.adjust(ctx)
			probes.adjust(ctx)
			due := p.advance(now)
			if owner.CloseSessions != nil {
				due = earlier(due, p.shed(now, &rebalance, owner))
			}
			next = due
		})
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(max(0, next.Sub(now)))
		}
	}
}

// begin notes how Close ends Run; false: the pool is closed already.
func (p *Pool) begin(cancel context.CancelFunc) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed {
		return false
	}
	if p.keeper.cancel != nil {
		panic("BUG: pool " + p.cfg.Name + " run twice")
	}
	p.keeper.cancel = cancel
	p.keeper.running.Add(1)
	return true
}

// Close ends Run and waits for it. Handshakes that wait for a place get ErrNone, as those that come
// later; places that are taken are released as ever.
func (p *Pool) Close() {
	p.end()
	p.keeper.running.Wait()
}

func (p *Pool) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.isClosed {
		p.isClosed = true
		p.swap(p.newSnapshot([tierCount][]entrant{}))
	}
	if p.keeper.cancel != nil {
		p.keeper.cancel()
	}
}

// minWarmStep bounds how often the weights of a slow start grow; there are 20 steps if they are
// not shorter.
const minWarmStep = 100 * time.Millisecond

// advance does what is due by the clock: ejections end and slow starts go on. It returns when the
// next is due; zero: nothing is.
func (p *Pool) advance(now time.Time) (next time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	isWarming := false
	for _, b := range p.members {
		p.settle(b, now, nil)
		switch b.State() {
		case Ejected:
			next = earlier(next, b.ejection.until)
		case Warming:
			isWarming = true
		}
	}
	if isWarming {
		next = earlier(next, now.Add(max(minWarmStep, p.cfg.SlowStart.Std()/20)))
	}
	if isWarming || p.isStale {
		p.rebuild(now)
	}
	return next
}

// earlier returns the earlier of two times, of which a zero one is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
