package balancer

import (
	"math"
	"slices"
)

// candidates are the backends of one level of a snapshot, among which a policy chooses. A policy names
// one by its index. The lists are immutable; total, cost and winner are guarded by the pool's picks. A
// nil *candidates is empty.
type candidates struct {
	backends []*Backend
	share    []float64 // effective weights
	limit    []int64   // places; math.MaxInt64: no limit

	// cumulative is for a random choice by share: the sums of the shares up to and including each one.
	cumulative []float64
	// schedule, rendezvous and cookies are set for the policies that need them.
	schedule   *schedule
	rendezvous *rendezvous
	cookies    *cookies

	// total is the sum of the backends' sessions.
	total int64
	// cost is the load of a backend with one more session, (sessions+1)/share. It is infinite if the
	// backend is full.
	cost []float64
	// winner is a tournament tree over cost: winner[1] is the index of the lowest cost, winner[k] the
	// better one of winner[2k] and winner[2k+1], and the leaves start at len(winner)/2. -1 is an empty
	// leaf. An update walks one path of the tree, which keeps 1,000 backends in order with ten
	// comparisons: on two CPUs a lock around those costs a sixth of a scan of 1,000 counters.
	winner []int32
}

// A candidate is a backend with its effective weight.
type candidate struct {
	backend *Backend
	share   float64
}

func newCandidates(list []candidate) *candidates {
	n := len(list)
	cs := &candidates{
		backends:   make([]*Backend, n),
		share:      make([]float64, n),
		limit:      make([]int64, n),
		cumulative: make([]float64, n),
		cost:       make([]float64, n),
	}
	sum := 0.0
	for i, c := range list {
		cs.backends[i], cs.share[i], cs.limit[i] = c.backend, c.share, math.MaxInt64
		if limit := c.backend.spec.maxSessions; limit > 0 {
			cs.limit[i] = limit
		}
		sum += c.share
		cs.cumulative[i] = sum
	}
	return cs
}

// attach makes cs the current candidates of its backends and orders them by load. The caller holds the
// pool's picks.
func (cs *candidates) attach() {
	if cs == nil {
		return
	}
	cs.total = 0
	for i, b := range cs.backends {
		b.candidates, b.index = cs, i
		cs.total += b.sessions.Load()
		cs.cost[i] = cs.costOf(i)
	}
	leaves := 1
	for leaves < len(cs.backends) {
		leaves *= 2
	}
	cs.winner = make([]int32, 2*leaves)
	for i := range leaves {
		cs.winner[leaves+i] = -1
		if i < len(cs.backends) {
			cs.winner[leaves+i] = int32(i)
		}
	}
	for k := leaves - 1; k > 0; k-- {
		cs.winner[k] = cs.better(cs.winner[2*k], cs.winner[2*k+1])
	}
}

// detach undoes attach. The caller holds the pool's picks.
func (cs *candidates) detach() {
	if cs == nil {
		return
	}
	for _, b := range cs.backends {
		b.candidates = nil
	}
}

// update restores the order after the sessions of one backend changed.
func (cs *candidates) update(i int) {
	cs.cost[i] = cs.costOf(i)
	winner := int32(i)
	for k := len(cs.winner)/2 + i; k > 1; k /= 2 {
		winner = cs.better(winner, cs.winner[k^1])
		cs.winner[k/2] = winner
	}
}

func (cs *candidates) costOf(i int) float64 {
	sessions := cs.backends[i].sessions.Load()
	if sessions >= cs.limit[i] {
		return math.Inf(1)
	}
	return float64(sessions+1) / cs.share[i]
}

// better returns which of two backends has the lower cost. Of equal ones it is the one whose last pick
// is longer ago, so that idle backends take turns.
func (cs *candidates) better(i, k int32) int32 {
	switch {
	case k < 0:
		return i
	case i < 0:
		return k
	case cs.cost[i] != cs.cost[k]:
		if cs.cost[i] < cs.cost[k] {
			return i
		}
		return k
	case cs.backends[i].lastPick <= cs.backends[k].lastPick:
		return i
	default:
		return k
	}
}

// canAccept reports whether the backend has a free place and was not tried.
func (cs *candidates) canAccept(i int, tried []*Backend) bool {
	return !math.IsInf(cs.cost[i], 1) && !slices.Contains(tried, cs.backends[i])
}

// leastLoaded returns the backend of the lowest cost that can accept a session, or -1. It is a policy
// of its own, and the fallback of the others.
func (cs *candidates) leastLoaded(tried []*Backend) int {
	if best := cs.winner[1]; best < 0 || cs.canAccept(int(best), tried) {
		return int(best)
	}
	best := int32(-1)
	for i := range cs.backends {
		if cs.canAccept(i, tried) {
			best = cs.better(int32(i), best)
		}
	}
	return int(best)
}

// isAnyFull reports whether a backend that was not tried is passed over only since it has no free place.
func (cs *candidates) isAnyFull(tried []*Backend) bool {
	if cs == nil {
		return false
	}
	for i, b := range cs.backends {
		if math.IsInf(cs.cost[i], 1) && !slices.Contains(tried, b) {
			return true
		}
	}
	return false
}
