package proxy

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"sluice/balancer"
	"sluice/proxy/driver"
	"sluice/proxy/relay"
)

// spread closes sessions evenly over a time, the idle ones first, so that their clients come back spread out. It returns when
// the last one has been asked, or the context ends.
//
// It asks for closes and waits for none: a client that doesn't read holds nobody up.
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
			s.proxy.panics.Guard(room, func() { s.close(uint16(s.route.CloseCodes.Drained), reason) })
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
	p.stopReloads()
	wait(ctx, delay)
	p.refuses.Store(true)
	p.closeListeners()
	before := p.sessions.list()
	p.log.Info("draining", zap.Int("sessions", len(before)), zap.Duration("over", drain))
	over := drain - min(drain/20, lastWords)
	limit, stop := context.WithTimeout(ctx, over+p.CloseTimeout()+lastWords)
	defer stop()
	var plain sync.WaitGroup
	for _, l := range *p.listeners.Load() {
		plain.Go(func() {
			p.panics.Guard(room, func() { _ = l.server.Shutdown(limit) })
		})
	}
	sessions, cancel := context.WithCancel(limit)
	defer cancel()
	go p.cancelWhenEmpty(cancel)
	p.panics.Guard(room, func() { spread(sessions, before, over, relay.ReasonDrain) })
	<-sessions.Done()
	plain.Wait()
	p.Close()
	closed, cut, ended := p.farewell.counts()
	p.log.Info("drained", zap.Int64("closed", closed), zap.Int64("cut", cut), zap.Int64("ended", ended))
}

// cancelWhenEmpty calls cancel when no session is left, as at the latest behind Close.
func (p *Proxy) cancelWhenEmpty(cancel context.CancelFunc) {
	defer p.panics.Catch(room, nil)
	<-p.sessions.gone()
	cancel()
}

// lastWords is the time behind the last session's close_timeout before everything is cut: one that waits for the end of a message
// gets its close at a frame boundary by then. It is taken off the drain, as far as that is long enough.
const lastWords = 250 * time.Millisecond

// A farewell counts how sessions ended while the gateway drains. Its methods may be called from any goroutine.
type farewell struct {
	closed atomic.Int64 // as they were asked to, with the client's own close
	cut    atomic.Int64 // though they were asked to close
	ended  atomic.Int64 // by themselves, before they were asked
}

func (f *farewell) count(r *driver.Result) {
	switch {
	case r.Verdict.Reason != relay.ReasonDrain:
		f.ended.Add(1)
	case r.HasClosed[relay.Client]:
		f.closed.Add(1)
	default:
		f.cut.Add(1)
	}
}

func (f *farewell) counts() (closed, cut, ended int64) {
	return f.closed.Load(), f.cut.Load(), f.ended.Load()
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
	for some := range slices.Chunk(byIdleness(of), closeChunk) {
		for _, s := range some {
			if closed == n {
				return closed
			}
			if s.shedding.CompareAndSwap(notShed, isShed) {
				s.close(uint16(s.route.CloseCodes.Drained), reason)
				closed++
			}
		}
		new(SessionQuery).ask(some) // once they are closed: a loop's other sessions get their turns between
	}
	return closed
}
