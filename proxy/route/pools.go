package route

import (
	"strconv"
	"strings"

	"sluice/balancer"
	"sluice/internal/units"
)

// checkPools reports a route that has not exactly one of pool, pools, redirect and respond, and what is wrong with the shares of pools.
func (c *Config) checkPools(report units.Report) {
	var ends []string // of the requests of the route
	for _, key := range []struct {
		name  string
		isSet bool
	}{{"pool", c.Pool != ""}, {"pools", len(c.Pools) > 0}, {"redirect", c.Redirect != ""}, {"respond", c.Respond != nil}} {
		if key.isSet {
			ends = append(ends, key.name)
		}
	}
	switch len(ends) {
	case 0:
		report("pool", "missing", nil, "the name of a pool, or pools, redirect or respond instead")
	case 1:
	default:
		last := len(ends) - 1
		report(ends[last], "beside "+strings.Join(ends[:last], " and "), nil, "exactly one of pool, pools, redirect and respond")
	}
	if len(c.Pools) > 0 {
		c.checkShares(report)
	}
}

// checkShares reports what is wrong with the elements of pools.
func (c *Config) checkShares(report units.Report) {
	first, total := map[string]int{}, 0
	for i, share := range c.Pools {
		at := units.Indexed("pools", i)
		earlier, isTaken := first[share.Pool]
		switch {
		case share.Pool == "":
			report(at+".pool", "missing", nil, "the name of a pool")
		case isTaken:
			report(at+".pool", "the same pool as "+units.Indexed("pools", earlier), share.Pool, "each pool once, with the sum of its weights")
		default:
			first[share.Pool] = i
		}
		if share.Weight < 0 || share.Weight > balancer.MaxWeight {
			report(at+".weight", "out of range", share.Weight, "0 to "+strconv.Itoa(balancer.MaxWeight))
		}
		total += max(0, min(share.Weight, balancer.MaxWeight))
	}
	if total == 0 {
		report("pools", "every weight is 0", nil, "a pool for new clients: a weight over 0")
	}
}

// Shares returns the pools of the route with their shares, of which there is none if the route answers by itself.
func (c *Config) Shares() []Share {
	if c.Pool != "" {
		return []Share{{c.Pool, 1}}
	}
	return c.Pools
}

// AnswersItself reports whether the route redirects or responds, and so has no pool.
func (c *Config) AnswersItself() bool { return c.Redirect != "" || c.Respond != nil }

// Join makes routes the variants of one route, and returns the first. They are of the same section, and there is one for each of its Shares,
// in that order.
func Join(variants []*Route) *Route {
	if len(variants) == 1 {
		return variants[0]
	}
	pools := make([]balancer.SplitPool, len(variants))
	for i, share := range variants[0].Config.Shares() {
		pools[i] = balancer.SplitPool{Pool: variants[i].Pool, Config: variants[i].poolConfig, Weight: share.Weight}
	}
	split := balancer.NewSplit(pools)
	for _, r := range variants {
		r.variants, r.split = variants, split
	}
	return variants[0]
}

// Variants returns the route once for each of its pools: they differ only in what concerns the pool. A route that has one pool, or none, is
// its only variant. The caller must not change the slice.
func (r *Route) Variants() []*Route {
	if r.variants == nil {
		return []*Route{r}
	}
	return r.variants
}

// Choose returns the variant with the pool for a request. It does not allocate.
func (r *Route) Choose(want balancer.Request) *Route {
	if r.split == nil {
		return r
	}
	return r.variants[r.split.Choose(want)]
}
