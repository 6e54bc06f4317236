package balancer

import (
	"fmt"
	"slices"
	"time"
)

// defaultFailureStatuses are the answers that count as failures unless configured: the backend says that it,
// or what is behind it, can't serve. The other ones from 500 on may be about one request alone.
var defaultFailureStatuses = []int{502, 503, 504}

// An ejectionState is the history of a backend's failures. Guarded by pool.mu.
type ejectionState struct {
	failuresSince time.Time // the first of the consecutive failures
	lossesSince   time.Time // the first of the consecutive losses
	isOut         bool      // from an ejection until a trial succeeds
	isTried       bool      // a trial is under way
	lastLoss      time.Time // the last session that was lost, or whose stream ended
	isLoneEnd     bool      // that one is a stream's end which hasn't been counted
	until         time.Time // when the next trial is due, or the last ejection ended; zero: never ejected
	consecutive   int       // ejections
}

// recordFailure counts a failure of a backend's real traffic.
func (p *Pool) recordFailure(b *Backend, r reason, cause string) {
	if r.isUnreachable() {
		p.refreshSources()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if r == reasonLost {
		p.noteLoss(b, now, false)
	}
	p.countFailure(b, r, cause, now)
}

// recordStreamEnd counts the end of a session whose stream a backend has ended as a loss if another one was lost, or ended so, within
// togetherTime: then the backend itself has ended.
func (p *Pool) recordStreamEnd(b *Backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.noteLoss(b, now, true) {
		p.countFailure(b, reasonLost, Lost.text(reasonLost), now)
	}
}

// togetherTime is how far apart ends of sessions may be to have one cause.
const togetherTime = time.Second

// noteLoss notes the end of a session, and counts the one before, too, if that was a stream's end alone until now. The caller holds
// pool.mu.
func (p *Pool) noteLoss(b *Backend, now time.Time, isStreamEnd bool) (areTogether bool) {
	e := &b.ejection
	areTogether = !e.lastLoss.IsZero() && now.Sub(e.lastLoss) <= togetherTime
	if areTogether && e.isLoneEnd {
		p.countFailure(b, reasonLost, Lost.text(reasonLost), now)
	}
	e.lastLoss, e.isLoneEnd = now, isStreamEnd && !areTogether
	return areTogether
}

// countFailure counts a failure, and ejects the backend if it reached the limit. The caller holds pool.mu.
func (p *Pool) countFailure(b *Backend, r reason, cause string, now time.Time) {
	p.noteFailure(b, r, cause, now)
	c := &p.cfg.Ejection
	limit, count, since := int64(c.Failures), &b.consecutiveFailures, &b.ejection.failuresSince
	if r == reasonLost {
		limit, count, since = int64(c.Lost), &b.consecutiveLosses, &b.ejection.lossesSince
	}
	if limit == 0 || p.isClosed || !b.State().IsAvailable() {
		return
	}
	if count.Load() == 0 || now.Sub(*since) > c.Window.Std() {
		count.Store(0)
		*since = now
	}
	if count.Add(1) < limit || !p.canEject(b) {
		return
	}
	count.Store(0)
	b.eject(now, c)
	p.updateState(b, now, fmt.Sprintf("%d consecutive failures, the last one: %s", limit, cause))
	p.applyChanges(now)
}

// canEject reports whether the pool can spare b: another backend stays available, and at most
// max_percent of the backends, rounded up, are ejected at once.
func (p *Pool) canEject(b *Backend) bool {
	available, ejected := 0, 0
	for _, other := range p.backends {
		switch state := other.State(); {
		case state == Ejected:
			ejected++
		case state.IsAvailable() && other != b:
			available++
		}
	}
	return available > 0 && 100*ejected < len(p.backends)*p.cfg.Ejection.MaxPercent
}

// eject ejects b, for twice the time of the last ejection unless that ended more than max_time ago.
func (b *Backend) eject(now time.Time, c *EjectionConfig) {
	e := &b.ejection
	if now.Sub(e.until) > c.MaxTime.Std() {
		e.consecutive = 0
	}
	d := c.BaseTime.Std()
	for range e.consecutive {
		d = min(2*d, c.MaxTime.Std())
		if d == c.MaxTime.Std() {
			break
		}
	}
	e.isOut, e.until = true, now.Add(d)
	e.consecutive++
}

// failureStatuses returns the answers that count against a backend.
func (c *EjectionConfig) failureStatuses() []int {
	if len(c.Statuses) == 0 {
		return defaultFailureStatuses
	}
	return slices.Clone(c.Statuses)
}
