package balancer

import (
	"math"
	"math/rand/v2"

	"github.com/cespare/xxhash/v2"
)

// A SplitPool is a pool with its weight in a Split. A weight of 0 takes only clients that have a sticky cookie of the pool.
type SplitPool struct {
	Pool   *Pool
	Config *Config
	Weight int
}

// A Split divides requests among pools by their weights. A client that keeps its backend keeps its pool too: by its sticky cookie, or by
// the key of the policies hash and ip_hash. Immutable.
type Split struct {
	pools []splitShare
	total uint64 // of all weights
}

// A splitShare is a pool of a Split with what the choice needs of it.
type splitShare struct {
	pool   *Pool
	weight uint64
	hash   uint64  // of the pool's name, for rendezvous hashing
	cookie string  // of the policy sticky; "" with another one
	key    keyFunc // of the policies hash and ip_hash; nil with another one
}

// NewSplit returns the split among those pools. At least one weight is positive, and none is negative.
func NewSplit(pools []SplitPool) *Split {
	s := &Split{}
	for _, p := range pools {
		// Without the prefix, a pool and a backend of the same name would score alike.
		share := splitShare{pool: p.Pool, weight: uint64(p.Weight), hash: xxhash.Sum64String("pool " + p.Config.Name)}
		switch p.Config.Policy {
		case PolicySticky:
			share.cookie = p.Config.Sticky.Cookie
		case PolicyHash, PolicyIPHash:
			share.key = p.Config.keyFunc()
		}
		s.pools = append(s.pools, share)
		s.total += share.weight
	}
	if s.total == 0 {
		panic("BUG: a split without a weight")
	}
	return s
}

// Choose returns the index of the pool for a request. The first rule that applies decides: the pool whose cookie the request has; by hash and
// weights, the key of the first pool with the policy hash or ip_hash for which the request has one; at random, by weights. It does not
// ask whether a pool has an available backend. It neither blocks nor allocates.
func (s *Split) Choose(r Request) int {
	for i := range s.pools {
		if s.pools[i].knows(r.Head) {
			return i
		}
	}
	for i := range s.pools {
		if key := s.pools[i].key; key != nil {
			if k := key(r); k.ok {
				return s.byHash(k.hash)
			}
		}
	}
	return s.byWeight(rand.Uint64N(s.total))
}

// knows reports whether a request has the cookie of one of the pool's backends. A backend that is not available counts: another one of the
// pool takes its place.
func (p *splitShare) knows(head Head) bool {
	return p.cookie != "" && head != nil && p.pool.snapshot.Load().tokens[string(head.Cookie(p.cookie))]
}

// byHash returns the pool of a key by weighted rendezvous hashing, as rendezvous.compute: a weight that grows takes keys of all other pools,
// and moves none among these.
func (s *Split) byHash(hash uint64) int {
	best, first := 0, math.Inf(1)
	for i := range s.pools {
		if s.pools[i].weight == 0 {
			continue
		}
		u := (float64(mix(s.pools[i].hash^mix(hash))>>11) + 0.5) / (1 << 53)
		if arrival := -math.Log(u) / float64(s.pools[i].weight); arrival < first {
			best, first = i, arrival
		}
	}
	return best
}

// byWeight returns the pool whose range of the weights has that point, which is less than total.
func (s *Split) byWeight(at uint64) int {
	for i := range s.pools {
		if at < s.pools[i].weight {
			return i
		}
		at -= s.pools[i].weight
	}
	panic("BUG: a point beyond all weights")
}
