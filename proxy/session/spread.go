package session

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"sluice/balancer"
	"sluice/proxy/driver"
	"sluice/proxy/relay"
)

// Spread closes sessions evenly over a time, the longest idle first, so that their clients do not come back all at once. It returns
// after the last one has been asked, or when ctx ends. It doesn't wait for the closes: a client that stops reading does not delay the
// others.
func (r *Registry) Spread(ctx context.Context, all []*Session, over time.Duration, reason relay.Reason) {
	all = byIdleness(all)
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i, s := range all {
		// Each session has a slot of the same length, and a random moment in it.
		at := time.Duration((float64(i) + rand.Float64()) / float64(len(all)) * float64(over))
		timer.Reset(time.Until(start.Add(at)))
		select {
		case <-timer.C:
			r.config.Panics.Guard(room, func() { s.close(uint16(s.Route.CloseCodes.Drained), reason) })
		case <-ctx.Done():
			return
		}
	}
}

// byIdleness returns those sessions that still live, the longest idle first.
func byIdleness(all []*Session) []*Session {
	live, stats := new(Query).filter(all)
	idle := make(map[*Session]time.Duration, len(live))
	for i, s := range live {
		idle[s] = stats[i].Idle
	}
	slices.SortFunc(live, func(a, b *Session) int { return cmp.Compare(idle[b], idle[a]) })
	return live
}

// Shed closes up to n sessions of a backend, the longest idle first, and returns how many. A pool calls it to drain a backend or to
// bring one back to its share.
func (r *Registry) Shed(b *balancer.Backend, n int) int {
	reason := relay.ReasonRebalance
	if b.State() == balancer.Draining {
		reason = relay.ReasonBackendDrain
	}
	of := slices.DeleteFunc(r.List(), func(s *Session) bool { return s.Backend != b || s.isClosing.Load() })
	closed := 0
	for some := range slices.Chunk(byIdleness(of), closeChunk) {
		for _, s := range some {
			if closed == n {
				return closed
			}
			if s.shedding.CompareAndSwap(notShed, isShed) {
				s.close(uint16(s.Route.CloseCodes.Drained), reason)
				closed++
			}
		}
		new(Query).filter(some) // waits for the closes: a loop's other sessions get their turns in between
	}
	return closed
}

// Farewell returns how sessions ended while the gateway drained: closed are those that completed the closing handshake, cut those that
// were asked to and did not, ended those that ended by themselves before.
func (r *Registry) Farewell() (closed, cut, ended int64) {
	f := &r.farewell
	return f.closed.Load(), f.cut.Load(), f.ended.Load()
}

// A farewell counts the ends of sessions while the gateway drains.
type farewell struct{ closed, cut, ended atomic.Int64 }

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
