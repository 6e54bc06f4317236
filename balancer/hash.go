package balancer

import (
	"math"
	"slices"
)

// slotBits is how many bits of a key's hash choose. With 65,536 slots the share of one member of
// three is off by a fifth of a percentage point (the deviation of a multinomial draw).
const slotBits = 16

// triesByHash is how many owners of a key are asked before it goes to the least loaded member.
const triesByHash = 16

// owners says which member owns a key: each slot of keys belongs to the member of the highest
// score in it (rendezvous hashing, https://doi.org/10.1109/90.663936), and a score depends on the
// slot and that member alone. So each gateway process answers alike, a member that goes moves only
// its own keys, and one that comes takes only those it is to own.
//
// Against a ring of points the shares are as exact for three members as for a thousand, and there
// is nothing to build: an owner is found when its slot is first asked for, and remembered.
type owners struct {
	backends []*Backend
	weight   []float64
	isEven   bool
	// owner has the owner of each slot plus one, 0 if nobody has asked yet. Guarded by the pool's picks.
	owner []uint32
}

// newOwners returns the owners of a tier, or those of before if its members are the same.
func newOwners(t *tier, before *owners) *owners {
	o := &owners{backends: t.backends, weight: make([]float64, len(t.backends)), isEven: true}
	for i, b := range t.backends {
		// The configured weight: a slow start would move each key twice.
		o.weight[i] = float64(b.member.weight)
		o.isEven = o.isEven && o.weight[i] == o.weight[0]
	}
	if before != nil && slices.Equal(o.backends, before.backends) && slices.Equal(o.weight, before.weight) {
		return before
	}
	o.owner = make([]uint32, 1<<slotBits)
	return o
}

// of returns the owner of a key.
func (o *owners) of(hash uint64) int {
	slot := hash >> (64 - slotBits)
	if owner := o.owner[slot]; owner != 0 {
		return int(owner - 1)
	}
	owner := o.find(mix(slot))
	o.owner[slot] = uint32(owner + 1)
	return owner
}

// find holds the race of a slot: a member's score u, from 0 to 1, becomes an arrival after
// -ln(u)/weight, and the first to arrive owns the slot with a chance by weight.
func (o *owners) find(slot uint64) int {
	best, bestScore := 0, uint64(0)
	if o.isEven {
		for i, b := range o.backends {
			if score := mix(b.hash ^ slot); score > bestScore {
				best, bestScore = i, score
			}
		}
		return best
	}
	first := math.Inf(1)
	for i, b := range o.backends {
		u := (float64(mix(b.hash^slot)>>11) + 0.5) / (1 << 53)
		// -ln(u) >= 1-u spares most members the logarithm.
		if 1-u >= first*o.weight[i] {
			continue
		}
		if arrival := -math.Log(u) / o.weight[i]; arrival < first {
			best, first = i, arrival
		}
	}
	return best
}

// mix is the finalizer of MurmurHash3: each bit of the result depends on each of x.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return x
}

// byHash returns the policy of ip_hash and hash. A key whose owner may not take it, or holds boundedLoad
// times its share already, goes to the owner of another slot, always the same one; a request
// without a key goes where the fewest sessions are.
func byHash(boundedLoad float64) policy {
	return func(_ *Pool, t *tier, k key, tried []*Backend) int {
		if !k.ok {
			return t.least(tried)
		}
		for range triesByHash {
			i := t.owners.of(k.hash)
			if t.mayTake(i, tried) && (boundedLoad == 0 || t.isWithin(i, boundedLoad)) {
				return i
			}
			k.hash = mix(k.hash + 1)
		}
		return t.least(tried)
	}
}

// isWithin reports whether the member may take one more session and hold no more than bound times
// its share of all (consistent hashing with bounded loads, https://arxiv.org/abs/1608.01350).
func (t *tier) isWithin(i int, bound float64) bool {
	fair := float64(t.total+1) * t.share[i] / t.draw[len(t.draw)-1]
	return float64(t.backends[i].sessions.Load()+1) <= math.Ceil(bound*fair)
}
