package balancer

import (
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
)

// A spec is one backend as the pool's configuration, or the source of a name, describes it.
type spec struct {
	address
	weight      int
	backup      bool
	maxSessions int64 // 0: no limit
}

// A Backend is one address of a pool with its state and counters. It outlives changes of the pool's
// configuration: the holder of a place may use it until Release. All methods are safe for concurrent
// use.
type Backend struct {
	// Immutable.
	pool    *Pool
	address address
	hash    uint64 // of the address, for rendezvous hashing

	sessions            atomic.Int64 // written under pool.picks
	state               atomic.Int32 // a State; written by Pool.updateState only
	weight              atomic.Int64 // as configured; written under pool.mu
	failures            [reasonCount]atomic.Uint64
	consecutiveFailures atomic.Int64 // of handshakes; raised under pool.mu
	consecutiveLosses   atomic.Int64 // of sessions; raised under pool.mu
	isFailing           atomic.Bool  // it has failed since it answered last; set under pool.mu
	hasAnswered         atomic.Bool
	toBackend           trafficCount // of sessions that have ended
	toClient            trafficCount

	// Guarded by pool.picks.
	candidates *candidates // of the current snapshot; nil: it is in none
	index      int         // in candidates
	lastPick   uint64      // Pool.pickCount at its last pick
	shedding   int64       // sessions that the owner was asked to close and that have not ended

	// Guarded by pool.mu.
	spec       spec
	isGone     bool // no longer configured, or no longer found by its source
	isDraining bool
	probes     probeState
	ejection   ejectionState
	failure    failureState
	warmsSince time.Time // zero: not in slow start
	cookie     stickyCookie
}

func newBackend(p *Pool, s spec) *Backend {
	b := &Backend{pool: p, address: s.address, hash: xxhash.Sum64String(s.id()), spec: s}
	b.weight.Store(int64(s.weight))
	return b
}

// Name returns the backend's address as it was configured or discovered: its name in logs, metrics
// and the admin API.
func (b *Backend) Name() string { return b.address.text }

// Network returns "tcp" or "unix".
func (b *Backend) Network() string { return b.address.network }

// Address returns the address to dial: "host:port" or a path.
func (b *Backend) Address() string { return b.address.dial }

// Authority returns the backend's address as the Host of a request: the name or address as configured, and the port unless it is the default
// one. A backend at a Unix socket is "localhost".
func (b *Backend) Authority() string { return b.address.authority }

// TLS reports whether the backend speaks TLS, and the name that its certificate must have.
func (b *Backend) TLS() (serverName string, ok bool) { return b.address.serverName, b.address.tls }

// Weight returns the configured weight. A slow start does not change it.
func (b *Backend) Weight() int { return int(b.weight.Load()) }

// Sessions returns how many places are taken: by live sessions and by handshakes.
func (b *Backend) Sessions() int64 { return b.sessions.Load() }

// State returns the backend's state.
func (b *Backend) State() State { return State(b.state.Load()) }

// Established records that the handshake on a place of b succeeded: b answered with a correct 101. It
// is called at most once per pick, before Release.
func (b *Backend) Established() { b.answered() }

// Carried records the traffic of a session on a place of b, when the session has ended and before
// Release.
func (b *Backend) Carried(toBackend, toClient Traffic) {
	b.toBackend.add(toBackend)
	b.toClient.add(toClient)
}

// Release gives back the place that a Pick acquired and records how its use ended. It is called
// exactly once per pick; a second call panics.
func (b *Backend) Release(o Outcome) { b.ReleaseFailed(o, "") }

// ReleaseFailed is Release with the cause of a failure, in words for an operator.
func (b *Backend) ReleaseFailed(o Outcome, cause string) {
	b.releasePlace(o)
	switch r, isFailure := o.failure(b.pool.snapshot.Load().statuses); {
	case isFailure:
		if cause == "" {
			cause = o.text(r)
		}
		b.pool.recordFailure(b, r, cause)
	case o >= firstStatus:
		// RFC 6455 section 4.1: a status other than 101 is handled as HTTP. It shows that the backend
		// answers.
		b.answered()
	case o == StreamEnded:
		b.pool.recordStreamEnd(b)
	case o == Ended && b.consecutiveLosses.Load() != 0:
		b.consecutiveLosses.Store(0)
	}
}

func (b *Backend) releasePlace(o Outcome) {
	p := b.pool
	p.picks.Lock()
	defer p.picks.Unlock()
	if b.sessions.Add(-1) < 0 {
		panic("BUG: a place of backend " + b.Name() + " released twice")
	}
	if o == Shed && b.shedding > 0 {
		b.shedding--
	}
	if b.candidates != nil {
		b.candidates.total--
		b.candidates.update(b.index)
	}
	p.queue.wake()
}

// acquirePlace takes a place of b. The caller holds pool.picks and knows that one is free.
func (b *Backend) acquirePlace() {
	b.sessions.Add(1)
	b.pool.pickCount++
	b.lastPick = b.pool.pickCount
	b.candidates.total++
	b.candidates.update(b.index)
}
