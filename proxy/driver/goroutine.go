package driver

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/recovery"
	"sluice/proxy/relay"
)

// Goroutine is the driver that works with any net.Conn on any OS. A session has two goroutines, each of which reads one side. What passes
// is written at once if the other side accepts it. Else it is queued, and another goroutine writes the queue, so that the pings of a
// side are answered however slow the other side is.
type Goroutine struct {
	panics  recovery.Handler
	clock   clock
	pools   *pools
	queued  atomic.Int64
	engines sync.Pool // *borrowedEngine

	mu sync.Mutex

	// Guarded by mu.
	totals   relay.Totals // of sessions that are over
	sessions map[*goroutineSession]struct{}
	live     int // sessions for which SessionEnded hasn't returned
	isClosed bool
	idle     chan struct{} // closed when isClosed and nothing is live
}

// NewGoroutine returns a driver without sessions.
func NewGoroutine(panics recovery.Handler) *Goroutine {
	d := &Goroutine{panics: panics, clock: newClock(), pools: newPools(), sessions: map[*goroutineSession]struct{}{}, idle: make(chan struct{})}
	d.engines.New = func() any { return &borrowedEngine{engine: newEngine(d.pools, &d.queued)} }
	return d
}

// Relay implements Driver.
func (d *Goroutine) Relay(params Params, client, backend net.Conn) {
	g := &goroutineSession{
		driver: d,
		config: params.Config,
		owner:  params.Owner,
		conn:   [2]*goroutineConn{newGoroutineConn(client, d.pools), newGoroutineConn(backend, d.pools)},
		users:  2,
	}
	g.cond.L = &g.mu
	params.Handle.controller = g
	var held *borrowedEngine
	e := g.lock(&held)
	g.core.Begin(&e.env, params.HasDeflate)
	g.timer = time.AfterFunc(time.Until(d.clock.at(g.core.Deadline(&e.env))), g.expire)
	g.unlock(&held, 0)
	if !d.add(g) {
		g.lose()
		g.timer.Stop()
		g.owner.SessionEnded(resultOf(&g.core))
		return
	}
	for side := relay.Client; side <= relay.Backend; side++ {
		go g.relay(side, append([]byte(nil), params.Early[side]...))
	}
}

// add registers a new session. It returns false if the driver is closed.
func (d *Goroutine) add(g *goroutineSession) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isClosed {
		return false
	}
	d.sessions[g] = struct{}{}
	d.live++
	return true
}

// Totals implements Driver.
func (d *Goroutine) Totals() relay.Totals {
	d.mu.Lock()
	defer d.mu.Unlock()
	sum := d.totals
	for g := range d.sessions {
		g.mu.Lock()
		sum.Add(&g.totals)
		g.mu.Unlock()
	}
	return sum
}

// QueuedBytes implements Driver.
func (d *Goroutine) QueuedBytes() int64 { return d.queued.Load() }

// QueueMemory implements Driver.
func (d *Goroutine) QueueMemory() int64 { return d.pools.allocated.Load() }

// Close implements Driver.
func (d *Goroutine) Close(ctx context.Context) error {
	d.mu.Lock()
	if !d.isClosed {
		d.isClosed = true
		if d.live == 0 {
			close(d.idle)
		}
	}
	for g := range d.sessions {
		if g.acquire() {
			go g.cut()
		}
	}
	d.mu.Unlock()
	select {
	case <-d.idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// remove ends add, and keeps the session's totals.
func (d *Goroutine) remove(g *goroutineSession) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.totals.Add(&g.totals)
	delete(d.sessions, g)
}

// ended notes that SessionEnded has returned for a session.
func (d *Goroutine) ended() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live--
	if d.isClosed && d.live == 0 {
		close(d.idle)
	}
}
