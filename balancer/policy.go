package balancer

// A policy chooses a candidate that can accept a session, or -1 if there is none. It is called with the
// pool's picks locked, and takes random numbers from the pool.
type policy func(p *Pool, cs *candidates, k key, tried []*Backend) int

// maxDraws is how often a policy draws, or passes a turn, before it takes the least loaded backend.
const maxDraws = 8

// policy returns the func of c's policy.
func (c *Config) policy() policy {
	switch c.Policy {
	case PolicyRoundRobin:
		return roundRobin
	case PolicyLeastConn:
		return leastConn
	case PolicyRandomTwo:
		return randomTwo
	case PolicyRandom:
		return randomOne
	case PolicyIPHash, PolicyHash:
		return byHash(c.Hash.BoundedLoad)
	case PolicySticky:
		return bySticky
	default:
		panic("BUG: unchecked policy " + c.Policy)
	}
}

func leastConn(_ *Pool, cs *candidates, _ key, tried []*Backend) int { return cs.leastLoaded(tried) }

func roundRobin(_ *Pool, cs *candidates, _ key, tried []*Backend) int {
	for range maxDraws {
		if i := cs.schedule.next(); cs.canAccept(i, tried) {
			return i
		}
	}
	return cs.leastLoaded(tried)
}

func randomOne(p *Pool, cs *candidates, _ key, tried []*Backend) int {
	for range maxDraws {
		if i := cs.draw(p.random()); cs.canAccept(i, tried) {
			return i
		}
	}
	return cs.leastLoaded(tried)
}

// randomTwo chooses the better of two backends. Both are drawn by share, and their loads compared by
// share, so that the shares hold for few and for many sessions.
func randomTwo(p *Pool, cs *candidates, k key, tried []*Backend) int {
	i := randomOne(p, cs, k, tried)
	if i < 0 {
		return i
	}
	for range maxDraws {
		if other := cs.draw(p.random()); other != i && cs.canAccept(other, tried) {
			return int(cs.better(int32(i), int32(other)))
		}
	}
	return i
}

// draw returns a candidate at random, by share.
func (cs *candidates) draw(random uint64) int {
	last := len(cs.cumulative) - 1
	at := unit(random) * cs.cumulative[last]
	low, high := 0, last
	for low < high {
		if middle := (low + high) / 2; cs.cumulative[middle] > at {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low
}
