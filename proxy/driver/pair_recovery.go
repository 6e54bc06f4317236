package driver

import (
	"runtime/debug"

	"sluice/proxy/relay"
)

// rescue is deferred by the goroutines of a pair. A panic of one of them aborts the session; if that panics too, the session is cut.
// held is where the goroutine keeps the wire with which it may have locked the session. giveUp is called under the lock; it may be nil.
func (p *pair) rescue(held **wire, giveUp func()) {
	h := p.driver.panics
	if h == nil {
		return
	}
	cause := recover()
	if cause == nil {
		return
	}
	h(room, cause, debug.Stack())
	if !h.Guard(room, func() { p.abort(held, giveUp) }) {
		h.Guard(room, func() { p.kill(held) })
	}
}

// abort ends the session with what its peers can be told.
func (p *pair) abort(held **wire, giveUp func()) {
	w := p.lockAgain(held)
	if giveUp != nil {
		giveUp()
	}
	for side := range w.out {
		p.isTorn[side] = p.isTorn[side] || w.out[side].n > 0
		w.out[side].reset()
	}
	if p.core.Verdict().Reason == relay.ReasonInternal {
		p.kill(held) // it was aborted before
		return
	}
	p.core.Abort(&w.env, p.isTorn)
	p.unlock(held, relay.ActTimer)
}

// kill ends the session without a word, and without trusting its state.
func (p *pair) kill(held **wire) {
	w := p.lockAgain(held)
	p.core.Kill()
	p.discard(w, relay.Client)
	p.discard(w, relay.Backend)
	p.cond.Broadcast()
	w.locks = false
	p.mu.Unlock()
	for _, c := range p.port {
		c.close(true)
	}
}

// lockAgain is lock for a goroutine that may have the lock.
func (p *pair) lockAgain(held **wire) *wire {
	if w := *held; w != nil && w.locks {
		return w
	}
	return p.lock(held)
}
