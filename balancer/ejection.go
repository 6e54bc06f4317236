package balancer

import (
	"fmt"
	"slices"
	"time"
)

// statusesOfFailure are the answers that count as failures unless configured: those of a program
// that broke and of a proxy without one behind it. 501 and 505 tell of the request.
var statusesOfFailure = []int{500, 502, 503, 504}

// An ejectionRecord is what is known of a backend's failures. Guarded by pool.mu.
type ejectionRecord struct {
	failures row
	lost     row
	until    time.Time // zero: never ejected
	count    int       // ejections in a row
}

// A row is when the first of a row of failures was.
type row struct{ since time.Time }

// failed counts a failure of a backend's real traffic, and ejects it if that was one too many.
func (p *Pool) failed(b *Backend, r reason) {
	if r.isUnreachable() {
		p.refreshSources()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	c := &p.cfg.Ejection
	limit, inRow, record := int64(c.Failures), &b.failedInRow, &b.ejection.failures
	if r == reasonLost {
		limit, inRow, record = int64(c.Lost), &b.lostInRow, &b.ejection.lost
	}
	if limit == 0 || p.isClosed || !b.State().IsAvailable() {
		return
	}
	if inRow.Load() == 0 || now.Sub(record.since) > c.Window.Std() {
		inRow.Store(0)
		record.since = now
	}
	if inRow.Add(1) < limit || !p.mayEject(b) {
		return
	}
	inRow.Store(0)
	b.eject(now, c)
	p.settle(b, now, fmt.Errorf("%d failures in a row, at last %v", limit, r))
	p.changed(now)
}

// mayEject reports whether the pool can do without one more member: another one stays available,
// and no more than their share are out at once, though one always may be.
func (p *Pool) mayEject(b *Backend) bool {
	available, ejected := 0, 0
	for _, other := range p.members {
		switch state := other.State(); {
		case state == Ejected:
			ejected++
		case state.IsAvailable() && other != b:
			available++
		}
	}
	return available > 0 && ejected < max(1, len(p.members)*p.cfg.Ejection.MaxPercent/100)
}

// eject takes b out for twice as long as the last time, unless it has kept its place since.
func (b *Backend) eject(now time.Time, c *EjectionConfig) {
	e := &b.ejection
	if now.Sub(e.until) > c.MaxTime.Std() {
		e.count = 0
	}
	d := c.BaseTime.Std()
	for range e.count {
		d = min(2*d, c.MaxTime.Std())
		if d == c.MaxTime.Std() {
			break
		}
	}
	e.until = now.Add(d)
	e.count++
}

// failureStatuses returns the answers that count against a backend.
func (c *EjectionConfig) failureStatuses() []int {
	if len(c.Statuses) == 0 {
		return statusesOfFailure
	}
	return slices.Clone(c.Statuses)
}
