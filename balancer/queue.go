package balancer

import (
	"container/list"
	"context"
	"errors"
	"time"
)

// A queue is the handshakes that wait for a place, first come, first served. Guarded by the pool's
// picks. Only its head tries to pick; when it leaves, the next one is woken, for there may be more
// than one place.
type queue struct {
	waiters list.List // of *waiter
}

// A waiter is one handshake that waits. The channel has room for one signal, so none is lost.
type waiter struct {
	wake    chan struct{}
	element *list.Element
}

// wake tells the head that there may be a place.
func (q *queue) wake() {
	if head := q.waiters.Front(); head != nil {
		select {
		case head.Value.(*waiter).wake <- struct{}{}:
		default:
		}
	}
}

// join returns a new waiter at the end, or nil if limit wait already.
func (q *queue) join(limit int) *waiter {
	if q.waiters.Len() >= limit {
		return nil
	}
	w := &waiter{wake: make(chan struct{}, 1)}
	w.element = q.waiters.PushBack(w)
	// A place that was freed between the pick that found none and now has woken nobody.
	q.wake()
	return w
}

func (q *queue) leave(w *waiter) {
	q.waiters.Remove(w.element)
	q.wake()
}

// wait waits for a place of any backend, as long as the pool allows and until ctx ends.
func (p *Pool) wait(ctx context.Context, r *Request, s *snapshot) (Pick, error) {
	w := p.join(s.queueLimit)
	if w == nil {
		return Pick{}, s.errFull
	}
	defer p.leave(w)
	timer := time.NewTimer(s.queueTimeout)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return Pick{}, ctx.Err()
		case <-timer.C:
			return Pick{}, s.errFull
		case <-w.wake:
			if pick, _, err := p.attempt(r, nil, w); !errors.Is(err, ErrFull) {
				return pick, err
			}
		}
	}
}

func (p *Pool) join(limit int) *waiter {
	p.picks.Lock()
	defer p.picks.Unlock()
	return p.queue.join(limit)
}

func (p *Pool) leave(w *waiter) {
	p.picks.Lock()
	defer p.picks.Unlock()
	p.queue.leave(w)
}
