package balancer

import (
	"container/list"
	"context"
	"errors"
	"time"
)

// A queue is the handshakes that wait for a place, first in, first out. Guarded by the pool's picks. Only
// its head tries to pick. When the head leaves, the next one is woken, since more than one place may be
// free.
type queue struct {
	waiters list.List // of *waiter
}

// A waiter is one handshake that waits. Its channel has room for one signal, so that none is lost.
type waiter struct {
	wake    chan struct{}
	element *list.Element
}

// wake signals the head that a place may be free.
func (q *queue) wake() {
	if head := q.waiters.Front(); head != nil {
		select {
		case head.Value.(*waiter).wake <- struct{}{}:
		default:
		}
	}
}

// push returns a new waiter at the end, or nil if limit waiters are in the queue.
func (q *queue) push(limit int) *waiter {
	if q.waiters.Len() >= limit {
		return nil
	}
	w := &waiter{wake: make(chan struct{}, 1)}
	w.element = q.waiters.PushBack(w)
	// A place may have been released after the pick that found none, when the queue was empty.
	q.wake()
	return w
}

func (q *queue) remove(w *waiter) {
	q.waiters.Remove(w.element)
	q.wake()
}

// wait waits for a place of any backend until the pool's queue_timeout or the end of ctx.
func (p *Pool) wait(ctx context.Context, r *Request, s *snapshot) (Pick, error) {
	w := p.enqueue(s.queueLimit)
	if w == nil {
		return Pick{}, s.errFull
	}
	defer p.dequeue(w)
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

func (p *Pool) enqueue(limit int) *waiter {
	p.picks.Lock()
	defer p.picks.Unlock()
	return p.queue.push(limit)
}

func (p *Pool) dequeue(w *waiter) {
	p.picks.Lock()
	defer p.picks.Unlock()
	p.queue.remove(w)
}
