package balancer

import (
	"math"
	"slices"
	"time"
)

// A rebalance closes the surplus of overloaded backends by plans. A plan measures the surplus once, and
// closes at most that: sessions that are closed and have not come back must not make the others look
// overloaded. The next plan is made an interval later, when the clients have had the time to come back.
// Owned by the goroutine of Run.
type rebalance struct {
	next     time.Time  // when to compare the shares again
	backends []*Backend // that the plan is for
	goals    []goal     // of the current plan
	last     time.Time
	credit   float64 // sessions that the rate allows to close
}

// A goal is a plan's for one backend.
type goal struct {
	backend *Backend
	keep    int64 // sessions that it is to keep
	quota   int64 // sessions that the plan may still close
}

// step continues the plan, or makes one, and returns when the next step is due, or the zero time.
func (r *rebalance) step(p *Pool, now time.Time, owner Owner) time.Time {
	c, backends, loads := r.inspect(p, now)
	switch {
	case c.Rate == 0:
		*r = rebalance{}
		return time.Time{}
	case loads != nil:
		r.plan(loads, backends, c, now)
	case len(r.goals) > 0 && !slices.Equal(backends, r.backends):
		// The shares have changed.
		r.goals = nil
	case len(r.goals) > 0:
		r.carryOut(c, now, owner)
	}
	if len(r.goals) == 0 {
		if !now.Before(r.next) {
			r.next = now.Add(c.Interval.Std())
		}
		return r.next
	}
	r.next = now.Add(c.Interval.Std())
	return now.Add(shedStep)
}

// inspect returns the configuration, the backends to compare, and their loads, which are nil if no plan
// is due.
func (r *rebalance) inspect(p *Pool, now time.Time) (c RebalanceConfig, backends []*Backend, loads []load) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, backends = p.cfg.Rebalance, p.rebalanceable()
	if c.Rate > 0 && len(r.goals) == 0 && !now.Before(r.next) {
		loads = loadsOf(backends)
	}
	return c, backends, loads
}

// rebalanceable returns the backends that share the sessions, or none while one of them is in slow start,
// since its share still grows. The caller holds mu.
func (p *Pool) rebalanceable() []*Backend {
	var backends []*Backend
	for _, b := range p.backends {
		switch {
		case b.spec.backup:
		case b.State() == Warming:
			return nil
		case b.State() == Up:
			backends = append(backends, b)
		}
	}
	return backends
}

// plan sets the goals if a backend is off its share by more than the tolerance.
func (r *rebalance) plan(loads []load, backends []*Backend, c RebalanceConfig, now time.Time) {
	r.backends, r.last, r.credit = backends, now, 0
	for i, surplus := range surplusOf(loads, float64(c.Tolerance)/100) {
		if surplus > 0 {
			r.goals = append(r.goals, goal{backend: backends[i], keep: loads[i].sessions - surplus, quota: surplus})
		}
	}
}

// carryOut closes as many sessions as the rate allows, of the backends that are furthest over their goals.
// The plan ends when nothing is left to close, or when the owner finds no session to close.
func (r *rebalance) carryOut(c RebalanceConfig, now time.Time, owner Owner) {
	r.credit += float64(c.Rate) * now.Sub(r.last).Seconds()
	r.last = now
	needs := make([]int64, len(r.goals))
	for i, g := range r.goals {
		needs[i] = min(g.quota, g.backend.closable()-g.keep)
	}
	counts := make([]int, len(r.goals))
	for r.credit >= 1 {
		i := slices.Index(needs, slices.Max(needs))
		if needs[i] <= 0 {
			break
		}
		needs[i]--
		counts[i]++
		r.credit--
	}
	asked, closed := 0, 0
	for i, n := range counts {
		if n > 0 {
			done := order{r.goals[i].backend, n}.send(owner)
			r.goals[i].quota -= int64(done)
			asked, closed = asked+n, closed+done
		}
	}
	if slices.Max(needs) <= 0 || asked > 0 && closed == 0 {
		r.goals = nil
	}
}

// A load is a backend's sessions and what its share of all depends on.
type load struct {
	sessions int64
	weight   float64
	limit    float64 // math.Inf(1): none
}

// loadsOf returns the loads of backends. The caller holds mu.
func loadsOf(backends []*Backend) []load {
	loads := make([]load, len(backends))
	for i, b := range backends {
		loads[i] = load{sessions: b.Sessions(), weight: float64(b.spec.weight), limit: math.Inf(1)}
		if b.spec.maxSessions > 0 {
			loads[i].limit = float64(b.spec.maxSessions)
		}
	}
	return loads
}

// sharesOf divides the sessions by weight. What exceeds a backend's limit is divided among the others.
func sharesOf(loads []load) []float64 {
	shares := make([]float64, len(loads))
	isCapped := make([]bool, len(loads))
	rest := 0.0
	for _, l := range loads {
		rest += float64(l.sessions)
	}
	for {
		weight := 0.0
		for i, l := range loads {
			if !isCapped[i] {
				weight += l.weight
			}
		}
		hasCapped, given := false, 0.0
		for i, l := range loads {
			if isCapped[i] {
				continue
			}
			shares[i] = rest * l.weight / weight
			if shares[i] > l.limit {
				shares[i], isCapped[i], hasCapped = l.limit, true, true
				given += l.limit
			}
		}
		if !hasCapped {
			return shares
		}
		rest -= given
	}
}

// surplusOf returns how many sessions of each backend are surplus. While every backend is within the
// tolerance of its share, or within one session, there is no surplus. Else it is what the backends over
// the tolerance hold above their shares. If a backend is under the tolerance and none is over, it is what
// all backends hold above their shares.
func surplusOf(loads []load, tolerance float64) []int64 {
	surplus := make([]int64, len(loads))
	shares := sharesOf(loads)
	isOver, isUnder := false, false
	off := func(i int) float64 { return float64(loads[i].sessions) - shares[i] }
	slack := func(i int) float64 { return max(1, tolerance*shares[i]) }
	for i := range loads {
		isOver = isOver || off(i) > slack(i)
		isUnder = isUnder || off(i) < -slack(i)
	}
	for i := range loads {
		if off(i) > slack(i) || isUnder && !isOver && off(i) > 0 {
			surplus[i] = int64(off(i))
		}
	}
	return surplus
}
