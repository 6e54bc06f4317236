package balancer

import (
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
)

// A member is one address of a pool as its definition, or the resolver, gives it.
type member struct {
	address
	weight      int
	backup      bool
	maxSessions int64 // 0: no limit
}

// A Backend is one address of a pool and what is known of it. It outlives changes of the pool's
// definition: whoever holds a place of it may use it until Release. All methods are safe for
// concurrent use.
type Backend struct {
	// Immutable.
	pool    *Pool
	address address
	hash    uint64 // of the address: its part in consistent hashing

	sessions    atomic.Int64 // written under pool.picks
	state       atomic.Int32 // a State; written by Pool.settle only
	weight      atomic.Int64 // as configured; written under pool.mu
	failures    [reasonCount]atomic.Uint64
	failedInRow atomic.Int64 // handshakes; raised under pool.mu
	lostInRow   atomic.Int64 // sessions; raised under pool.mu
	toBackend   trafficCount // of sessions that have ended
	toClient    trafficCount

	// Guarded by pool.picks.
	tier     *tier // which holds it, nil: none
	index    int   // in tier
	lastPick uint64
	shedding int64 // sessions that the owner was asked to close and that have not ended

	// Guarded by pool.mu.
	member     member
	isGone     bool // no member any more
	isDraining bool
	probes     probeRecord
	ejection   ejectionRecord
	warmsSince time.Time // zero: not in slow start
	cookie     stickyCookie
}

func newBackend(p *Pool, m member) *Backend {
	b := &Backend{pool: p, address: m.address, hash: xxhash.Sum64String(m.id()), member: m}
	b.weight.Store(int64(m.weight))
	return b
}

// Name returns the backend's address as it was configured or discovered: its name in logs, metrics
// and the admin API.
func (b *Backend) Name() string { return b.address.text }

// Network returns "tcp" or "unix".
func (b *Backend) Network() string { return b.address.network }

// Address returns what is dialed: "host:port" or a path.
func (b *Backend) Address() string { return b.address.dial }

// TLS reports whether the backend speaks TLS, and with which name in its certificate.
func (b *Backend) TLS() (serverName string, ok bool) { return b.address.serverName, b.address.tls }

// Weight returns the configured weight; a slow start does not show in it.
func (b *Backend) Weight() int { return int(b.weight.Load()) }

// Sessions returns how many places are taken: live sessions and handshakes.
func (b *Backend) Sessions() int64 { return b.sessions.Load() }

// State returns the backend's state.
func (b *Backend) State() State { return State(b.state.Load()) }

// Established tells that the handshake on a place of b stands: b answered 101 as it should. It is
// called at most once a pick, before Release.
func (b *Backend) Established() {
	if b.failedInRow.Load() != 0 {
		b.failedInRow.Store(0)
	}
}

// Carried tells what a session on a place of b has moved, at its end, before Release.
func (b *Backend) Carried(toBackend, toClient Traffic) {
	b.toBackend.add(toBackend)
	b.toClient.add(toClient)
}

// Release gives back the place that a Pick took, exactly once a pick, and tells how its use ended.
func (b *Backend) Release(o Outcome) {
	b.free(o)
	switch r, isFailure := o.failure(b.pool.snapshot.Load().statuses); {
	case isFailure:
		b.failures[r].Add(1)
		b.pool.failed(b, r)
	case o >= firstStatus:
		// RFC 6455 section 4.1: another status than 101 is handled by HTTP; it shows a backend that
		// answers.
		b.Established()
	case o == Ended && b.lostInRow.Load() != 0:
		b.lostInRow.Store(0)
	}
}

// free gives the place back.
func (b *Backend) free(o Outcome) {
	p := b.pool
	p.picks.Lock()
	defer p.picks.Unlock()
	if b.sessions.Add(-1) < 0 {
		panic("BUG: a place of backend " + b.Name() + " released twice")
	}
	if o == Shed && b.shedding > 0 {
		b.shedding--
	}
	if b.tier != nil {
		b.tier.total--
		b.tier.weigh(b.index)
	}
	p.queue.wake()
}

// take takes a place of b. The caller holds pool.picks and knows that there is one.
func (b *Backend) take() {
	b.sessions.Add(1)
	b.pool.pickCount++
	b.lastPick = b.pool.pickCount
	b.tier.total++
	b.tier.weigh(b.index)
}
