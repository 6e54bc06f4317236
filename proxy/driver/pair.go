package driver

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"sluice/proxy/relay"
)

// Goroutine is the driver that works with any net.Conn on any OS: two goroutines a session, each reading one side and writing what
// passes to the other; a third for a moment when a side has to be written to by one that may not block on it.
type Goroutine struct {
	clock  clock
	pools  *pools
	queued atomic.Int64
	wires  sync.Pool // *wire

	mu sync.Mutex

	// Guarded by mu.
	totals   relay.Totals // of sessions that are over
	pairs    map[*pair]struct{}
	live     int // pairs whose owners haven't been told of the end
	isClosed bool
	idle     chan struct{} // closed when isClosed and nothing is live
}

// NewGoroutine returns a driver without sessions.
func NewGoroutine() *Goroutine {
	d := &Goroutine{clock: newClock(), pools: newPools(), pairs: map[*pair]struct{}{}, idle: make(chan struct{})}
	d.wires.New = func() any { return &wire{pools: d.pools} }
	return d
}

// Relay implements Driver.
func (d *Goroutine) Relay(params Params, client, backend net.Conn) {
	p := &pair{
		driver: d,
		config: params.Config,
		owner:  params.Owner,
		port:   [2]*port{newPort(client, d.pools), newPort(backend, d.pools)},
		users:  2,
	}
	p.cond.L = &p.mu
	params.Handle.in = p
	w := p.lock()
	p.core.Begin(&w.env, params.HasDeflate)
	p.timer = time.AfterFunc(d.clock.at(p.core.Deadline(&w.env)).Sub(time.Now()), p.expire)
	p.unlock(w)
	if !d.add(p) {
		p.lose()
		p.timer.Stop()
		p.owner.SessionEnded(resultOf(&p.core))
		return
	}
	for side := relay.Client; side <= relay.Backend; side++ {
		go p.relay(side, append([]byte(nil), params.Early[side]...))
	}
}

// add notes a new pair; false: the driver is closed.
func (d *Goroutine) add(p *pair) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isClosed {
		return false
	}
	d.pairs[p] = struct{}{}
	d.live++
	return true
}

// Totals implements Driver.
func (d *Goroutine) Totals() relay.Totals {
	d.mu.Lock()
	defer d.mu.Unlock()
	sum := d.totals
	for p := range d.pairs {
		p.mu.Lock()
		sum.Add(&p.totals)
		p.mu.Unlock()
	}
	return sum
}

// QueuedBytes implements Driver.
func (d *Goroutine) QueuedBytes() int64 { return d.queued.Load() }

// Close implements Driver.
func (d *Goroutine) Close(ctx context.Context) error {
	d.mu.Lock()
	if !d.isClosed {
		d.isClosed = true
		if d.live == 0 {
			close(d.idle)
		}
	}
	for p := range d.pairs {
		if p.join() {
			go p.cut()
		}
	}
	d.mu.Unlock()
	select {
	case <-d.idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// remove forgets a pair that is over.
func (d *Goroutine) remove(p *pair) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.totals.Add(&p.totals)
	delete(d.pairs, p)
}

// told notes that a pair's owner knows of its end.
func (d *Goroutine) told() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live--
	if d.isClosed && d.live == 0 {
		close(d.idle)
	}
}

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
	isWriting [2]bool // somebody writes to the side: whoever else has something for it puts it into the queue
	inFlight  [2]int  // bytes that the writer holds outside the queue
	users     int     // goroutines that are at work on the pair; 0: it is over
}

// lock takes the session, with a wire to work on it.
func (p *pair) lock() *wire {
	w := p.driver.wires.Get().(*wire)
	p.relock(w)
	return w
}

func (p *pair) relock(w *wire) {
	p.mu.Lock()
	w.env = relay.Env{Config: p.config, Totals: &p.totals, Now: p.driver.clock.now()}
	w.ahead = p.inFlight
}

// unlock ends lock.
func (p *pair) unlock(w *wire) {
	p.release(w, 0)
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
		p.enqueue(w, relay.Client)
		p.enqueue(w, relay.Backend)
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
			}
		}
	}
}

// enqueue puts what is in the batch for a side into its queue, and has it written by somebody.
func (p *pair) enqueue(w *wire, to relay.Side) {
	b := &w.out[to]
	if b.n == 0 {
		return
	}
	if p.core.IsWritable(to) {
		q := &w.rareOf(&p.rare).queue[to]
		for _, s := range b.spans {
			q.append(p.driver.pools, s)
		}
		p.driver.queued.Add(int64(b.n))
		p.core.Sent(&w.env, to, 0, p.waiting(to))
		if p.waiting(to) > highMark {
			p.core.Pause(to.Other())
		}
		if !p.isWriting[to] {
			p.isWriting[to] = true
			p.users++
			go p.flush(to)
		}
	}
	b.reset()
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
	if len(early) > 0 {
		w := p.lock()
		w.receive(&p.core, &p.rare, from, early)
		p.unlock(w)
	}
	for p.waitForReading(from) {
		l := p.port[from].readSome(p.driver.pools)
		w := p.lock()
		if l.n > 0 {
			p.received(w, from, &l)
		}
		if l.err == io.EOF {
			p.core.Ended(&w.env, from)
		} else if l.err != nil {
			p.core.Lost(&w.env, from)
		}
		p.unlock(w)
		if l.buf != nil {
			p.driver.pools.buffers.Put(l.buf)
		}
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

// received takes the bytes that were read. What passes is written from the buffer that it was read into, unless something waits
// in front of it; for that time the lock is open.
func (p *pair) received(w *wire, from relay.Side, l *lent) {
	if p.core.IsLingering(from) {
		p.core.Discarded(from, l.n)
		return
	}
	k := 0
	if p.rare != nil {
		k = int(p.rare.carry[from].n)
		copy(l.bytes(k), p.rare.carry[from].b[:k])
	}
	w.receive(&p.core, &p.rare, from, l.bytes(k))
	to := from.Other()
	if w.out[to].n == 0 || p.isWriting[to] || !p.core.IsWritable(to) {
		return
	}
	spans := append([][]byte(nil), w.out[to].spans...)
	n := w.out[to].n
	own := w.out[to].own
	w.out[to].own = nil // the spans may point into it
	w.out[to].reset()
	p.isWriting[to] = true
	p.core.Pause(from)
	p.driver.queued.Add(int64(n))
	p.write(w, to, spans, n)
	p.writeQueue(w, to)
	w.out[to].own = own
}

// flush writes a side's queue until it is empty.
func (p *pair) flush(to relay.Side) {
	defer p.leave()
	w := p.lock()
	p.writeQueue(w, to)
	p.unlock(w)
}

// writeQueue ends the time of whoever has set isWriting: it writes the queue until nothing is left.
func (p *pair) writeQueue(w *wire, to relay.Side) {
	for p.rare != nil && p.rare.queue[to].n > 0 {
		q := p.rare.queue[to]
		p.rare.queue[to] = queue{}
		n := q.n
		p.write(w, to, q.slices(nil, len(q.chunks)), n)
		q.drop(p.driver.pools, n)
	}
	p.isWriting[to] = false
}

// write writes slices of n bytes in all, counted in QueuedBytes, until the side takes nothing any more. The lock is open while it
// blocks.
func (p *pair) write(w *wire, to relay.Side, slices [][]byte, n int) {
	p.inFlight[to], w.ahead[to] = n, n
	p.core.Sent(&w.env, to, 0, p.waiting(to))
	for _, s := range slices {
		for len(s) > 0 && p.core.IsWritable(to) {
			p.release(w, 0)
			k, err := p.port[to].writeSome(s)
			p.relock(w)
			s = s[k:]
			p.inFlight[to] -= k
			w.ahead[to] -= k
			p.driver.queued.Add(-int64(k))
			if err != nil {
				p.core.WriteFailed(&w.env, to)
				p.discard(w, to)
				break
			}
			if p.core.IsWritable(to) {
				p.core.Sent(&w.env, to, k, p.waiting(to))
			}
			if p.waiting(to) < lowMark {
				p.core.Resume(&w.env, to.Other())
			}
		}
	}
	p.driver.queued.Add(-int64(p.inFlight[to]))
	p.inFlight[to], w.ahead[to] = 0, 0
	if p.waiting(to) < lowMark {
		p.core.Resume(&w.env, to.Other())
	}
}

// expire is the timer's.
func (p *pair) expire() {
	if !p.join() {
		return
	}
	defer p.leave()
	w := p.lock()
	p.core.Advance(&w.env)
	p.release(w, relay.ActTimer)
	p.driver.wires.Put(w)
}

// cut ends the session at once.
func (p *pair) cut() {
	defer p.leave()
	p.lose()
}

func (p *pair) lose() {
	w := p.lock()
	p.core.Lost(&w.env, relay.Client)
	p.core.Lost(&w.env, relay.Backend)
	p.unlock(w)
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
	p.owner.SessionEnded(resultOf(&p.core))
	p.driver.told()
}

// closeBoth implements reacher. It closes no connection: the frame is sent by one of the pair's goroutines.
func (p *pair) closeBoth(_ *Handle, code uint16, reason relay.Reason) {
	w := p.lock()
	p.core.CloseBoth(&w.env, code, reason)
	p.unlock(w)
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
