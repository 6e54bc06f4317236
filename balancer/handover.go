package balancer

import (
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

// What another process of the gateway needs to go on with a pool: how its backends are, and places for the sessions that it takes over.
// Times are in nanoseconds, and relative to the moment at which the state was read. What another process says is checked as if a stranger
// had said it.

// An Identity identifies a backend to another process.
type Identity struct {
	Name       string `cbor:"1,keyasint,omitempty"`
	Network    string `cbor:"2,keyasint,omitempty"` // "tcp" or "unix"
	Address    string `cbor:"3,keyasint,omitempty"` // to dial: "host:port" or a path
	HasTLS     bool   `cbor:"4,keyasint,omitempty"`
	ServerName string `cbor:"5,keyasint,omitempty"` // of the certificate; empty without TLS
}

// Identity returns what identifies the backend to another process.
func (b *Backend) Identity() Identity {
	a := b.address
	return Identity{Name: a.text, Network: a.network, Address: a.dial, HasTLS: a.tls, ServerName: a.serverName}
}

// maxIdentity bounds each text of an Identity, in bytes.
const maxIdentity = 1024

// parse returns the address that i identifies.
func (i *Identity) parse() (address, error) {
	for _, text := range []string{i.Name, i.Address, i.ServerName} {
		if len(text) > maxIdentity || !utf8.ValidString(text) {
			return address{}, errors.New("not a backend: a text that is too long, or not UTF-8")
		}
	}
	switch {
	case i.Name == "" || i.Address == "":
		return address{}, errors.New("not a backend: no address")
	case i.Network != "tcp" && i.Network != "unix":
		return address{}, errors.New("not a backend: neither tcp nor unix")
	case i.HasTLS && i.Network != "tcp" || !i.HasTLS && i.ServerName != "":
		return address{}, errors.New("not a backend: TLS")
	}
	return address{text: i.Name, network: i.Network, dial: i.Address, tls: i.HasTLS, serverName: i.ServerName}, nil
}

// A PoolState is what another process needs of a pool.
type PoolState struct {
	Name     string         `cbor:"1,keyasint,omitempty"`
	Backends []BackendState `cbor:"2,keyasint,omitempty"` // without those that have gone
	Found    []FoundState   `cbor:"3,keyasint,omitempty"`
}

// A BackendState is what another process needs of a backend.
type BackendState struct {
	Backend Identity `cbor:"1,keyasint,omitempty"`

	IsDraining bool  `cbor:"2,keyasint,omitempty"` // from Drain to Undrain
	DrainLeft  int64 `cbor:"3,keyasint,omitempty"` // until its last session is to be closed

	IsEjected    bool  `cbor:"4,keyasint,omitempty"`
	EjectionLeft int64 `cbor:"5,keyasint,omitempty"` // until its next trial; negative: since the last ejection ended, or a trial was due
	Ejections    int64 `cbor:"6,keyasint,omitempty"` // consecutive ones; 0: it was never ejected

	IsDown        bool  `cbor:"7,keyasint,omitempty"` // by its probes
	IsProbed      bool  `cbor:"8,keyasint,omitempty"` // one probe at least has a result
	ProbesAgainst int64 `cbor:"9,keyasint,omitempty"` // consecutive probes whose result contradicts IsDown

	WarmFor int64 `cbor:"10,keyasint,omitempty"` // since its slow start began; 0: it is in none

	Failures    int64 `cbor:"11,keyasint,omitempty"` // consecutive ones of handshakes
	FailuresAge int64 `cbor:"12,keyasint,omitempty"` // since the first of them
	Losses      int64 `cbor:"13,keyasint,omitempty"` // consecutive ones of sessions
	LossesAge   int64 `cbor:"14,keyasint,omitempty"`

	HasAnswered bool `cbor:"15,keyasint,omitempty"`
}

// A FoundState is what the source of a name has found last.
type FoundState struct {
	Text     string         `cbor:"1,keyasint,omitempty"` // the configured address
	Backends []FoundBackend `cbor:"2,keyasint,omitempty"`
}

// A FoundBackend is a backend that a source has found.
type FoundBackend struct {
	Backend Identity `cbor:"1,keyasint,omitempty"`
	Weight  int64    `cbor:"2,keyasint,omitempty"` // 0: the configured one
	Backup  bool     `cbor:"3,keyasint,omitempty"`
}

// HandOver returns what another process needs of the pool. It does not block.
func (p *Pool) HandOver() PoolState {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	state := PoolState{Name: p.cfg.Name}
	for _, b := range p.backends {
		state.Backends = append(state.Backends, b.handOver(now))
	}
	for text, d := range p.found {
		found := FoundState{Text: text}
		for _, s := range d.specs {
			b := Backend{address: s.address}
			found.Backends = append(found.Backends, FoundBackend{Backend: b.Identity(), Weight: int64(s.weight), Backup: s.backup})
		}
		state.Found = append(state.Found, found)
	}
	return state
}

// handOver returns what another process needs of b. The caller holds pool.mu.
func (b *Backend) handOver(now time.Time) BackendState {
	e := &b.ejection
	state := BackendState{
		Backend:       b.Identity(),
		IsDraining:    b.isDraining,
		IsEjected:     e.isOut,
		Ejections:     int64(e.consecutive),
		IsDown:        b.probes.isDown,
		IsProbed:      b.probes.hasResult,
		ProbesAgainst: int64(b.probes.consecutive),
		HasAnswered:   b.hasAnswered.Load(),
	}
	if d := b.pool.drains[b]; d != nil {
		state.DrainLeft = int64(max(0, d.until.Sub(now)))
	}
	if e.consecutive > 0 {
		state.EjectionLeft = int64(e.until.Sub(now))
	}
	if b.State() == Warming {
		state.WarmFor = max(1, int64(now.Sub(b.warmsSince)))
	}
	if n := b.consecutiveFailures.Load(); n > 0 {
		state.Failures, state.FailuresAge = n, int64(now.Sub(e.failuresSince))
	}
	if n := b.consecutiveLosses.Load(); n > 0 {
		state.Losses, state.LossesAge = n, int64(now.Sub(e.lossesSince))
	}
	return state
}

// TakeOver goes on with what another process knows of the pool of that name. A backend that only the configuration has joins the pool, and
// what the configuration does not have, or has turned off, is skipped. What a name's source has found in this process already is newer. It is
// called before the first Pick, and does not block.
func (p *Pool) TakeOver(state *PoolState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed {
		return
	}
	now := time.Now()
	for i := range state.Found {
		p.takeOverFound(&state.Found[i])
	}
	p.updateBackends(now)
	isKnown := map[*Backend]bool{}
	for i := range state.Backends {
		s := &state.Backends[i]
		a, err := s.Backend.parse()
		if err != nil {
			continue
		}
		if b := p.byID[a.id()]; b != nil && !b.isGone {
			isKnown[b] = true
			b.takeOver(s, now)
		}
	}
	for _, b := range p.backends {
		if !isKnown[b] && len(isKnown) > 0 && p.cfg.SlowStart > 0 {
			b.warmsSince = now
		}
		p.updateState(b, now, "")
	}
	p.isStale = true // a slow start's share is not part of a state
	p.applyChanges(now)
}

// takeOverFound goes on with what the source of a name has found, if it has found nothing here yet. The caller holds mu.
func (p *Pool) takeOverFound(found *FoundState) {
	if _, isListed := p.names()[found.Text]; !isListed {
		return
	}
	specs, err := found.specs()
	if err != nil {
		return
	}
	d := p.found[found.Text]
	if d == nil {
		d = new(discovered)
		p.found[found.Text] = d
	}
	if len(d.specs) == 0 {
		d.specs = specs
	}
}

// specs returns what the source has found.
func (f *FoundState) specs() ([]spec, error) {
	if len(f.Backends) > maxDiscovered {
		return nil, fmt.Errorf("%d addresses (want at most %d)", len(f.Backends), maxDiscovered)
	}
	specs := make([]spec, len(f.Backends))
	for i := range f.Backends {
		b := &f.Backends[i]
		a, err := b.Backend.parse()
		if err != nil {
			return nil, err
		}
		if b.Weight < 0 || b.Weight > MaxWeight {
			return nil, fmt.Errorf("weight %d", b.Weight)
		}
		specs[i] = spec{address: a, weight: int(b.Weight), backup: b.Backup}
	}
	return specs, nil
}

// takeOver goes on with what another process knows of b. The caller holds pool.mu, and calls updateState after it.
func (b *Backend) takeOver(s *BackendState, now time.Time) {
	c := b.pool.cfg
	if b.isDraining = s.IsDraining; b.isDraining {
		b.pool.drains[b] = &drain{until: now.Add(time.Duration(clamp(s.DrainLeft, 0, math.MaxInt64))), last: now}
	}
	e := &b.ejection
	if s.Ejections > 0 && !c.Ejection.isOff() {
		longest := int64(max(c.Ejection.BaseTime.Std(), c.Ejection.MaxTime.Std()))
		e.isOut = s.IsEjected
		e.consecutive = int(clamp(s.Ejections, 1, math.MaxInt16))
		e.until = now.Add(time.Duration(clamp(s.EjectionLeft, -longest-1, longest)))
	}
	if c.Health.Kind != "" {
		limit := c.Health.Fall
		if s.IsDown {
			limit = c.Health.Rise
		}
		b.probes = probeState{isDown: s.IsDown, hasResult: s.IsProbed || s.IsDown, consecutive: int(clamp(s.ProbesAgainst, 0, int64(limit-1)))}
	}
	if s.WarmFor > 0 {
		b.warmsSince = ago(now, s.WarmFor)
	}
	b.consecutiveFailures.Store(clamp(s.Failures, 0, int64(max(0, c.Ejection.Failures-1))))
	e.failuresSince = ago(now, s.FailuresAge)
	b.consecutiveLosses.Store(clamp(s.Losses, 0, int64(max(0, c.Ejection.Lost-1))))
	e.lossesSince = ago(now, s.LossesAge)
	b.hasAnswered.Store(s.HasAnswered)
}

func clamp(n, least, most int64) int64 { return max(least, min(n, most)) }

// ago returns the time that was so many nanoseconds before now, and now for one that is to come.
func ago(now time.Time, ns int64) time.Time { return now.Add(-time.Duration(max(0, ns))) }

// Occupy acquires a place of a backend for a session that another process has picked it for, whatever the backend's state and limit. A
// backend that the pool does not have is one that has gone. The caller gives the place back with Backend.Release, exactly once. It does not
// block.
func (p *Pool) Occupy(i Identity) (*Backend, error) {
	a, err := i.parse()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed {
		return nil, errors.New("pool is closed")
	}
	b := p.byID[a.id()]
	if b == nil {
		b = newBackend(p, spec{address: a, weight: 1})
		b.isGone = true
		p.byID[a.id()] = b
		p.updateState(b, time.Now(), "")
		p.applyChanges(time.Now())
	}
	b.occupyPlace()
	return b, nil
}

func (b *Backend) occupyPlace() {
	p := b.pool
	p.picks.Lock()
	defer p.picks.Unlock()
	b.sessions.Add(1)
	if b.candidates != nil {
		b.candidates.total++
		b.candidates.update(b.index)
	}
}
