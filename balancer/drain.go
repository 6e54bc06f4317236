package balancer

import (
	"fmt"
	"slices"
	"time"
)

// shedStep is the time between two steps of a drain or of a rebalance.
const shedStep = 100 * time.Millisecond

// A drain closes the sessions of one backend. Guarded by pool.mu.
type drain struct {
	until time.Time // when the last session is to be closed
	last  time.Time // when some were closed
}

// Drain stops new sessions to the backend of that name. The owner that Run was given closes the live ones
// at an even rate over the given time, or at once if that is 0. It does not block. The error is that no backend has
// that name.
func (p *Pool) Drain(name string, over time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, err := p.backendNamed(name)
	if err != nil {
		return err
	}
	now := time.Now()
	b.isDraining = true
	p.drains[b] = &drain{until: now.Add(over), last: now}
	p.updateState(b, now, "")
	p.applyChanges(now)
	return nil
}

// Undrain ends a drain: from then on the backend's health decides its state. The error is that no backend
// has that name.
func (p *Pool) Undrain(name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, err := p.backendNamed(name)
	if err != nil {
		return err
	}
	now := time.Now()
	b.isDraining = false
	delete(p.drains, b)
	p.updateState(b, now, "")
	p.applyChanges(now)
	return nil
}

// backendNamed returns the backend of that name, which may have gone. The caller holds mu.
func (p *Pool) backendNamed(name string) (*Backend, error) {
	isNamed := func(b *Backend) bool { return b.Name() == name }
	if i := slices.IndexFunc(p.backends, isNamed); i >= 0 {
		return p.backends[i], nil
	}
	for _, b := range p.byID {
		if isNamed(b) {
			return b, nil
		}
	}
	return nil, fmt.Errorf("pool %s has no backend %q", p.cfg.Name, name)
}

// An order asks the owner to close count sessions of a backend.
type order struct {
	backend *Backend
	count   int
}

// shed sends the orders that the drains and the rebalance have now, and returns when the next ones are
// due; zero: none are.
func (p *Pool) shed(now time.Time, r *rebalance, owner Owner) (next time.Time) {
	orders, next := p.drainOrders(now)
	for _, o := range orders {
		o.send(owner)
	}
	return earlier(next, r.step(p, now, owner))
}

// send gives the order to the owner and returns how many sessions the owner closes.
func (o order) send(owner Owner) (closed int) {
	// They are counted first, since some may be released before the owner returns.
	o.backend.addShedding(o.count)
	defer func() { o.backend.addShedding(closed - o.count) }() // after a panic, too
	return owner.CloseSessions(o.backend, o.count)
}

func (b *Backend) addShedding(n int) {
	b.pool.picks.Lock()
	defer b.pool.picks.Unlock()
	b.shedding = max(0, b.shedding+int64(n))
}

// closable returns how many places of b hold sessions, or handshakes, that the owner was not yet asked to
// close.
func (b *Backend) closable() int64 {
	b.pool.picks.Lock()
	defer b.pool.picks.Unlock()
	return max(0, b.sessions.Load()-b.shedding)
}

// drainOrders returns the orders of the drains: the fraction of the remaining sessions that the time since
// the last step is of the remaining time.
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
