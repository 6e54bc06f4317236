package driver

import (
	"io"
	"sync"
	"time"

	"sluice/proxy/relay"
)

// A pair is one session of the goroutine driver.
type pair struct {
	driver *Goroutine
	config *relay.Config
	owner  Owner
	port   [2]*port

	mu   sync.Mutex
	cond sync.Cond // something below has changed

	// Guarded by mu.
	core      relay.Session
	rare      *rare
	totals    relay.Totals
	timer     *time.Timer
	isWriting [2]bool // flush is at work for the side: whoever has something for it puts it into the queue
	inFlight  [2]int  // bytes that flush holds outside the queue
	isTorn    [2]bool // a part of what goes to the side was lost, by a panic
	users     int     // goroutines that are at work on the pair; 0: it is over
}

// lock takes the session, with a wire to work on it, which is at held until unlock.
func (p *pair) lock(held **wire) *wire {
	w := p.driver.wires.Get().(*wire)
	*held = w
	p.relock(w)
	return w
}

func (p *pair) relock(w *wire) {
	p.mu.Lock()
	w.locks = true
	w.env = relay.Env{Config: p.config, Totals: &p.totals, Now: p.driver.clock.now()}
	w.ahead = p.inFlight
}

// unlock ends lock; acts are done besides those that the core asks for.
func (p *pair) unlock(held **wire, acts relay.Acts) {
	w := *held
	p.release(w, acts)
	*held = nil
	p.driver.wires.Put(w)
}

// release does what the core asks for, and acts besides, and opens the lock; what may block is done without it.
func (p *pair) release(w *wire, acts relay.Acts) {
	ops := acts | p.act(w)
	if ops&relay.ActTimer != 0 && !p.core.IsOver() {
		p.timer.Reset(time.Until(p.driver.clock.at(p.core.Deadline(&w.env))))
	}
	w.tidy(&p.rare)
	p.cond.Broadcast()
	w.locks = false
	p.mu.Unlock()
	for side := relay.Client; side <= relay.Backend; side++ {
		if ops.Reset(side) || ops.Close(side) {
			p.port[side].close(ops.Reset(side))
		}
	}
	if ops&relay.ActShut != 0 {
		p.port[relay.Client].shut()
	}
}

// act queues what the gateway has to say and returns what is to be done to the connections.
func (p *pair) act(w *wire) (ops relay.Acts) {
	for {
		p.send(w, relay.Client)
		p.send(w, relay.Backend)
		a := p.core.Take()
		if a == 0 {
			return ops
		}
		ops |= a
		for side := relay.Client; side <= relay.Backend; side++ {
			if a.Own(side) {
				w.own(&p.core, p.rare, side)
			}
			if a.Unacked(side) {
				p.core.Unacked(&w.env, side, p.port[side].unacked())
			}
			if a.Close(side) || a.Reset(side) {
				p.discard(w, side)
				p.core.Resume(&w.env, side.Other())
			}
		}
	}
}

// send writes the batch for a side, behind what waits; what the side doesn't take at once waits too, for a goroutine of its own.
func (p *pair) send(w *wire, to relay.Side) {
	b := &w.out[to]
	if b.n == 0 {
		return
	}
	defer b.reset()
	if !p.core.IsWritable(to) {
		return
	}
	spans, n := b.spans, 0
	if !p.isWriting[to] {
		var err error
		if spans, n, err = p.port[to].tryWrite(spans); err != nil {
			p.writeFailed(w, to)
			return
		}
	}
	if left := b.n - n; left > 0 {
		q := &w.rareOf(&p.rare).queue[to]
		for _, s := range spans {
			q.append(p.driver.pools, s)
		}
		p.driver.queued.Add(int64(left))
		if !p.isWriting[to] {
			p.isWriting[to] = true
			p.users++
			go p.flush(to)
		}
	}
	p.core.Sent(&w.env, to, n, p.waiting(to))
	if p.waiting(to) > highMark {
		p.core.Pause(to.Other())
	}
}

// waiting returns how many bytes haven't entered the kernel yet.
func (p *pair) waiting(to relay.Side) int {
	n := p.inFlight[to]
	if p.rare != nil {
		n += p.rare.queue[to].n
	}
	return n
}

// discard throws a side's queue away.
func (p *pair) discard(w *wire, to relay.Side) {
	p.driver.queued.Add(-int64(w.discard(p.rare, to)))
}

// relay reads one side to its end and writes what passes to the other.
func (p *pair) relay(from relay.Side, early []byte) {
	defer p.leave()
	var held *wire
	defer p.rescue(&held, nil)
	if len(early) > 0 {
		w := p.lock(&held)
		w.receive(&p.core, &p.rare, from, early)
		p.unlock(&held, 0)
	}
	for p.waitForReading(from) {
		l := p.port[from].readSome(p.driver.pools)
		w := p.lock(&held)
		if l.n > 0 {
			p.received(w, from, &l)
		}
		if l.err == io.EOF {
			p.core.Ended(&w.env, from)
		} else if l.err != nil {
			p.core.Lost(&w.env, from)
		}
		p.unlock(&held, 0)
		l.giveBack(p.driver.pools)
	}
}

// waitForReading waits until a side's bytes are wanted; false: they never will be.
func (p *pair) waitForReading(side relay.Side) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.core.Reads(side) && !p.core.IsGone(side) {
		p.cond.Wait()
	}
	return !p.core.IsGone(side)
}

// received takes the bytes that were read.
func (p *pair) received(w *wire, from relay.Side, l *lent) {
	if p.core.IsLingering(from) {
		p.core.Discarded(from, l.n)
		return
	}
	k := 0
	if p.rare != nil {
		k = int(p.rare.carry[from].n)
	}
	carried(p.rare, from, l.bytes(k))
	w.receive(&p.core, &p.rare, from, l.bytes(k))
}

// flush writes a side's queue until nothing is left, or the side takes nothing any more.
func (p *pair) flush(to relay.Side) {
	defer p.leave()
	var held *wire
	defer p.rescue(&held, func() { p.stopWriting(to) })
	w := p.lock(&held)
	for p.rare != nil && p.rare.queue[to].n > 0 {
		q := p.rare.queue[to]
		p.rare.queue[to] = queue{}
		p.write(w, to, &q)
		q.drop(p.driver.pools, q.n)
	}
	p.isWriting[to] = false
	p.unlock(&held, 0)
}

// stopWriting gives up what flush holds for a side, of which a part is lost.
func (p *pair) stopWriting(to relay.Side) {
	p.driver.queued.Add(-int64(p.inFlight[to]))
	p.inFlight[to] = 0
	p.isWriting[to] = false
	p.isTorn[to] = true
}

// write writes a queue that was taken out of the session. The lock is open while it blocks.
func (p *pair) write(w *wire, to relay.Side, q *queue) {
	p.inFlight[to], w.ahead[to] = q.n, q.n
	for _, s := range q.slices(nil, len(q.chunks)) {
		for len(s) > 0 && p.core.IsWritable(to) {
			p.release(w, 0)
			n, err := p.port[to].writeSome(s)
			p.relock(w)
			s = s[n:]
			p.inFlight[to] -= n
			w.ahead[to] -= n
			p.driver.queued.Add(-int64(n))
			if err != nil {
				p.writeFailed(w, to)
				break
			}
			if p.core.IsWritable(to) {
				p.core.Sent(&w.env, to, n, p.waiting(to))
			}
			if p.waiting(to) < lowMark {
				p.core.Resume(&w.env, to.Other())
			}
		}
	}
	p.driver.queued.Add(-int64(p.inFlight[to]))
	p.inFlight[to], w.ahead[to] = 0, 0
}

// writeFailed notes that a side takes nothing any more.
func (p *pair) writeFailed(w *wire, to relay.Side) {
	p.core.WriteFailed(&w.env, to)
	p.discard(w, to)
	p.core.Resume(&w.env, to.Other())
}

// expire is the timer's.
func (p *pair) expire() {
	if !p.join() {
		return
	}
	defer p.leave()
	var held *wire
	defer p.rescue(&held, nil)
	w := p.lock(&held)
	p.core.Advance(&w.env)
	p.unlock(&held, relay.ActTimer)
}

// cut ends the session at once.
func (p *pair) cut() {
	defer p.leave()
	p.lose()
}

func (p *pair) lose() {
	var held *wire
	defer p.rescue(&held, nil)
	w := p.lock(&held)
	p.core.Lost(&w.env, relay.Client)
	p.core.Lost(&w.env, relay.Backend)
	p.unlock(&held, 0)
}

// join makes a goroutine one of the pair's, so that the owner isn't told of the end while it still has a connection to close;
// false: the session is over.
func (p *pair) join() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users == 0 {
		return false
	}
	p.users++
	return true
}

// leave ends one of the pair's goroutines; the last one tells the owner.
func (p *pair) leave() {
	p.mu.Lock()
	p.users--
	isLast := p.users == 0
	p.mu.Unlock()
	if !isLast {
		return
	}
	p.timer.Stop()
	p.driver.remove(p)
	p.driver.panics.Guard(room, func() { p.owner.SessionEnded(resultOf(&p.core)) })
	p.driver.told()
}

// closeBoth implements reacher. It closes no connection, which is for the pair's own goroutines.
func (p *pair) closeBoth(_ *Handle, code uint16, reason relay.Reason) {
	var held *wire
	defer p.rescue(&held, nil)
	w := p.lock(&held)
	p.core.CloseBoth(&w.env, code, reason)
	p.unlock(&held, 0)
}

// stats implements reacher.
func (p *pair) stats(*Handle) (Stats, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := statsOf(&p.core, p.rare, p.driver.clock.now())
	for side := range st.Queued {
		st.Queued[side] += p.inFlight[side]
	}
	return st, !p.core.IsOver()
}
