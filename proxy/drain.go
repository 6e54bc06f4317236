package proxy

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"sluice/internal/netconn"
	"sluice/proxy/relay"
)

// Shutdown ends the proxy. The proxy reports at once that it is not ready (IsDraining), so that a balancer in front of it chooses another
// gateway. After delay the listeners close. Live sessions are closed, spread over drain, and then have the longest close_timeout to end;
// plain requests under way may end until then as well. Sessions of which bytes still wait for a peer that takes some then have the longest
// write_timeout, and the longest close_timeout once none wait. What is left is cut, except what the kernel has whole and delivers by
// itself. When ctx ends, everything is cut at once.
func (p *Proxy) Shutdown(ctx context.Context, delay, drain time.Duration) {
	p.stopReloads()
	wait(ctx, delay)
	p.refuses.Store(true)
	p.closeListeners()
	p.backends.goAway(nil)
	before := p.sessions.List()
	p.log.Info("draining", zap.Int("sessions", len(before)), zap.Duration("over", drain))
	over := drain - min(drain/20, lastWords)
	limit, stop := context.WithTimeout(ctx, over+p.closeTimeout()+lastWords)
	defer stop()
	var requests sync.WaitGroup
	for _, l := range *p.listeners.Load() {
		requests.Go(func() {
			p.panics.Guard(room, func() { l.plain.Shutdown(limit) })
		})
	}
	sessions, cancel := context.WithCancel(limit)
	defer cancel()
	go p.cancelWhenEmpty(cancel)
	p.panics.Guard(room, func() { p.sessions.Spread(sessions, before, over, relay.ReasonDrain) })
	<-sessions.Done()
	p.waitForQueues(ctx)
	requests.Wait()
	p.waitForMuxes(ctx)
	p.Close()
	closed, cut, ended := p.sessions.Farewell()
	p.log.Info("drained", zap.Int64("closed", closed), zap.Int64("cut", cut), zap.Int64("ended", ended))
}

// cancelWhenEmpty calls cancel when no session is left, which is after Close at the latest.
func (p *Proxy) cancelWhenEmpty(cancel context.CancelFunc) {
	defer p.panics.Catch(room, nil)
	<-p.sessions.Gone()
	cancel()
}

// waitForQueues waits until no session's bytes wait for a peer, and for the longest close_timeout after that: what such a session is sent by
// its other side wasn't read meanwhile. In all it waits for the longest write_timeout.
func (p *Proxy) waitForQueues(ctx context.Context) {
	ctx, stop := context.WithTimeout(ctx, p.writeTimeout())
	defer stop()
	go p.cancelWhenEmpty(stop)
	var until time.Time
	for ctx.Err() == nil {
		if now := time.Now(); p.driver.QueuedBytes() > 0 {
			until = now.Add(p.closeTimeout())
		} else if !now.Before(until) {
			return
		}
		wait(ctx, queueLook)
	}
}

// waitForMuxes waits until the clients' connections that speak HTTP/2 have ended, which each does after its last stream, for LingerTime at
// most: what was sent last is on its way.
func (p *Proxy) waitForMuxes(ctx context.Context) {
	ctx, stop := context.WithTimeout(ctx, netconn.LingerTime)
	defer stop()
	for ctx.Err() == nil && p.muxes[relay.Client].Load() > 0 {
		wait(ctx, queueLook)
	}
}

// queueLook is how often waitForQueues and waitForMuxes look.
const queueLook = 50 * time.Millisecond

// lastWords is the time between the last session's close_timeout and the cut of everything: a session that waits for the end of a message
// gets its close at a frame boundary within it. It is taken from the drain if the drain is long enough.
const lastWords = 250 * time.Millisecond

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
