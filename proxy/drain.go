package proxy

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"sluice/balancer"
	"sluice/proxy/relay"
)

// spread closes sessions evenly over a time, the idle ones first, so that their clients come back spread out. It returns when
// the last one has been asked, or the context ends.
func spread(ctx context.Context, all []*session, over time.Duration, reason relay.Reason) {
	all = byIdleness(all)
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i, s := range all {
		// Each has its slot, and its moment in the slot by lot.
		at := time.Duration((float64(i) + rand.Float64()) / float64(len(all)) * float64(over))
		timer.Reset(time.Until(start.Add(at)))
		select {
		case <-timer.C:
			s.close(uint16(s.route.closeCodes.Drained), reason)
		case <-ctx.Done():
			return
		}
	}
}

// byIdleness returns those sessions that still live, the longest idle first.
func byIdleness(all []*session) []*session {
	live, stats := new(SessionQuery).ask(all)
	idle := make(map[*session]time.Duration, len(live))
	for i, s := range live {
		idle[s] = stats[i].Idle
	}
	slices.SortFunc(live, func(a, b *session) int { return cmp.Compare(idle[b], idle[a]) })
	return live
}

// Shutdown ends the proxy. Readiness goes at once (IsDraining), so that whoever balances in front looks elsewhere; after delay the
// listeners close; live sessions are closed, spread over drain, and awaited for the longest close_timeout, and plain requests may end
// meanwhile; what is left then is cut. When ctx ends everything is cut at once.
func (p *Proxy) Shutdown(ctx context.Context, delay, drain time.Duration) {
	p.isDraining.Store(true)
	wait(ctx, delay)
	p.refuses.Store(true)
	p.closeListeners()
	before := p.sessions.list()
	p.log.Info("draining", zap.Int("sessions", len(before)), zap.Duration("over", drain))
	limit, stop := context.WithTimeout(ctx, drain+p.closeTimeout())
	defer stop()
	var plain sync.WaitGroup
	for _, l := range p.listeners {
		plain.Go(func() { _ = l.server.Shutdown(limit) })
	}
	spread(ctx, before, drain, relay.ReasonDrain)
	patience, cancel := context.WithTimeout(ctx, p.closeTimeout())
	defer cancel()
	select {
	case <-p.sessions.gone():
	case <-patience.Done():
	}
	plain.Wait()
	left := p.sessions.count()
	p.Close()
	p.log.Info("drained", zap.Int("closed", len(before)-left), zap.Int("cut", left))
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// closeSessions closes up to n sessions of a backend, the idle ones first, and returns how many. It is what a pool asks for when it
// drains a backend or has to bring one back to its share.
func (p *Proxy) closeSessions(b *balancer.Backend, n int) int {
	reason := relay.ReasonRebalance
	if b.State() == balancer.Draining {
		reason = relay.ReasonBackendDrain
	}
	var of []*session
	for _, s := range p.sessions.list() {
		if s.backend == b && !s.isClosing.Load() {
			of = append(of, s)
		}
	}
	closed := 0
	for _, s := range byIdleness(of) {
		if closed == n {
			break
		}
		if s.shedding.CompareAndSwap(notShed, isShed) {
			s.close(uint16(s.route.closeCodes.Drained), reason)
			closed++
		}
	}
	return closed
}
