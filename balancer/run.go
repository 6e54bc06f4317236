package balancer

import (
	"context"
	"net"
	"sync"
	"time"

	"sluice/internal/recovery"
)

// An Owner holds the sessions of a pool's backends. The zero value holds none.
type Owner struct {
	// Dial connects to a backend as its sessions do; probes and trials use it and own the connection.
	// nil means TCP or a Unix socket, with TLS and the system's roots if the backend speaks it.
	Dial func(ctx context.Context, b *Backend) (net.Conn, error)
	// CloseSessions begins to close up to n sessions of b, idle ones first, each with 1012 at a
	// message boundary, and returns how many. They are released with Shed. It must not block, and
	// is called by one goroutine. nil means that sessions can't be closed.
	CloseSessions func(b *Backend, n int) int
	// Panics is called for each panic of a probe, a trial, a source, or of another round of Run. The panic
	// ends only that round, and counts against no backend. nil means that panics are not recovered.
	Panics recovery.Handler
}

// room is the name of this package in calls of Owner.Panics.
const room = "balancer"

// panicPause is the time from a round that panicked to the next.
const panicPause = time.Second

// A background is how the rest of the pool wakes and ends Run.
type background struct {
	woken   chan struct{} // a state has changed; room for one signal
	refresh chan struct{} // sources are to refresh; room for one signal
	running sync.WaitGroup

	cancel context.CancelFunc // of Run; guarded by the pool's mu
}

func newBackground() background {
	return background{woken: make(chan struct{}, 1), refresh: make(chan struct{}, 1)}
}

func (bg *background) wake() { signal(bg.woken) }

// refreshSources brings the next attempt of each source forward.
func (p *Pool) refreshSources() { signal(p.background.refresh) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run probes, watches the sources of names, tries ejected backends, ends slow starts, and closes sessions for
// drains and the rebalance. It blocks until ctx ends or the pool is closed, and is called once. When it
// returns, all that it started has ended.
func (p *Pool) Run(ctx context.Context, owner Owner) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !p.beginRun(cancel) {
		return
	}
	defer p.background.running.Done()

	sources := newSources(p, owner.Panics)
	defer sources.stop()
	if owner.Dial == nil {
		owner.Dial = dialPlain
	}
	probes := newProbers(p, owner)
	defer probes.stop()
	trials := trials{pool: p, owner: owner}
	defer trials.running.Wait()
	var rebalance rebalance

	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.background.woken:
		case <-p.background.refresh:
			owner.Panics.Guard(room, sources.refresh)
			continue
		case <-timer.C:
		}
		now := time.Now()
		next := now.Add(panicPause)
		owner.Panics.Guard(room, func() {
			sources.adjust(ctx)
			probes.adjust(ctx)
			trials.start(ctx, now)
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

// beginRun records how Close ends Run. It returns false if the pool is already closed.
func (p *Pool) beginRun(cancel context.CancelFunc) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed {
		return false
	}
	if p.background.cancel != nil {
		panic("BUG: pool " + p.cfg.Name + " run twice")
	}
	p.background.cancel = cancel
	p.background.running.Add(1)
	return true
}

// Close ends Run and waits for it. Handshakes that wait for a place get ErrNone, and so does each later
// Pick. Places that are in use are released as before.
func (p *Pool) Close() {
	p.endRun()
	p.background.running.Wait()
}

func (p *Pool) endRun() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.isClosed {
		p.isClosed = true
		p.swapSnapshot(p.newSnapshot([levelCount][]candidate{}))
	}
	if p.background.cancel != nil {
		p.background.cancel()
	}
}

// minWarmStep is the least time between two steps of a slow start, which has at most 20.
const minWarmStep = 100 * time.Millisecond

// advance applies what is due at now: slow starts proceed. It returns when the next
// change is due; zero: none is.
func (p *Pool) advance(now time.Time) (next time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	isWarming := false
	for _, b := range p.backends {
		p.updateState(b, now, "")
		switch b.State() {
		case Ejected:
			if !b.ejection.isTried {
				next = earlier(next, b.ejection.until)
			}
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

// earlier returns the earlier of two times. A zero time is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
