package balancer

import (
	"slices"
	"strings"
	"time"
)

// A BackendStatus is what there is to know of a backend at one moment: plain values, for the admin
// API and the metrics.
type BackendStatus struct {
	Backend     *Backend // whom it is about
	Name        string
	Network     string // "tcp" or "unix"
	Address     string // what is dialed
	TLS         bool
	State       State
	Weight      int
	Warmth      float64 // the part of its weight that a slow start gives it; else 1
	Backup      bool
	Sessions    int64
	MaxSessions int64 // 0: no limit
	Surplus     int64 // sessions that a rebalance would close now
	// EjectedUntil is when an ejection ends, or ended; zero: it never was ejected.
	EjectedUntil time.Time
	// Failures counts them by reason, those that never happened included.
	Failures map[string]uint64
	// What its sessions have moved, less those that still live.
	ToBackend, ToClient Traffic
}

// Status returns the members in the order of the definition, and behind them those that have gone
// and still hold sessions.
func (p *Pool) Status() []BackendStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	backends := slices.Clone(p.members)
	var gone []*Backend
	for _, b := range p.known {
		if b.isGone && b.Sessions() > 0 {
			gone = append(gone, b)
		}
	}
	slices.SortFunc(gone, func(a, b *Backend) int { return strings.Compare(a.Name(), b.Name()) })

	surplus := make(map[*Backend]int64)
	settled := p.settled()
	for i, n := range surplusOf(loadsOf(settled), float64(p.cfg.Rebalance.Tolerance)/100) {
		surplus[settled[i]] = n
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
		Backup:       b.member.backup,
		Sessions:     b.Sessions(),
		MaxSessions:  b.member.maxSessions,
		EjectedUntil: b.ejection.until,
		Failures:     make(map[string]uint64, reasonCount),
		ToBackend:    b.toBackend.sum(),
		ToClient:     b.toClient.sum(),
	}
	for r := range reasonCount {
		status.Failures[r.String()] = b.failures[r].Load()
	}
	return status
}
