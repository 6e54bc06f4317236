package balancer

import (
	"container/list"
	"context"
	"errors"
	"time"

	"sluice/internal/share"
)

// A queue is the handshakes that wait for a place, first in, first out. Guarded by the pool's picks. Only
// its head tries to pick. When the head leaves, the next one is woken, since more than one place may be
// free. Each client address has a share of the queue.
type queue struct {
	waiters list.List           // of *waiter
	of      map[share.Key]int64 // how many wait, by address
}

// A waiter is one handshake that waits. Its channel has room for one signal, so that none is lost.
type waiter struct {
	wake    chan struct{}
	element *list.Element
	of      share.Key
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

// queueWeight is that of package share: one address may have a half of a queue.
const queueWeight = 1

// push adds a waiter at the end. The error is why the address may have none.
func (q *queue) push(of share.Key, s *snapshot) (*waiter, error) {
	free := int64(s.queueLimit - q.waiters.Len())
	switch isKnown := (of != share.Key{}); {
	case free <= 0:
		return nil, s.errFull
	case isKnown && !share.Allows(q.of[of], free, queueWeight):
		return nil, s.errShare
	case q.of == nil:
		q.of = map[share.Key]int64{}
	}
	w := &waiter{wake: make(chan struct{}, 1), of: of}
	w.element = q.waiters.PushBack(w)
	q.of[of]++
	// A place may have been released after the pick that found none, when the queue was empty.
	q.wake()
	return w, nil
}

func (q *queue) remove(w *waiter) {
	q.waiters.Remove(w.element)
	if q.of[w.of]--; q.of[w.of] == 0 {
		delete(q.of, w.of)
	}
	q.wake()
}

// wait waits for a place of any backend until the pool's queue_timeout or the end of ctx.
func (p *Pool) wait(ctx context.Context, r *Request, s *snapshot) (Pick, error) {
	w, err := p.enqueue(share.KeyOf(r.Client), s)
	if err != nil {
		return Pick{}, err
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

func (p *Pool) enqueue(of share.Key, s *snapshot) (*waiter, error) {
	p.picks.Lock()
	defer p.picks.Unlock()
	return p.queue.push(of, s)
}

func (p *Pool) dequeue(w *waiter) {
	p.picks.Lock()
	defer p.picks.Unlock()
	p.queue.remove(w)
}
