package balancer

import (
	"math"
	"slices"
)

// A tier is a set of members among which a policy chooses. Its lists are immutable; the order by load
// is guarded by the pool's picks. A nil tier is empty.
type tier struct {
	backends []*Backend
	share    []float64 // effective weights
	limit    []int64   // places; math.MaxInt64: no limit

	// draw is for a random choice by share: the sums of the shares up to and with each member.
	draw []float64
	// turns, owners and cookies are there for the policies that need them.
	turns   *turns
	owners  *owners
	cookies *cookies

	// total is the sum of the members' sessions.
	total int64
	// cost is what one more session would make of a member's load, (sessions+1)/share; infinite if
	// the member is full.
	cost []float64
	// winner is a tournament over cost: winner[1] is the member of the least, winner[k] the better
	// one of winner[2k] and winner[2k+1], and the members stand from len(winner)/2 on; -1: nobody.
	// Walking a path of it is the least that keeps a pool of 1,000 in order: on two CPUs a lock
	// around ten comparisons costs a sixth of a scan of 1,000 counters.
	winner []int32
}

// An entrant is a member with what the tier needs of it.
type entrant struct {
	backend *Backend
	share   float64
}

func newTier(entrants []entrant) *tier {
	n := len(entrants)
	t := &tier{
		backends: make([]*Backend, n),
		share:    make([]float64, n),
		limit:    make([]int64, n),
		draw:     make([]float64, n),
		cost:     make([]float64, n),
	}
	sum := 0.0
	for i, e := range entrants {
		t.backends[i], t.share[i], t.limit[i] = e.backend, e.share, math.MaxInt64
		if limit := e.backend.member.maxSessions; limit > 0 {
			t.limit[i] = limit
		}
		sum += e.share
		t.draw[i] = sum
	}
	return t
}

// install makes t the tier of its members and orders them. The caller holds the pool's picks.
func (t *tier) install() {
	if t == nil {
		return
	}
	t.total = 0
	for i, b := range t.backends {
		b.tier, b.index = t, i
		t.total += b.sessions.Load()
		t.cost[i] = t.costOf(i)
	}
	leaves := 1
	for leaves < len(t.backends) {
		leaves *= 2
	}
	t.winner = make([]int32, 2*leaves)
	for i := range leaves {
		t.winner[leaves+i] = -1
		if i < len(t.backends) {
			t.winner[leaves+i] = int32(i)
		}
	}
	for k := leaves - 1; k > 0; k-- {
		t.winner[k] = t.better(t.winner[2*k], t.winner[2*k+1])
	}
}

// withdraw makes t the tier of nobody. The caller holds the pool's picks.
func (t *tier) withdraw() {
	if t == nil {
		return
	}
	for _, b := range t.backends {
		b.tier = nil
	}
}

// weigh puts the member in its place after its sessions changed.
func (t *tier) weigh(i int) {
	t.cost[i] = t.costOf(i)
	winner := int32(i)
	for k := len(t.winner)/2 + i; k > 1; k /= 2 {
		winner = t.better(winner, t.winner[k^1])
		t.winner[k/2] = winner
	}
}

func (t *tier) costOf(i int) float64 {
	sessions := t.backends[i].sessions.Load()
	if sessions >= t.limit[i] {
		return math.Inf(1)
	}
	return float64(sessions+1) / t.share[i]
}

// better returns which of two members has the lower cost; of equal ones that whose last pick is
// longer ago, so that idle members take turns.
func (t *tier) better(i, k int32) int32 {
	switch {
	case k < 0:
		return i
	case i < 0:
		return k
	case t.cost[i] != t.cost[k]:
		if t.cost[i] < t.cost[k] {
			return i
		}
		return k
	case t.backends[i].lastPick <= t.backends[k].lastPick:
		return i
	default:
		return k
	}
}

// mayTake reports whether the member has a place and was not tried.
func (t *tier) mayTake(i int, tried []*Backend) bool {
	return !math.IsInf(t.cost[i], 1) && !slices.Contains(tried, t.backends[i])
}

// least returns the member of the lowest cost that may take a session, or -1. It is a policy of its
// own and where the others end when their own choice may not.
func (t *tier) least(tried []*Backend) int {
	if best := t.winner[1]; best < 0 || t.mayTake(int(best), tried) {
		return int(best)
	}
	best := int32(-1)
	for i := range t.backends {
		if t.mayTake(i, tried) {
			best = t.better(int32(i), best)
		}
	}
	return int(best)
}

// isFull reports whether a member is passed over only since it has no place left.
func (t *tier) isFull(tried []*Backend) bool {
	if t == nil {
		return false
	}
	for i, b := range t.backends {
		if math.IsInf(t.cost[i], 1) && !slices.Contains(tried, b) {
			return true
		}
	}
	return false
}
