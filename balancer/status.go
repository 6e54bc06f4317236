package balancer

import (
	"slices"
	"strings"
	"time"
)

// A BackendStatus describes a backend at one moment, for the admin API and the metrics.
type BackendStatus struct {
	Backend     *Backend
	Name        string
	Network     string // "tcp" or "unix"
	Address     string // to dial: "host:port" or a path
	TLS         bool
	State       State
	Weight      int
	Warmth      float64 // the fraction of its weight that it has in a slow start; else 1
	Backup      bool
	Sessions    int64
	MaxSessions int64 // 0: no limit
	Surplus     int64 // sessions that a rebalance would close now
	// EjectedUntil is when the last ejection ends, or ended; zero: it was never ejected.
	EjectedUntil time.Time
	// Failures counts the failures by reason. It has every reason.
	Failures map[string]uint64
	// LastFailure is the last one; nil: there was none.
	LastFailure *Failure
	// ToBackend and ToClient are the traffic of the sessions that have ended.
	ToBackend, ToClient Traffic
}

// Status returns the backends in the order of the configuration, followed by those that have gone and
// still hold sessions. It does not block.
func (p *Pool) Status() []BackendStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	backends := slices.Clone(p.backends)
	var gone []*Backend
	for _, b := range p.byID {
		if b.isGone && b.Sessions() > 0 {
			gone = append(gone, b)
		}
	}
	slices.SortFunc(gone, func(a, b *Backend) int { return strings.Compare(a.Name(), b.Name()) })

	surplus := make(map[*Backend]int64)
	shared := p.rebalanceable()
	for i, n := range surplusOf(loadsOf(shared), float64(p.cfg.Rebalance.Tolerance)/100) {
		surplus[shared[i]] = n
	}
	var statuses []BackendStatus
	for _, b := range append(backends, gone...) {
		status := b.status(now)
		status.Surplus = surplus[b]
		statuses = append(statuses, status)
	}
	return statuses
}

func (b *Backend) status(now time.Time) BackendStatus {
	status := BackendStatus{
		Backend:      b,
		Name:         b.Name(),
		Network:      b.Network(),
		Address:      b.Address(),
		TLS:          b.address.tls,
		State:        b.State(),
		Weight:       b.Weight(),
		Warmth:       b.warmth(now),
		Backup:       b.spec.backup,
		Sessions:     b.Sessions(),
		MaxSessions:  b.spec.maxSessions,
		EjectedUntil: b.ejection.until,
		Failures:     make(map[string]uint64, reasonCount),
		LastFailure:  b.lastFailure(),
		ToBackend:    b.toBackend.sum(),
		ToClient:     b.toClient.sum(),
	}
	if status.State == Up && !b.isSeen() {
		status.State = Unprobed
	}
	for r := range reasonCount {
		status.Failures[r.String()] = b.failures[r].Load()
	}
	return status
}
