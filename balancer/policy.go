package balancer

// A policy chooses a member of a tier that may take a session, or -1 if there is none. It is called
// with the pool's picks locked, and random numbers come from the pool.
type policy func(p *Pool, t *tier, k key, tried []*Backend) int

// triesByLot is how often a policy draws, or passes a turn, before it settles for the least loaded.
const triesByLot = 8

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

func leastConn(_ *Pool, t *tier, _ key, tried []*Backend) int { return t.least(tried) }

func roundRobin(_ *Pool, t *tier, _ key, tried []*Backend) int {
	for range triesByLot {
		if i := t.turns.next(); t.mayTake(i, tried) {
			return i
		}
	}
	return t.least(tried)
}

func randomOne(p *Pool, t *tier, _ key, tried []*Backend) int {
	for range triesByLot {
		if i := t.lot(p.random()); t.mayTake(i, tried) {
			return i
		}
	}
	return t.least(tried)
}

// randomTwo takes the better of two members. Both are drawn by share, and their loads compared by
// share, so that the shares hold whether the sessions are few or many.
func randomTwo(p *Pool, t *tier, k key, tried []*Backend) int {
	i := randomOne(p, t, k, tried)
	if i < 0 {
		return i
	}
	for range triesByLot {
		if other := t.lot(p.random()); other != i && t.mayTake(other, tried) {
			return int(t.better(int32(i), int32(other)))
		}
	}
	return i
}

// lot draws a member by share.
func (t *tier) lot(random uint64) int {
	last := len(t.draw) - 1
	at := unit(random) * t.draw[last]
	low, high := 0, last
	for low < high {
		if middle := (low + high) / 2; t.draw[middle] > at {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low
}
