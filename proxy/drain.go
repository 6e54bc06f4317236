package proxy

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"sluice/proxy/relay"
)

// Shutdown ends the proxy. Readiness goes at once (IsDraining), so that whoever balances in front looks elsewhere; after delay the
// listeners close; live sessions are closed, spread over drain, and awaited for the longest close_timeout, and plain requests may end
// meanwhile; what is left then is cut. When ctx ends everything is cut at once.
func (p *Proxy) Shutdown(ctx context.Context, delay, drain time.Duration) {
	p.stopReloads()
	wait(ctx, delay)
	p.refuses.Store(true)
	p.closeListeners()
	before := p.sessions.List()
	p.log.Info("draining", zap.Int("sessions", len(before)), zap.Duration("over", drain))
	over := drain - min(drain/20, lastWords)
	limit, stop := context.WithTimeout(ctx, over+p.CloseTimeout()+lastWords)
	defer stop()
	var plain sync.WaitGroup
	for _, l := range *p.listeners.Load() {
		plain.Go(func() {
			p.panics.Guard(room, func() { l.plain.Shutdown(limit) })
		})
	}
	sessions, cancel := context.WithCancel(limit)
	defer cancel()
	go p.cancelWhenEmpty(cancel)
	p.panics.Guard(room, func() { p.sessions.Spread(sessions, before, over, relay.ReasonDrain) })
	<-sessions.Done()
	plain.Wait()
	p.Close()
	closed, cut, ended := p.sessions.Farewell()
	p.log.Info("drained", zap.Int64("closed", closed), zap.Int64("cut", cut), zap.Int64("ended", ended))
}

// cancelWhenEmpty calls cancel when no session is left, at the latest after Close.
func (p *Proxy) cancelWhenEmpty(cancel context.CancelFunc) {
	defer p.panics.Catch(room, nil)
	<-p.sessions.Gone()
	cancel()
}

// lastWords is the time after the last session's close_timeout before everything is cut: one that waits for the end of a message
// gets its close at a frame boundary by then. It is taken off the drain, as far as that is long enough.
const lastWords = 250 * time.Millisecond

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
