package balancer

import (
	"math"
	"slices"
)

// slotBits is how many bits of a key's hash choose its slot. With 65,536 slots the share of one backend
// of three is off by a fifth of a percentage point (the deviation of a multinomial draw).
const slotBits = 16

// maxHashTries is how many slots of a key are tried before it goes to the least loaded backend.
const maxHashTries = 16

// A rendezvous assigns keys to backends: each slot of keys belongs to the backend with the highest
// score in it (rendezvous hashing, https://doi.org/10.1109/90.663936), and a score depends only on the
// slot and that backend. So all gateway processes answer alike, a backend that goes moves only its own
// keys, and one that comes takes only the keys that it is to own.
//
// Compared with a ring of points the shares are as exact for three backends as for a thousand, and there
// is nothing to build: the backend of a slot is computed at its first lookup, and remembered.
type rendezvous struct {
	backends []*Backend
	weight   []float64
	isEven   bool // all weights are equal
	// slots has the index of each slot's backend plus one, 0 before its first lookup. Guarded by the
	// pool's picks.
	slots []uint32
}

// newRendezvous returns the assignment for candidates, which is that of before if the backends and
// weights are the same.
func newRendezvous(cs *candidates, before *rendezvous) *rendezvous {
	r := &rendezvous{backends: cs.backends, weight: make([]float64, len(cs.backends)), isEven: true}
	for i, b := range cs.backends {
		// The configured weight: with that of a slow start each key would move twice.
		r.weight[i] = float64(b.spec.weight)
		r.isEven = r.isEven && r.weight[i] == r.weight[0]
	}
	if before != nil && slices.Equal(r.backends, before.backends) && slices.Equal(r.weight, before.weight) {
		return before
	}
	r.slots = make([]uint32, 1<<slotBits)
	return r
}

// lookup returns the backend of a key.
func (r *rendezvous) lookup(hash uint64) int {
	slot := hash >> (64 - slotBits)
	if i := r.slots[slot]; i != 0 {
		return int(i - 1)
	}
	i := r.compute(mix(slot))
	r.slots[slot] = uint32(i + 1)
	return i
}

// compute returns the backend of a slot. A backend's score u, from 0 to 1, becomes an arrival after
// -ln(u)/weight, and the probability to arrive first is proportional to the weight.
func (r *rendezvous) compute(slot uint64) int {
	best, bestScore := 0, uint64(0)
	if r.isEven {
		for i, b := range r.backends {
			if score := mix(b.hash ^ slot); score > bestScore {
				best, bestScore = i, score
			}
		}
		return best
	}
	first := math.Inf(1)
	for i, b := range r.backends {
		u := (float64(mix(b.hash^slot)>>11) + 0.5) / (1 << 53)
		// -ln(u) >= 1-u spares most backends the logarithm.
		if 1-u >= first*r.weight[i] {
			continue
		}
		if arrival := -math.Log(u) / r.weight[i]; arrival < first {
			best, first = i, arrival
		}
	}
	return best
}

// mix is the finalizer of MurmurHash3: each bit of the result depends on each bit of x.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return x
}

// byHash returns the policy of ip_hash and hash. If the backend of a key can't accept the session, or
// already holds boundedLoad times its share, the key goes to the backend of another slot, which is the
// same one each time. A request without a key goes to the least loaded backend.
func byHash(boundedLoad float64) policy {
	return func(_ *Pool, cs *candidates, k key, tried []*Backend) int {
		if !k.ok {
			return cs.leastLoaded(tried)
		}
		for range maxHashTries {
			i := cs.rendezvous.lookup(k.hash)
			if cs.canAccept(i, tried) && (boundedLoad == 0 || cs.isWithin(i, boundedLoad)) {
				return i
			}
			k.hash = mix(k.hash + 1)
		}
		return cs.leastLoaded(tried)
	}
}

// isWithin reports whether the backend, with one more session, holds at most bound times its share of
// all sessions (consistent hashing with bounded loads, https://arxiv.org/abs/1608.01350).
func (cs *candidates) isWithin(i int, bound float64) bool {
	fair := float64(cs.total+1) * cs.share[i] / cs.cumulative[len(cs.cumulative)-1]
	return float64(cs.backends[i].sessions.Load()+1) <= math.Ceil(bound*fair)
}
