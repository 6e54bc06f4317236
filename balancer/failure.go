package balancer

import (
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

// A Failure is the last failure of a backend.
type Failure struct {
	Reason string // as in Failures of BackendStatus
	Cause  string // in words for an operator
	At     time.Time
	// Since is when the first failure after the last success was; zero: the backend has answered since.
	Since time.Time
}

// A failureState is the last failure of a backend and what was logged of its failures. Guarded by pool.mu.
type failureState struct {
	last     Failure
	logged   time.Time // the last line
	unlogged int       // failures since then
}

// failureLogInterval is the least time between two lines of the log about failures of one backend.
const failureLogInterval = time.Minute

// noteFailure counts a failure of b and keeps it as the last one. The first failure is logged, and then at
// most one each failureLogInterval. The caller holds mu.
func (p *Pool) noteFailure(b *Backend, r reason, cause string, now time.Time) {
	b.failures[r].Add(1)
	f := &b.failure
	f.last.Reason, f.last.Cause, f.last.At = r.String(), cause, now
	if !b.isFailing.Swap(true) {
		f.last.Since = now
	}
	if !f.logged.IsZero() && now.Sub(f.logged) < failureLogInterval {
		f.unlogged++
		return
	}
	p.log.Warn("backend failure", zap.String("pool", p.cfg.Name), zap.String("backend", b.Name()),
		zap.String("reason", f.last.Reason), zap.String("error", cause), zap.Int("unlogged", f.unlogged))
	f.logged, f.unlogged = now, 0
}

// lastFailure returns the last failure of b, or nil. The caller holds pool.mu.
func (b *Backend) lastFailure() *Failure {
	last := b.failure.last
	if last.At.IsZero() {
		return nil
	}
	if !b.isFailing.Load() {
		last.Since = time.Time{}
	}
	return &last
}

// answered notes that b works: a correct 101, or a status that doesn't count as a failure.
func (b *Backend) answered() {
	// The stores are rare: each would take the cache line from the other loops.
	if b.consecutiveFailures.Load() != 0 {
		b.consecutiveFailures.Store(0)
	}
	if b.isFailing.Load() {
		b.isFailing.Store(false)
	}
	if !b.hasAnswered.Load() {
		b.hasAnswered.Store(true)
	}
}

// isSeen reports whether anything is known of b: a probe, an answer or a failure. The caller holds pool.mu.
func (b *Backend) isSeen() bool {
	return b.probes.hasResult || b.hasAnswered.Load() || !b.failure.last.At.IsZero()
}

// text describes a failure whose caller gives no cause.
func (o Outcome) text(r reason) string {
	if o >= firstStatus {
		return "answer " + strconv.Itoa(int(o))
	}
	return strings.ReplaceAll(r.String(), "_", " ")
}
