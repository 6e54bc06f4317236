package balancer

import (
	"time"

	"go.uber.org/zap"
)

// A snapshot is the state of a pool that a pick uses. It is built anew for each change and swapped; only
// its candidates' order by load changes, under the pool's picks.
type snapshot struct {
	// levels are tried in order; nil: the level has no backends.
	levels [levelCount]*candidates
	policy policy
	key    keyFunc

	tokens          map[string]bool // of the sticky cookies of all backends, whatever their state; nil: there are none
	isCookieRenewed bool            // with each handshake
	errFull         *FullError
	errShare        *FullError
	queueTimeout    time.Duration
	queueLimit      int
	statuses        []int // answers that are failures
	retries         int
	retried         []Outcome // after which another backend is tried
}

// The levels of a snapshot.
const (
	levelPrimary = iota // available
	levelBackup         // available, and configured for when no primary is
	levelPanic          // the unavailable ones that don't drain, if the pool allows panic
	levelCount
)

// setCookie returns the cookie that the client of k needs to come back to the candidate, or "".
func (s *snapshot) setCookie(cs *candidates, i int, k key) string {
	if cs.cookies == nil {
		return ""
	}
	if current, found := cs.cookies.find(k); found && current == i && !s.isCookieRenewed {
		return ""
	}
	return cs.cookies.setCookie[i]
}

// minWarmth is the least fraction of its weight that a backend in slow start has: without any it would
// get no session at all.
const minWarmth = 0.05

// warmth returns the fraction of its weight that b has in its slow start, else 1.
func (b *Backend) warmth(now time.Time) float64 {
	if b.State() != Warming {
		return 1
	}
	return max(minWarmth, float64(now.Sub(b.warmsSince))/float64(b.pool.cfg.SlowStart))
}

// applyChanges rebuilds the snapshot if a state changed, and wakes Run. The caller holds mu.
func (p *Pool) applyChanges(now time.Time) {
	if p.isStale {
		p.rebuild(now)
	}
	p.background.wake()
}

// rebuild swaps the snapshot for one of the backends' current states. The snapshot of a closed pool
// stays empty. The caller holds mu.
func (p *Pool) rebuild(now time.Time) {
	p.isStale = false
	if p.isClosed {
		return
	}
	var levels [levelCount][]candidate
	for _, b := range p.backends {
		c := candidate{backend: b, share: float64(b.spec.weight) * b.warmth(now)}
		switch state := b.State(); {
		case state.IsAvailable() && b.spec.backup:
			levels[levelBackup] = append(levels[levelBackup], c)
		case state.IsAvailable():
			levels[levelPrimary] = append(levels[levelPrimary], c)
		case state != Draining:
			levels[levelPanic] = append(levels[levelPanic], c)
		}
	}
	p.logAvailability(len(levels[levelPrimary])+len(levels[levelBackup]), len(levels[levelPanic]))
	if !p.cfg.Panic {
		levels[levelPanic] = nil
	}
	p.swapSnapshot(p.newSnapshot(levels))
}

// logAvailability logs when the pool loses its last available backend and when it has one again.
func (p *Pool) logAvailability(available, unavailable int) {
	isUnavailable := available == 0 && unavailable > 0
	if isUnavailable == p.isUnavailable {
		return
	}
	p.isUnavailable = isUnavailable
	if isUnavailable {
		p.log.Error("pool without available backend", zap.String("pool", p.cfg.Name), zap.Bool("panic", p.cfg.Panic))
	} else {
		p.log.Info("pool available again", zap.String("pool", p.cfg.Name))
	}
}

// newSnapshot builds the snapshot of the candidates of each level. The caller holds mu.
func (p *Pool) newSnapshot(levels [levelCount][]candidate) *snapshot {
	before := p.snapshot.Load()
	s := &snapshot{
		policy:          p.cfg.policy(),
		key:             p.cfg.keyFunc(),
		tokens:          p.tokens(),
		isCookieRenewed: p.cfg.Sticky.TTL > 0,
		errFull:         &FullError{RetryAfter: p.cfg.RetryAfter.Std()},
		errShare:        &FullError{RetryAfter: p.cfg.RetryAfter.Std(), IsShare: true},
		queueTimeout:    p.cfg.QueueTimeout.Std(),
		queueLimit:      p.cfg.Queue,
		statuses:        p.cfg.Ejection.failureStatuses(),
		retries:         p.cfg.Retries,
		retried:         p.cfg.retried(),
	}
	for i, list := range levels {
		if len(list) == 0 {
			continue
		}
		s.levels[i] = newCandidates(list)
		var last *rendezvous
		if before != nil && before.levels[i] != nil {
			last = before.levels[i].rendezvous
		}
		p.addPolicyState(s.levels[i], last)
	}
	return s
}

// tokens returns the values of the backends' sticky cookies, or nil with another policy. The caller holds mu.
func (p *Pool) tokens() map[string]bool {
	if p.signer == nil {
		return nil
	}
	tokens := make(map[string]bool, len(p.backends))
	for _, b := range p.backends {
		tokens[b.cookie.token] = true
	}
	return tokens
}

// addPolicyState gives candidates what the pool's policy needs. last is the assignment of keys of the
// same level before, or nil.
func (p *Pool) addPolicyState(cs *candidates, last *rendezvous) {
	switch p.cfg.Policy {
	case PolicyRoundRobin:
		cs.schedule = newSchedule(cs.share, p.random)
	case PolicyIPHash, PolicyHash:
		cs.rendezvous = newRendezvous(cs, last)
	case PolicySticky:
		cs.cookies = newCookies(cs)
	}
}

// swapSnapshot makes s the pool's snapshot and orders its candidates.
func (p *Pool) swapSnapshot(s *snapshot) {
	p.picks.Lock()
	defer p.picks.Unlock()
	if before := p.snapshot.Load(); before != nil {
		for _, cs := range before.levels {
			cs.detach()
		}
	}
	for _, cs := range s.levels {
		cs.attach()
	}
	p.snapshot.Store(s)
	p.queue.wake()
}
