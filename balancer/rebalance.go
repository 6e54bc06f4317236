package balancer

import (
	"math"
	"slices"
	"time"
)

// A rebalance closes the surplus of overloaded members by plans: the surplus is measured once, so
// that sessions which are closed and not yet back do not make the rest look overloaded, and it is
// the most that the plan closes. The next one is made when those clients had their time. Owned by
// the goroutine of Run.
type rebalance struct {
	next    time.Time // when to look at the shares again
	members []*Backend
	goals   []goal // of the plan under way
	last    time.Time
	credit  float64 // closings that the rate allows
}

// A goal is what a plan wants of one backend.
type goal struct {
	backend *Backend
	target  int64 // sessions that it is to keep
	quota   int64 // closings that it still may ask for
}

// step goes on with the plan, or looks for one, and returns when to come back; zero: not at all.
func (r *rebalance) step(p *Pool, now time.Time, owner Owner) time.Time {
	c, members, loads := r.look(p, now)
	switch {
	case c.Rate == 0:
		*r = rebalance{}
		return time.Time{}
	case loads != nil:
		r.plan(loads, members, c, now)
	case len(r.goals) > 0 && !slices.Equal(members, r.members):
		// The shares are others now.
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

// look returns what the pool wants and has; loads are nil where no plan is due.
func (r *rebalance) look(p *Pool, now time.Time) (c RebalanceConfig, members []*Backend, loads []load) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, members = p.cfg.Rebalance, p.settled()
	if c.Rate > 0 && len(r.goals) == 0 && !now.Before(r.next) {
		loads = loadsOf(members)
	}
	return c, members, loads
}

// settled returns the members that share the sessions, or none while one of them is in slow start:
// its share is not what it will be. The caller holds mu.
func (p *Pool) settled() []*Backend {
	var members []*Backend
	for _, b := range p.members {
		switch {
		case b.member.backup:
		case b.State() == Warming:
			return nil
		case b.State() == Up:
			members = append(members, b)
		}
	}
	return members
}

// plan sets the goals if a member is off its share by more than the tolerance.
func (r *rebalance) plan(loads []load, members []*Backend, c RebalanceConfig, now time.Time) {
	r.members, r.last, r.credit = members, now, 0
	for i, surplus := range surplusOf(loads, float64(c.Tolerance)/100) {
		if surplus > 0 {
			r.goals = append(r.goals, goal{backend: members[i], target: loads[i].sessions - surplus, quota: surplus})
		}
	}
}

// carryOut asks for as many closings as the rate allows, of the members that are furthest over
// their targets. The plan is over when there is nothing to ask for, or nobody to be found.
func (r *rebalance) carryOut(c RebalanceConfig, now time.Time, owner Owner) {
	r.credit += float64(c.Rate) * now.Sub(r.last).Seconds()
	r.last = now
	needs := make([]int64, len(r.goals))
	for i, g := range r.goals {
		needs[i] = min(g.quota, g.backend.closable()-g.target)
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
			done := order{r.goals[i].backend, n}.place(owner)
			r.goals[i].quota -= int64(done)
			asked, closed = asked+n, closed+done
		}
	}
	if slices.Max(needs) <= 0 || asked > 0 && closed == 0 {
		r.goals = nil
	}
}

// A load is what a member holds and what it should.
type load struct {
	sessions int64
	weight   float64
	limit    float64 // math.Inf(1): none
}

// loadsOf returns the loads of members. The caller holds mu.
func loadsOf(members []*Backend) []load {
	loads := make([]load, len(members))
	for i, b := range members {
		loads[i] = load{sessions: b.Sessions(), weight: float64(b.member.weight), limit: math.Inf(1)}
		if b.member.maxSessions > 0 {
			loads[i].limit = float64(b.member.maxSessions)
		}
	}
	return loads
}

// sharesOf divides the sessions by weight. What a member may not hold is divided among the others.
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

// surplusOf returns how many sessions of each member are surplus: none while every member is within
// the tolerance of its share, or within one session; else what members over the tolerance hold above
// their shares. If a member is under it and none is over, all that hold more than their share give.
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
