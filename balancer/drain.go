package balancer

import (
	"fmt"
	"slices"
	"time"
)

// shedStep is the time between two closings of a drain's or a rebalance's sessions.
const shedStep = 100 * time.Millisecond

// A drain closes the sessions of one backend. Guarded by pool.mu.
type drain struct {
	until time.Time // when the last session is to be asked for
	last  time.Time // when some were
}

// Drain sends no new sessions to the backend of that name. Its live ones are closed over a time, at
// an even rate, by the owner that Run was given; 0: at once.
func (p *Pool) Drain(name string, over time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, err := p.named(name)
	if err != nil {
		return err
	}
	now := time.Now()
	b.isDraining = true
	p.drains[b] = &drain{until: now.Add(over), last: now}
	p.settle(b, now, nil)
	p.changed(now)
	return nil
}

// Undrain ends a drain: the backend is what its health says.
func (p *Pool) Undrain(name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, err := p.named(name)
	if err != nil {
		return err
	}
	now := time.Now()
	b.isDraining = false
	delete(p.drains, b)
	p.settle(b, now, nil)
	p.changed(now)
	return nil
}

// named returns the member of that name, or one that has gone. The caller holds mu.
func (p *Pool) named(name string) (*Backend, error) {
	isNamed := func(b *Backend) bool { return b.Name() == name }
	if i := slices.IndexFunc(p.members, isNamed); i >= 0 {
		return p.members[i], nil
	}
	for _, b := range p.known {
		if isNamed(b) {
			return b, nil
		}
	}
	return nil, fmt.Errorf("pool %s has no backend %q", p.cfg.Name, name)
}

// An order asks the owner to close so many sessions of a backend.
type order struct {
	backend *Backend
	count   int
}

// shed asks for the sessions that drains and the rebalance close now, and returns when to come
// back; zero: when a drain begins.
func (p *Pool) shed(now time.Time, r *rebalance, owner Owner) (next time.Time) {
	orders, next := p.drainOrders(now)
	for _, o := range orders {
		o.place(owner)
	}
	return earlier(next, r.step(p, now, owner))
}

// place gives the order to the owner and returns how many sessions it closes.
func (o order) place(owner Owner) (closed int) {
	// Counted before they are asked for: some may be released before the owner returns.
	o.backend.addShedding(o.count)
	defer func() { o.backend.addShedding(closed - o.count) }() // after a panic, too
	return owner.CloseSessions(o.backend, o.count)
}

func (b *Backend) addShedding(n int) {
	b.pool.picks.Lock()
	defer b.pool.picks.Unlock()
	b.shedding = max(0, b.shedding+int64(n))
}

// closable returns how many places of b hold sessions, or handshakes, that nobody was asked to
// close.
func (b *Backend) closable() int64 {
	b.pool.picks.Lock()
	defer b.pool.picks.Unlock()
	return max(0, b.sessions.Load()-b.shedding)
}

// drainOrders returns what the drains close now: of the sessions that are left, the part that the
// time since the last step is of the time that is left.
func (p *Pool) drainOrders(now time.Time) (orders []order, next time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for b, d := range p.drains {
		left := b.closable()
		if left == 0 && b.Sessions() == 0 {
			continue
		}
		next = now.Add(shedStep)
		n := int(left)
		if now.Before(d.until) {
			n = int(float64(left) * float64(now.Sub(d.last)) / float64(d.until.Sub(d.last)))
		}
		if n > 0 {
			orders = append(orders, order{b, n})
			d.last = now
		}
	}
	return orders, next
}
