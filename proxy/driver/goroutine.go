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

// Goroutine is the driver that works with any net.Conn on any OS: two goroutines a session, each reading one side; what passes is
// written at once where the other side takes it, and by a third goroutine where it has to be waited for, so that the pings of a
// side are answered however slow the other one is.
type Goroutine struct {
	panics recovery.Handler
	clock  clock
	pools  *pools
	queued atomic.Int64
	wires  sync.Pool // *wire

	mu sync.Mutex

	// Guarded by mu.
	totals   relay.Totals // of sessions that are over
	pairs    map[*pair]struct{}
	live     int // pairs whose owners haven't been told of the end
	isClosed bool
	idle     chan struct{} // closed when isClosed and nothing is live
}

// NewGoroutine returns a driver without sessions.
func NewGoroutine(panics recovery.Handler) *Goroutine {
	d := &Goroutine{panics: panics, clock: newClock(), pools: newPools(), pairs: map[*pair]struct{}{}, idle: make(chan struct{})}
	d.wires.New = func() any { return &wire{pools: d.pools} }
	return d
}

// Relay implements Driver.
func (d *Goroutine) Relay(params Params, client, backend net.Conn) {
	p := &pair{
		driver: d,
		config: params.Config,
		owner:  params.Owner,
		port:   [2]*port{newPort(client, d.pools), newPort(backend, d.pools)},
		users:  2,
	}
	p.cond.L = &p.mu
	params.Handle.in = p
	var held *wire
	w := p.lock(&held)
	p.core.Begin(&w.env, params.HasDeflate)
	p.timer = time.AfterFunc(time.Until(d.clock.at(p.core.Deadline(&w.env))), p.expire)
	p.unlock(&held, 0)
	if !d.add(p) {
		p.lose()
		p.timer.Stop()
		p.owner.SessionEnded(resultOf(&p.core))
		return
	}
	for side := relay.Client; side <= relay.Backend; side++ {
		go p.relay(side, append([]byte(nil), params.Early[side]...))
	}
}

// add notes a new pair; false: the driver is closed.
func (d *Goroutine) add(p *pair) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isClosed {
		return false
	}
	d.pairs[p] = struct{}{}
	d.live++
	return true
}

// Totals implements Driver.
func (d *Goroutine) Totals() relay.Totals {
	d.mu.Lock()
	defer d.mu.Unlock()
	sum := d.totals
	for p := range d.pairs {
		p.mu.Lock()
		sum.Add(&p.totals)
		p.mu.Unlock()
	}
	return sum
}

// QueuedBytes implements Driver.
func (d *Goroutine) QueuedBytes() int64 { return d.queued.Load() }

// Close implements Driver.
func (d *Goroutine) Close(ctx context.Context) error {
	d.mu.Lock()
	if !d.isClosed {
		d.isClosed = true
		if d.live == 0 {
			close(d.idle)
		}
	}
	for p := range d.pairs {
		if p.join() {
			go p.cut()
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

// remove forgets a pair that is over.
func (d *Goroutine) remove(p *pair) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.totals.Add(&p.totals)
	delete(d.pairs, p)
}

// told notes that a pair's owner knows of its end.
func (d *Goroutine) told() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live--
	if d.isClosed && d.live == 0 {
		close(d.idle)
	}
}
