package driver

import (
	"runtime/debug"

	"sluice/proxy/relay"
)

// rescue is deferred by the goroutines of a session. A panic of one of them aborts the session; if that panics too, the session is cut.
// held is where the goroutine stores the engine with which it may have locked the session. rescue calls giveUp, which may be nil, under
// the lock.
func (g *goroutineSession) rescue(held **borrowedEngine, giveUp func()) {
	h := g.driver.panics
	if h == nil {
		return
	}
	cause := recover()
	if cause == nil {
		return
	}
	h(room, cause, debug.Stack())
	if !h.Guard(room, func() { g.abort(held, giveUp) }) {
		h.Guard(room, func() { g.kill(held) })
	}
}

// abort ends the session with a close to each side that can still receive one.
func (g *goroutineSession) abort(held **borrowedEngine, giveUp func()) {
	e := g.lockAgain(held)
	if giveUp != nil {
		giveUp()
	}
	for side, isTorn := range e.dropBatches() {
		g.isTorn[side] = g.isTorn[side] || isTorn
	}
	if g.core.IsAborted() {
		g.kill(held)
		return
	}
	g.core.Abort(&e.env, g.isTorn)
	g.unlock(held, relay.ActTimer)
}

// kill ends the session without a word, and without trusting its state.
func (g *goroutineSession) kill(held **borrowedEngine) {
	e := g.lockAgain(held)
	g.core.Kill()
	s := g.session()
	e.discard(&s, relay.Client)
	e.discard(&s, relay.Backend)
	g.cond.Broadcast()
	e.isLocking = false
	g.mu.Unlock()
	for _, c := range g.conn {
		c.cut()
	}
}

// lockAgain is lock for a goroutine that may hold the lock.
func (g *goroutineSession) lockAgain(held **borrowedEngine) *borrowedEngine {
	if e := *held; e != nil && e.isLocking {
		return e
	}
	return g.lock(held)
}
