package balancer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

var (
	// ErrNone means that no backend is available that was not tried. The client gets 503, or the result
	// of the last attempt.
	ErrNone = errors.New("no backend is available")
	// ErrFull means that every available backend holds its maximum of sessions. The error is a
	// *FullError.
	ErrFull = errors.New("every backend is full")
	// ErrWait means that Pick would wait for a place.
	ErrWait = errors.New("every backend is full, a place may come free")
)

// A FullError is an ErrFull with the Retry-After of the client's 503.
type FullError struct {
	RetryAfter time.Duration
	IsShare    bool // the queue has places, and the client's address has its share of them
}

func (e *FullError) Error() string {
	return fmt.Sprintf("%v, come back in %v", ErrFull, e.RetryAfter)
}

// Is reports whether target is ErrFull.
func (e *FullError) Is(target error) bool { return target == ErrFull }

// A Pick is a place of a backend, which its holder must release exactly once.
type Pick struct {
	Backend *Backend
	// SetCookie is the value of the Set-Cookie field for the 101. Empty means no such field.
	SetCookie string
	// LeavesTime reports whether another backend may be tried after a time-out of this one. The attempt may
	// then take half of the time that is left.
	LeavesTime bool
}

// Pick acquires a place of a backend for r. The caller gives it back with Backend.Release, exactly once.
// tried are the backends that this handshake has used before; they are not chosen again. The error is
// ErrNone, ErrFull, or that of ctx. Pick blocks only if every backend is full, the pool has a
// queue_timeout and tried is empty: the time limit of a retry's handshake is already running.
func (p *Pool) Pick(ctx context.Context, r *Request, tried []*Backend) (Pick, error) {
	pick, s, err := p.attempt(r, tried, nil)
	if errors.Is(err, ErrFull) && s.queueTimeout > 0 && len(tried) == 0 {
		return p.wait(ctx, r, s)
	}
	return pick, err
}

// TryPick is the Pick of a handshake that has tried no backend yet. It never blocks: ErrWait means that
// Pick would.
func (p *Pool) TryPick(r *Request) (Pick, error) {
	pick, s, err := p.attempt(r, nil, nil)
	if errors.Is(err, ErrFull) && s.queueTimeout > 0 {
		return Pick{}, ErrWait
	}
	return pick, err
}

// PickAgain acquires a place of a backend for a client that has to stay with it. isPicked is false if the
// backend takes no new session now.
func (p *Pool) PickAgain(b *Backend) (pick Pick, isPicked bool) {
	p.picks.Lock()
	defer p.picks.Unlock()
	if b.candidates == nil || !b.State().IsAvailable() || !b.candidates.canAccept(b.index, nil) {
		return Pick{}, false
	}
	b.acquirePlace()
	return Pick{Backend: b}, true
}

// attempt picks from the current snapshot, which it returns, without waiting. w is the waiter whose turn
// it is; nil: the caller has not waited.
func (p *Pool) attempt(r *Request, tried []*Backend, w *waiter) (Pick, *snapshot, error) {
	for {
		s := p.snapshot.Load()
		if pick, isCurrent, err := p.attemptFrom(s, s.key(*r), tried, w); isCurrent {
			return pick, s, err
		}
	}
}

// attemptFrom picks from s. If s was swapped while the key was computed, its order by load is no longer
// kept, and isCurrent is false.
func (p *Pool) attemptFrom(s *snapshot, k key, tried []*Backend, w *waiter) (pick Pick, isCurrent bool, err error) {
	p.picks.Lock()
	defer p.picks.Unlock()
	if p.snapshot.Load() != s {
		return Pick{}, false, nil
	}
	if w == nil && len(tried) == 0 && p.queue.waiters.Len() > 0 {
		return Pick{}, true, s.errFull
	}
	pick, err = p.choose(s, k, tried)
	return pick, true, err
}

// choose calls the policy level by level. The panic level is for when no available backend is left, not
// for when they are full. The caller holds picks.
func (p *Pool) choose(s *snapshot, k key, tried []*Backend) (Pick, error) {
	for level, cs := range s.levels {
		if level == levelPanic && (s.levels[levelPrimary].isAnyFull(tried) || s.levels[levelBackup].isAnyFull(tried)) {
			return Pick{}, s.errFull
		}
		if cs == nil {
			continue
		}
		if i := s.policy(p, cs, k, tried); i >= 0 {
			pick := Pick{Backend: cs.backends[i], SetCookie: s.setCookie(cs, i, k), LeavesTime: s.leavesTime(len(tried) + 1)}
			pick.Backend.acquirePlace()
			return pick, nil
		}
	}
	if s.levels[levelPanic].isAnyFull(tried) {
		return Pick{}, s.errFull
	}
	return Pick{}, ErrNone
}

// leavesTime reports whether a time-out is retried, and another backend may be left for a handshake that has
// tried this many.
func (s *snapshot) leavesTime(tried int) bool {
	count := 0
	for _, cs := range s.levels {
		if cs != nil {
			count += len(cs.backends)
		}
	}
	return s.mayRetry(HandshakeTimeout, tried) && tried < count
}

// MayRetry reports whether a handshake with this outcome is tried on another backend; tried is how many
// backends it has used. A bad answer is not retried: it is a mistake of the backend's program, and the
// other backends run the same program.
func (p *Pool) MayRetry(o Outcome, tried int) bool { return p.snapshot.Load().mayRetry(o, tried) }

func (s *snapshot) mayRetry(o Outcome, tried int) bool {
	return tried <= s.retries && slices.Contains(s.retried, o)
}

// retried returns the outcomes after which another backend is tried.
func (c *Config) retried() (outcomes []Outcome) {
	for _, failure := range c.RetryOn {
		switch failure {
		case RetryConnect:
			outcomes = append(outcomes, GatewayFault, NoStream, DialFailed, NameFailed, NoSocket, TLSFailed, Refused, DialTimeout)
		case RetryReset:
			outcomes = append(outcomes, HandshakeReset)
		case RetryTimeout:
			outcomes = append(outcomes, HandshakeTimeout)
		default:
			panic("BUG: unchecked failure " + failure)
		}
	}
	for _, status := range c.RetryStatuses {
		outcomes = append(outcomes, Outcome(status))
	}
	return outcomes
}
