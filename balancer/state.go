package balancer

import (
	"strconv"
	"time"

	"go.uber.org/zap"
)

// A State is the state of a backend in its pool. Where several apply, the first one of this list counts:
//
//	Gone        no longer configured, or no longer found by its source
//	Draining    from Drain to Undrain
//	Down        after `fall` failed probes, until `rise` succeed
//	Ejected     its traffic failed, until a trial after the time of the ejection succeeds
//	Warming     it joined or came back less than slow_start ago
//	Up
//
// Warming and Up are available. Joining is the state before the first of these. A BackendStatus has
// Unprobed in place of Up as long as nothing is known of the backend: no probe, no answer, no failure.
type State int32

const (
	Joining State = iota
	Up
	Warming
	Ejected
	Down
	Draining
	Gone
	Unprobed
)

// String returns the state as the admin API spells it.
func (s State) String() string {
	switch s {
	case Joining:
		return "joining"
	case Up:
		return "up"
	case Warming:
		return "slow_start"
	case Ejected:
		return "ejected"
	case Down:
		return "down"
	case Draining:
		return "draining"
	case Gone:
		return "gone"
	case Unprobed:
		return "unprobed"
	default:
		panic("BUG: state " + strconv.Itoa(int(s)))
	}
}

// IsAvailable reports whether a backend in that state gets new sessions.
func (s State) IsAvailable() bool { return s == Up || s == Warming || s == Unprobed }

// derive returns the state that follows from the fields of b. The caller holds pool.mu.
func (b *Backend) derive(now time.Time) State {
	switch {
	case b.isGone:
		return Gone
	case b.isDraining:
		return Draining
	case b.probes.isDown:
		return Down
	case b.ejection.isOut:
		return Ejected
	case now.Sub(b.warmsSince) < b.pool.cfg.SlowStart.Std():
		return Warming
	default:
		return Up
	}
}

// updateState derives the state of b and logs a change. It is the only place that sets a state, and is
// called after a field that the state depends on has changed, with the cause if there is one, or as time
// passes. The caller holds pool.mu, and calls applyChanges after it.
func (p *Pool) updateState(b *Backend, now time.Time, cause string) {
	from, to := b.State(), b.derive(now)
	if to.IsAvailable() && !from.IsAvailable() && p.cfg.SlowStart > 0 && (from != Joining || p.isPopulated) {
		b.warmsSince = now
		to = b.derive(now)
	}
	if from == to {
		return
	}
	b.state.Store(int32(to))
	p.isStale = true
	fields := []zap.Field{zap.String("pool", p.cfg.Name), zap.String("backend", b.Name()), zap.Stringer("from", from)}
	if cause != "" {
		fields = append(fields, zap.String("error", cause))
	}
	switch to {
	case Up:
		// A backend of the start, or one whose slow start is over, is not worth a line at info.
		if from == Warming || from == Joining && !p.isPopulated {
			p.log.Debug("backend up", fields...)
			return
		}
		p.log.Info("backend up", fields...)
	case Warming:
		p.log.Info("backend in slow start", append(fields, zap.Duration("for", p.cfg.SlowStart.Std()))...)
	case Ejected:
		p.log.Warn("backend ejected", append(fields, zap.Duration("for", max(0, b.ejection.until.Sub(now))))...)
	case Down:
		p.log.Warn("backend down", fields...)
	case Draining:
		p.log.Info("backend draining", fields...)
	case Gone:
		p.log.Info("backend gone", append(fields, zap.Int64("sessions", b.Sessions()))...)
	case Joining, Unprobed:
		panic("BUG: a backend can't become " + to.String())
	default:
		panic("BUG: state " + strconv.Itoa(int(to)))
	}
}
