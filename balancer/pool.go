package balancer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// A Pool is backends and the policy that chooses among them. All methods are safe for concurrent
// use.
type Pool struct {
	log *zap.Logger

	// snapshot is swapped under mu and picks, and read by anyone.
	snapshot atomic.Pointer[snapshot]

	// picks guards the places and the order by load. It is held for a few comparisons only; where both
	// locks are taken, mu is first.
	picks     sync.Mutex
	pickCount uint64
	queue     queue
	random    func() uint64 // immutable, safe for concurrent use

	// mu guards the backends' states and all that they depend on.
	mu            sync.Mutex
	cfg           *Config                // immutable
	signer        *signer                // nil: no sticky cookies
	backends      []*Backend             // in the order of the configuration
	byID          map[string]*Backend    // by address.id: backends, and those that have gone and have sessions left
	found         map[string]*discovered // for names, by the address's text
	isPopulated   bool                   // it has had a backend: a further one joins
	isStale       bool                   // a state changed since the snapshot was built
	isUnavailable bool                   // no backend is available
	isClosed      bool
	warnedAt      time.Time // of probes that could not be made
	drains        map[*Backend]*drain
	background    background
}

// New returns a pool of cfg, which must have its defaults set, as by the configuration's loader. The
// error is the first problem that Check reports, or a secret file that can't be read. Until Run the pool
// has no backends for names that discovery is to resolve. It does not block.
func New(cfg Config, log *zap.Logger) (*Pool, error) {
	p := newUnset(log)
	if err := p.Set(cfg); err != nil {
		return nil, err
	}
	return p, nil
}

// newUnset returns a pool that has no configuration yet.
func newUnset(log *zap.Logger) *Pool {
	return &Pool{
		log:        log.Named("balancer"),
		random:     rand.Uint64,
		byID:       make(map[string]*Backend),
		found:      make(map[string]*discovered),
		drains:     make(map[*Backend]*drain),
		background: newBackground(),
	}
}

// NewGone returns a pool without a backend, for the sessions that another process has in a pool which the configuration lacks (Occupy). It
// does not block.
func NewGone(name string, log *zap.Logger) *Pool {
	p := newUnset(log)
	p.set(&Config{Name: name, Policy: PolicyLeastConn}, nil)
	return p
}

// SendsProxy reports whether a connection to a backend begins with a PROXY header.
func (p *Pool) SendsProxy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg.SendProxy
}

// isHTTP2 reports whether the backends speak HTTP/2.
func (p *Pool) isHTTP2() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg.Protocol == ProtocolHTTP2
}

// Name returns the pool's name.
func (p *Pool) Name() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg.Name
}

// Set changes the pool's configuration. The slices of cfg belong to the pool from then on. Backends are
// identified by their addresses: those that stay keep their sessions, counters and health. Sessions on
// backends that are removed continue. After an error nothing has changed.
func (p *Pool) Set(cfg Config) error {
	set, err := p.Prepare(cfg)
	if err == nil {
		set()
	}
	return err
}

// Prepare is the part of Set that may fail, so that several pools can be changed together or not at
// all. set does the rest; if the pool has been closed in between, it does nothing.
func (p *Pool) Prepare(cfg Config) (set func(), err error) {
	if err := cfg.firstProblem(); err != nil {
		return nil, err
	}
	signer, err := newSigner(&cfg)
	if err != nil {
		return nil, fmt.Errorf("pool %s: %w", cfg.Name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed {
		return nil, errors.New("pool is closed")
	}
	return func() { p.set(&cfg, signer) }, nil
}

func (p *Pool) set(cfg *Config, signer *signer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed {
		return
	}
	if cfg.Health.Kind == "" {
		for _, b := range p.byID {
			b.probes = probeState{}
		}
	}
	if cfg.Ejection.isOff() {
		for _, b := range p.byID {
			b.ejection.isOut = false
		}
	}
	p.cfg, p.signer = cfg, signer
	p.forgetNames()
	p.updateBackends(time.Now())
	p.refreshSources()
}

// firstProblem returns the first problem that Check reports, or nil.
func (c *Config) firstProblem() error {
	var first error
	c.Check(func(key, problem string, got any, want string) {
		if first == nil {
			first = fmt.Errorf("pool %s: %s: %s, got %v (want %s)", c.Name, key, problem, got, want)
		}
	})
	return first
}
