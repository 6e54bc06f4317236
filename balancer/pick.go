package balancer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

var (
	// ErrNone says that no backend is available that was not tried: 503, or what the last one that
	// was tried led to.
	ErrNone = errors.New("no backend is available")
	// ErrFull says that every available backend holds as many sessions as it may. The error is a
	// *FullError.
	ErrFull = errors.New("every backend is full")
	// ErrWait says that Pick would wait for a place.
	ErrWait = errors.New("every backend is full, a place may come free")
)

// A FullError is an ErrFull with what the client is told: 503 with Retry-After.
type FullError struct {
	RetryAfter time.Duration
}

func (e *FullError) Error() string {
	return fmt.Sprintf("%v, come back in %v", ErrFull, e.RetryAfter)
}

// Is makes a FullError an ErrFull to errors.Is.
func (e *FullError) Is(target error) bool { return target == ErrFull }

// A Pick is a place of a backend.
type Pick struct {
	Backend *Backend
	// SetCookie is the value of the Set-Cookie field that the 101 is to carry; empty: none.
	SetCookie string
	// HasNext reports whether, if this one fails, the handshake may be tried on another backend: then
	// it had better leave time for it.
	HasNext bool
}

// Pick takes a place of a backend for r; its caller gives it back with Release, once. Tried are the
// backends that this handshake has used before; they are not chosen again. The error is ErrNone,
// ErrFull, or that of ctx. Pick blocks only if every backend is full and the pool has a
// queue_timeout; a retry never waits, for its handshake's clock is running.
func (p *Pool) Pick(ctx context.Context, r *Request, tried []*Backend) (Pick, error) {
	pick, s, err := p.attempt(r, tried, nil)
	if errors.Is(err, ErrFull) && s.queueTimeout > 0 && len(tried) == 0 {
		return p.wait(ctx, r, s)
	}
	return pick, err
}

// TryPick is the Pick of a handshake that has tried no backend yet, and never waits: ErrWait tells that
// Pick would.
func (p *Pool) TryPick(r *Request) (Pick, error) {
	pick, s, err := p.attempt(r, nil, nil)
	if errors.Is(err, ErrFull) && s.queueTimeout > 0 {
		return Pick{}, ErrWait
	}
	return pick, err
}

// attempt picks from the snapshot of this moment, which it returns, without waiting. W is whose
// turn it is among those that wait; nil: the caller has not waited.
func (p *Pool) attempt(r *Request, tried []*Backend, w *waiter) (Pick, *snapshot, error) {
	for {
		s := p.snapshot.Load()
		if pick, isCurrent, err := p.attemptFrom(s, s.key(r), tried, w); isCurrent {
			return pick, s, err
		}
	}
}

// attemptFrom picks from s, unless that was swapped while the key was taken: then its order by load is kept no more.
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

// choose asks the policy, tier by tier. The rest is for when nobody available is left, not for when
// they are full. The caller holds picks.
func (p *Pool) choose(s *snapshot, k key, tried []*Backend) (Pick, error) {
	for i, t := range s.tiers {
		if i == tierRest && (s.tiers[tierPrimary].isFull(tried) || s.tiers[tierBackup].isFull(tried)) {
			return Pick{}, s.errFull
		}
		if t == nil {
			continue
		}
		if i := s.policy(p, t, k, tried); i >= 0 {
			pick := Pick{Backend: t.backends[i], SetCookie: s.setCookie(t, i, k), HasNext: s.hasNext(len(tried) + 1)}
			pick.Backend.take()
			return pick, nil
		}
	}
	if s.tiers[tierRest].isFull(tried) {
		return Pick{}, s.errFull
	}
	return Pick{}, ErrNone
}

// hasNext reports whether there may be a backend for a handshake that has tried so many.
func (s *snapshot) hasNext(tried int) bool {
	members := 0
	for _, t := range s.tiers {
		if t != nil {
			members += len(t.backends)
		}
	}
	return tried <= s.retries && tried < members
}

// MayRetry reports whether a handshake that ended as o says is tried on another backend; tried is how
// many have had their turn. A bad answer is passed on as what it is: it tells of a backend's program,
// and the next backend runs the same one.
func (p *Pool) MayRetry(o Outcome, tried int) bool {
	s := p.snapshot.Load()
	switch {
	case tried > s.retries:
		return false
	case o >= firstStatus:
		return slices.Contains(s.retryStatuses, int(o))
	}
	switch o {
	case GatewayFault, DialFailed, Refused, DialTimeout, HandshakeTimeout, HandshakeReset:
		return true
	default:
		return false
	}
}
