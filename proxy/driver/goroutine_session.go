package driver

import (
	"sync"
	"time"

	"sluice/proxy/relay"
)

// A goroutineSession is one session of the goroutine driver.
type goroutineSession struct {
	driver *Goroutine
	config *relay.Config
	owner  Owner
	conn   [2]*goroutineConn

	mu   sync.Mutex
	cond sync.Cond // something below has changed

	// Guarded by mu.
	core      relay.Session
	pending   *pending
	totals    relay.Totals
	timer     *time.Timer
	isWriting [2]bool // a goroutine writes the side's queue
	isTorn    [2]bool // a panic lost a part of what goes to the side
	users     int     // goroutines that work on the session; 0: it is over
}

// A borrowedEngine is an engine with which a goroutine works on its session. Owned by that goroutine.
type borrowedEngine struct {
	engine
	isLocking bool // the goroutine holds the session's lock
}

// session returns what an engine works on. The caller holds the lock.
func (g *goroutineSession) session() session {
	return session{core: &g.core, pending: &g.pending, transport: [2]transport{g.conn[0], g.conn[1]}}
}

// lock locks the session and returns an engine to work on it, which it also stores at held until unlock.
func (g *goroutineSession) lock(held **borrowedEngine) *borrowedEngine {
	e := g.driver.engines.Get().(*borrowedEngine)
	*held = e
	g.relock(e)
	return e
}

func (g *goroutineSession) relock(e *borrowedEngine) {
	g.mu.Lock()
	e.isLocking = true
	e.env = relay.Env{Config: g.config, Totals: &g.totals, Now: g.driver.clock.now()}
}

// unlock ends lock. It does acts in addition to those that the core asks for.
func (g *goroutineSession) unlock(held **borrowedEngine, acts relay.Acts) {
	e := *held
	g.openLock(e, acts)
	*held = nil
	g.driver.engines.Put(e)
}

// openLock does what the core asks for, and acts, and opens the lock. What may block is done without the lock.
func (g *goroutineSession) openLock(e *borrowedEngine, acts relay.Acts) {
	s := g.session()
	acts |= e.settle(&s)
	if acts&relay.ActTimer != 0 && !g.core.IsOver() {
		g.timer.Reset(time.Until(g.driver.clock.at(g.core.Deadline(&e.env))))
	}
	g.startWriting()
	g.cond.Broadcast()
	e.isLocking = false
	g.mu.Unlock()
	s.finish(acts)
}

// startWriting starts a goroutine for each side for which bytes wait. The caller holds the lock.
func (g *goroutineSession) startWriting() {
	for side := relay.Client; side <= relay.Backend; side++ {
		if g.pending != nil && g.pending.queue[side].n > 0 && !g.isWriting[side] {
			g.isWriting[side] = true
			g.users++
			go g.writeQueue(side)
		}
	}
}

// relay reads one side until its end, and sends what passes to the other side.
func (g *goroutineSession) relay(from relay.Side, early []byte) {
	defer g.release()
	for !g.readToEnd(from, early) {
		early = nil // a panic has aborted the session; the side may have to linger
	}
}

// readToEnd is relay, and reports whether it came to the side's end. It returns false after a panic.
func (g *goroutineSession) readToEnd(from relay.Side, early []byte) (isEnd bool) {
	var held *borrowedEngine
	defer g.rescue(&held, nil)
	if len(early) > 0 {
		e, s := g.lock(&held), g.session()
		e.receive(&s, from, early)
		g.unlock(&held, 0)
	}
	for g.waitForReading(from) {
		l := g.conn[from].read(g.driver.pools)
		e, s := g.lock(&held), g.session()
		if l.n > 0 {
			carried := e.carried(&s, from)
			p := l.bytes(len(carried))
			copy(p, carried)
			e.receive(&s, from, p)
		}
		if g.conn[from].isFlooded(e.env.Now) {
			l.err = errKeyUpdates
		}
		e.readFailed(&s, from, l.err)
		g.unlock(&held, 0)
		l.release(g.driver.pools)
	}
	return true
}

// waitForReading waits until a side is to be read. It returns false if the side is never to be read again.
func (g *goroutineSession) waitForReading(side relay.Side) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for !g.core.Reads(side) && !g.core.IsGone(side) {
		g.cond.Wait()
	}
	return !g.core.IsGone(side)
}

// writeQueue writes a side's queue until nothing is left, or the side accepts nothing any more.
func (g *goroutineSession) writeQueue(to relay.Side) {
	defer g.release()
	var held *borrowedEngine
	defer g.rescue(&held, func() { g.stopWriting(to) })
	e := g.lock(&held)
	for g.pending != nil && g.pending.queue[to].n > 0 {
		q := g.pending.queue[to]
		g.pending.queue[to] = queue{}
		g.write(e, to, &q)
		q.drop(g.driver.pools, q.n)
	}
	g.isWriting[to] = false
	g.unlock(&held, 0)
}

// stopWriting drops what writeQueue holds for a side after a panic: a part of it is lost.
func (g *goroutineSession) stopWriting(to relay.Side) {
	if g.pending != nil {
		g.driver.queued.Add(-int64(g.pending.inFlight[to]))
		g.pending.inFlight[to] = 0
	}
	g.isWriting[to] = false
	g.isTorn[to] = true
}

// write writes a queue that was taken out of the session. The lock is open while it blocks.
func (g *goroutineSession) write(e *borrowedEngine, to relay.Side, q *queue) {
	s, p := g.session(), g.pending // which isn't empty up to the end
	p.inFlight[to] = q.n
	for _, span := range q.slices(nil, len(q.chunks)) {
		for len(span) > 0 && g.core.IsWritable(to) {
			g.openLock(e, 0)
			n, err := g.conn[to].write(span)
			g.relock(e)
			span = span[n:]
			p.inFlight[to] -= n
			if err != nil {
				g.driver.queued.Add(-int64(n))
				e.writeFailed(&s, to)
				break
			}
			e.accepted(&s, to, n)
		}
	}
	g.driver.queued.Add(-int64(p.inFlight[to]))
	p.inFlight[to] = 0
}

// expire is called by the timer.
func (g *goroutineSession) expire() {
	if !g.acquire() {
		return
	}
	defer g.release()
	var held *borrowedEngine
	defer g.rescue(&held, nil)
	e := g.lock(&held)
	g.core.Advance(&e.env)
	g.unlock(&held, relay.ActTimer)
}

// cut ends the session at once.
func (g *goroutineSession) cut() {
	defer g.release()
	g.leave()
	g.lose()
}

// lastWords is how long leave waits until what it has queued is written.
const lastWords = 250 * time.Millisecond

// leave tells each side of a session that is ending what it would have been told later.
func (g *goroutineSession) leave() {
	var held *borrowedEngine
	defer g.rescue(&held, nil)
	e := g.lock(&held)
	g.core.Leave(&e.env)
	g.unlock(&held, 0)
	end := time.Now().Add(lastWords)
	timer := time.AfterFunc(lastWords, g.cond.Broadcast)
	defer timer.Stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	for (g.isWriting[relay.Client] || g.isWriting[relay.Backend]) && time.Now().Before(end) {
		g.cond.Wait()
	}
}

func (g *goroutineSession) lose() {
	var held *borrowedEngine
	defer g.rescue(&held, nil)
	e := g.lock(&held)
	g.core.Lost(&e.env, relay.Client)
	g.core.Lost(&e.env, relay.Backend)
	g.unlock(&held, 0)
}

// acquire counts the calling goroutine as one that works on the session. SessionEnded isn't called before all of them have called
// release. false: the session is over.
func (g *goroutineSession) acquire() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.users == 0 {
		return false
	}
	g.users++
	return true
}

// release ends acquire. The last goroutine calls SessionEnded.
func (g *goroutineSession) release() {
	g.mu.Lock()
	g.users--
	isLast := g.users == 0
	g.mu.Unlock()
	if !isLast {
		return
	}
	g.timer.Stop()
	g.driver.remove(g)
	g.driver.panics.Guard(room, func() { g.owner.SessionEnded(resultOf(&g.core)) })
	g.driver.ended()
}

// closeBoth implements controller. It closes no connection itself: only the session's own goroutines do.
func (g *goroutineSession) closeBoth(_ *Handle, code uint16, reason relay.Reason) {
	var held *borrowedEngine
	defer g.rescue(&held, nil)
	e := g.lock(&held)
	g.core.CloseBoth(&e.env, code, reason)
	g.unlock(&held, 0)
}

// stats implements controller.
func (g *goroutineSession) stats(*Handle) (Stats, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return statsOf(&g.core, g.pending, g.driver.clock.now()), !g.core.IsOver()
}
