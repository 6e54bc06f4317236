package balancer

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"sluice/balancer/probe"
	"sluice/internal/netconn"
)

// trialTimeout bounds a trial. No client waits for it.
const trialTimeout = 5 * time.Second

// trials tries ejected backends whose time is over, with a goroutine for each. A backend stays ejected until
// a trial succeeds: otherwise clients would find out that it is still dead. Owned by the goroutine of Run.
type trials struct {
	pool    *Pool
	owner   Owner
	running sync.WaitGroup
}

// start starts the trials that are due. They end with ctx.
func (ts *trials) start(ctx context.Context, now time.Time) {
	for _, b := range ts.pool.dueTrials(now) {
		ts.running.Go(func() { ts.try(ctx, b) })
	}
}

// dueTrials returns the backends that are to be tried, and notes that they are.
func (p *Pool) dueTrials(now time.Time) (due []*Backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.backends {
		if e := &b.ejection; b.State() == Ejected && !e.isTried && !e.until.After(now) {
			e.isTried = true
			due = append(due, b)
		}
	}
	return due
}

// errPanicked is the result of a trial that has panicked.
var errPanicked = errors.New("panic in a trial")

func (ts *trials) try(ctx context.Context, b *Backend) {
	err := errPanicked
	defer func() { ts.pool.recordTrial(ctx, b, err, time.Now()) }()
	ts.owner.Panics.Guard(room, func() {
		dial := func(ctx context.Context) (net.Conn, error) { return ts.owner.Dial(ctx, b) }
		err = probe.Responds(ctx, trialTimeout, b.probed(dial), ts.owner.Panics)
	})
}

// recordTrial ends the ejection of b after a successful trial. Otherwise the next trial is due after
// base_time.
func (p *Pool) recordTrial(ctx context.Context, b *Backend, err error, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := &b.ejection
	e.isTried = false
	switch {
	case ctx.Err() != nil || !e.isOut:
		return
	case err == nil:
		e.isOut = false
		p.updateState(b, now, "")
	default:
		e.until = now.Add(p.cfg.Ejection.BaseTime.Std())
		if err == errPanicked || netconn.Exhausted(err) != "" {
			break // it says nothing about the backend
		}
		p.noteFailure(b, reasonTrial, "trial after its ejection: "+netconn.Explain(err), now)
	}
	p.applyChanges(now)
}
