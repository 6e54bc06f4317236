package balancer

import (
	"time"

	"go.uber.org/zap"
)

// A snapshot is what a pick sees of a pool. It is built anew for every change and swapped; only
// its tiers' order by load changes, under the pool's picks.
type snapshot struct {
	// tiers are asked in turn; nil: it has no members.
	tiers  [tierCount]*tier
	policy policy
	key    keyFunc

	isCookieRenewed bool
	errFull         *FullError
	queueTimeout    time.Duration
	queueLimit      int
	statuses        []int // answers that are failures
	retries         int
	retryStatuses   []int
}

// The tiers of a snapshot.
const (
	tierPrimary = iota // available
	tierBackup         // available and kept for when no other is
	tierRest           // the others that don't drain, in a pool that knows panic
	tierCount
)

// setCookie returns the cookie that the client of k needs to come back to the member.
func (s *snapshot) setCookie(t *tier, i int, k key) string {
	if t.cookies == nil {
		return ""
	}
	if known, found := t.cookies.find(k); found && known == i && !s.isCookieRenewed {
		return ""
	}
	return t.cookies.line[i]
}

// minWarmth is the least part of its weight that a member in slow start has, so that the first
// sessions come at all.
const minWarmth = 0.05

// warmth returns the part of its weight that b has in its slow start.
func (b *Backend) warmth(now time.Time) float64 {
	if b.State() != Warming {
		return 1
	}
	return max(minWarmth, float64(now.Sub(b.warmsSince))/float64(b.pool.cfg.SlowStart))
}

// changed makes the pool act on states that have changed. The caller holds mu.
func (p *Pool) changed(now time.Time) {
	if p.isStale {
		p.rebuild(now)
	}
	p.keeper.wake()
}

// rebuild swaps the snapshot for one of the members' present states. That of a closed pool stays
// empty. The caller holds mu.
func (p *Pool) rebuild(now time.Time) {
	p.isStale = false
	if p.isClosed {
		return
	}
	var groups [tierCount][]entrant
	for _, b := range p.members {
		e := entrant{backend: b, share: float64(b.member.weight) * b.warmth(now)}
		switch state := b.State(); {
		case state.IsAvailable() && b.member.backup:
			groups[tierBackup] = append(groups[tierBackup], e)
		case state.IsAvailable():
			groups[tierPrimary] = append(groups[tierPrimary], e)
		case state != Draining:
			groups[tierRest] = append(groups[tierRest], e)
		}
	}
	p.noteAvailable(len(groups[tierPrimary])+len(groups[tierBackup]), len(groups[tierRest]))
	if !p.cfg.Panic {
		groups[tierRest] = nil
	}
	p.swap(p.newSnapshot(groups))
}

// noteAvailable tells when the pool loses its last available member and when it gets one again.
func (p *Pool) noteAvailable(available, rest int) {
	isOut := available == 0 && rest > 0
	if isOut == p.isOut {
		return
	}
	p.isOut = isOut
	if isOut {
		p.log.Error("pool without available backend", zap.String("pool", p.cfg.Name), zap.Bool("panic", p.cfg.Panic))
	} else {
		p.log.Info("pool available again", zap.String("pool", p.cfg.Name))
	}
}

// newSnapshot builds the snapshot of groups of members. The caller holds mu.
func (p *Pool) newSnapshot(groups [tierCount][]entrant) *snapshot {
	before := p.snapshot.Load()
	s := &snapshot{
		policy:          p.cfg.policy(),
		key:             p.cfg.keyFunc(),
		isCookieRenewed: p.cfg.Sticky.TTL > 0,
		errFull:         &FullError{RetryAfter: p.cfg.RetryAfter.Std()},
		queueTimeout:    p.cfg.QueueTimeout.Std(),
		queueLimit:      p.cfg.Queue,
		statuses:        p.cfg.Ejection.failureStatuses(),
		retries:         p.cfg.Retries,
		retryStatuses:   p.cfg.RetryStatuses,
	}
	for i, group := range groups {
		if len(group) == 0 {
			continue
		}
		s.tiers[i] = newTier(group)
		var known *owners
		if before != nil && before.tiers[i] != nil {
			known = before.tiers[i].owners
		}
		p.equip(s.tiers[i], known)
	}
	return s
}

// equip gives t what the pool's policy needs. Known are the owners in its place before, if any.
func (p *Pool) equip(t *tier, known *owners) {
	switch p.cfg.Policy {
	case PolicyRoundRobin:
		t.turns = newTurns(t.share, p.random)
	case PolicyIPHash, PolicyHash:
		t.owners = newOwners(t, known)
	case PolicySticky:
		t.cookies = newCookies(t)
	}
}

// swap makes s the pool's snapshot and has it order its members.
func (p *Pool) swap(s *snapshot) {
	p.picks.Lock()
	defer p.picks.Unlock()
	if before := p.snapshot.Load(); before != nil {
		for _, t := range before.tiers {
			t.withdraw()
		}
	}
	for _, t := range s.tiers {
		t.install()
	}
	p.snapshot.Store(s)
	p.queue.wake()
}
