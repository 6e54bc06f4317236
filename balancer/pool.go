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

	// picks guards who holds how many sessions. It is held for a few comparisons only; where both
	// locks are taken, mu is first.
	picks     sync.Mutex
	pickCount uint64
	queue     queue
	random    func() uint64 // immutable, safe for concurrent use

	// mu guards what is known of the members, and what follows from it.
	mu       sync.Mutex
	cfg      *Config                // immutable
	signer   *signer                // nil: no sticky cookies
	members  []*Backend             // in the order of the definition
	known    map[string]*Backend    // members and those gone with sessions left, by address.id
	found    map[string]*discovered // for names, by the address's text
	isLive   bool                   // the first members are in: a further one joins
	isStale  bool                   // a state changed since the snapshot was built
	isOut    bool                   // no member is available
	isClosed bool
	drains   map[*Backend]*drain
	keeper   keeper
}

// New returns a pool of cfg, which must be as the configuration's loader leaves it: defaults set
// and checked; the first problem is the error. Until Run its members are as they were configured,
// and names whose backends discovery is to find have none.
func New(cfg Config, log *zap.Logger) (*Pool, error) {
	p := &Pool{
		log:    log.Named("balancer"),
		random: rand.Uint64,
		known:  make(map[string]*Backend),
		found:  make(map[string]*discovered),
		drains: make(map[*Backend]*drain),
		keeper: newKeeper(),
	}
	if err := p.Set(cfg); err != nil {
		return nil, err
	}
	return p, nil
}

// SendsProxy reports whether a connection to a backend begins with a PROXY header.
func (p *Pool) SendsProxy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg.SendProxy
}

// Name returns the pool's name.
func (p *Pool) Name() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg.Name
}

// Set changes the pool's definition; what cfg refers to is the pool's from then on. Backends are
// known by their addresses: those that stay keep their sessions, counters and health. Sessions on
// backends that go live on. On an error nothing has changed.
func (p *Pool) Set(cfg Config) error {
	set, err := p.Prepare(cfg)
	if err == nil {
		set()
	}
	return err
}

// Prepare is the part of Set that may fail, so that several pools can be changed together or not at
// all: set is the rest. On a pool that has been closed meanwhile it does nothing.
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
		for _, b := range p.known {
			b.probes = probeRecord{}
		}
	}
	p.cfg, p.signer = cfg, signer
	p.forgetNames()
	p.define(time.Now())
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
