package balancer

import (
	"strconv"
	"time"

	"go.uber.org/zap"
)

// A State is what a backend is to its pool. The higher one hides the lower ones:
//
//	Gone        not in the definition, or not in DNS, any more
//	Draining    Drain until Undrain
//	Down        `fall` probes failed until `rise` succeed
//	Ejected     traffic failed, until its time is over
//	Warming     joined or came back less than slow_start ago
//	Up
//
// Warming and Up are available. Joining is what a backend comes from.
type State int32

const (
	Joining State = iota
	Up
	Warming
	Ejected
	Down
	Draining
	Gone
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
	default:
		panic("BUG: state " + strconv.Itoa(int(s)))
	}
}

// IsAvailable reports whether new sessions go to a backend in that state.
func (s State) IsAvailable() bool { return s == Up || s == Warming }

// derive returns the state that follows from what is known of b. The caller holds pool.mu.
func (b *Backend) derive(now time.Time) State {
	switch {
	case b.isGone:
		return Gone
	case b.isDraining:
		return Draining
	case b.probes.isDown:
		return Down
	case b.ejection.until.After(now):
		return Ejected
	case now.Sub(b.warmsSince) < b.pool.cfg.SlowStart.Std():
		return Warming
	default:
		return Up
	}
}

// settle is the one place that changes a backend's state and tells it: after something that is
// known of b has changed, by cause or by the clock. The caller holds pool.mu and rebuilds the
// snapshot afterwards if the pool is stale.
func (p *Pool) settle(b *Backend, now time.Time, cause error) {
	from, to := b.State(), b.derive(now)
	if to.IsAvailable() && !from.IsAvailable() && p.cfg.SlowStart > 0 && (from != Joining || p.isLive) {
		b.warmsSince = now
		to = b.derive(now)
	}
	if from == to {
		return
	}
	b.state.Store(int32(to))
	p.isStale = true
	fields := []zap.Field{zap.String("pool", p.cfg.Name), zap.String("backend", b.Name()), zap.Stringer("from", from)}
	if cause != nil {
		fields = append(fields, zap.Error(cause))
	}
	switch to {
	case Up:
		// A member that was there from the start, or whose slow start is over, is no news.
		if from == Warming || from == Joining && !p.isLive {
			p.log.Debug("backend up", fields...)
			return
		}
		p.log.Info("backend up", fields...)
	case Warming:
		p.log.Info("backend in slow start", append(fields, zap.Duration("for", p.cfg.SlowStart.Std()))...)
	case Ejected:
		p.log.Warn("backend ejected", append(fields, zap.Duration("for", b.ejection.until.Sub(now)))...)
	case Down:
		p.log.Warn("backend down", fields...)
	case Draining:
		p.log.Info("backend draining", fields...)
	case Gone:
		p.log.Info("backend gone", append(fields, zap.Int64("sessions", b.Sessions()))...)
	case Joining:
		panic("BUG: a backend does not begin anew")
	default:
		panic("BUG: state " + strconv.Itoa(int(to)))
	}
}
