package driver

import "sluice/proxy/relay"

// rare is what a session needs only while bytes of it are on their way: nil for an idle one. Owned by its driver goroutine. One that
// goes back to the pool is assigned its zero value (tidy), and so is what the next session borrows.
type rare struct {
	pipe  [2]*pipe  // payload in front of the queue, by the side that receives; nil: none. Only loop.move puts one here
	queue [2]queue  // by the side that receives
	carry [2]carry  // by the side that sends
	held  [2][]byte // pongs that wait for a boundary, by the side that receives
}

// carry is the part of a header or control frame that has come.
type carry struct {
	n uint8
	b [relay.MaxCarry]byte
}

// A pipe holds payload that a loop moves without looking at it. A loop's own; a session has one while something is in it.
type pipe struct {
	read, write int // descriptors
	n           int // bytes
}

// waiting returns how many bytes wait for a side.
func (r *rare) waiting(to relay.Side) int {
	if r == nil {
		return 0
	}
	if p := r.pipe[to]; p != nil {
		return p.n + r.queue[to].n
	}
	return r.queue[to].n
}

func (r *rare) isEmpty() bool {
	return r.pipe[0] == nil && r.pipe[1] == nil && r.queue[0].n+r.queue[1].n+int(r.carry[0].n)+int(r.carry[1].n)+len(r.held[0])+len(r.held[1]) == 0
}

// A wire turns bytes that arrived into what is to be written to each side. A loop has one for all its sessions, a goroutine
// borrows one for a while; between two sessions it is empty: a handling ends only when each batch was sent or queued, and reset.
type wire struct {
	env   relay.Env
	pools *pools
	out   [2]batch // by the side that receives
	ahead [2]int   // bytes that wait for the side in front of its queue
	locks bool     // a pair, for which a goroutine has borrowed it
}

// A batch is what is to be written to a side behind what waits in its queue.
type batch struct {
	spans [][]byte
	n     int    // bytes
	own   []byte // where frames of the gateway's own are built; spans point into it
}

// pass puts bytes, of which there are some, at the end. What lies behind the last span in memory becomes a part of it: a flood of
// pongs is one span.
func (b *batch) pass(p []byte) {
	b.n += len(p)
	if last := len(b.spans) - 1; last >= 0 {
		s := b.spans[last]
		if n := len(s) + len(p); n <= cap(s) && &s[:n][len(s)] == &p[0] {
			b.spans[last] = s[:n]
			return
		}
	}
	b.spans = append(b.spans, p)
}

func (b *batch) reset() {
	clear(b.spans)
	b.spans, b.n, b.own = b.spans[:0], 0, b.own[:0]
}

// rareOf returns a session's rare state, borrowing one if it has none.
func (w *wire) rareOf(rp **rare) *rare {
	if *rp == nil {
		*rp = w.pools.rares.Get().(*rare)
	}
	return *rp
}

// tidy gives the rare state back if nothing is in it.
func (w *wire) tidy(rp **rare) {
	if *rp != nil && (*rp).isEmpty() {
		**rp = rare{}
		w.pools.rares.Put(*rp)
		*rp = nil
	}
}

// discard throws away what waits for a side.
func (w *wire) discard(r *rare, to relay.Side) (n int) {
	if r == nil {
		return 0
	}
	n = r.queue[to].n
	if n > 0 {
		r.queue[to].drop(w.pools, n)
	}
	r.held[to] = nil
	return n
}

// carried copies the part of a frame that came before to the start of buf: the next bytes are read behind it.
func carried(r *rare, from relay.Side, buf []byte) int {
	if r == nil {
		return 0
	}
	return copy(buf, r.carry[from].b[:r.carry[from].n])
}

// receive takes what a side sent: p, which begins with what carried gave. Afterwards out holds slices of p.
func (w *wire) receive(s *relay.Session, rp **rare, from relay.Side, p []byte) {
	if *rp != nil {
		(*rp).carry[from].n = 0
	}
	to := from.Other()
	for {
		pass, skip, step := s.Scan(&w.env, from, p)
		if pass > 0 {
			w.out[to].pass(p[:pass])
		}
		frame := p[pass : pass+skip]
		p = p[pass+skip:]
		switch step {
		case relay.More:
			if len(p) > 0 {
				c := &w.rareOf(rp).carry[from]
				c.n = uint8(copy(c.b[:], p))
			}
			return
		case relay.Again:
		case relay.Pong:
			w.pong(s, rp, from, frame)
		case relay.Own:
			w.own(s, *rp, to)
		case relay.End:
			return
		default:
			panic("BUG: no such step")
		}
	}
}

// queued returns how many bytes are in front of what is put into the batch now.
func (w *wire) queued(r *rare, to relay.Side) int {
	return w.ahead[to] + w.out[to].n + r.waiting(to)
}

// pong answers a ping, in the stream if that is at a boundary, else later.
func (w *wire) pong(s *relay.Session, rp **rare, to relay.Side, ping []byte) {
	if !s.AtBoundary(to) {
		r := w.rareOf(rp)
		before := len(r.held[to])
		r.held[to] = s.AppendPong(r.held[to], to, ping)
		s.PongHeld(to, len(r.held[to])-before)
		return
	}
	b := &w.out[to]
	start := len(b.own)
	b.own = s.AppendPong(b.own, to, ping)
	n := len(b.own) - start
	b.pass(b.own[start:])
	s.PongQueued(to, n, w.queued(*rp, to))
}

// own puts frames of the gateway's own, which wait for a side, into its stream, if that is at a boundary.
func (w *wire) own(s *relay.Session, r *rare, to relay.Side) {
	if !s.AtBoundary(to) {
		return
	}
	b := &w.out[to]
	if r != nil && len(r.held[to]) > 0 {
		start := len(b.own)
		b.own = append(b.own, r.held[to]...)
		r.held[to] = nil
		b.pass(b.own[start:])
		s.PongQueued(to, 0, w.queued(r, to))
	}
	start := len(b.own)
	b.own = s.AppendOwn(&w.env, to, b.own, w.queued(r, to))
	if len(b.own) > start {
		b.pass(b.own[start:])
	}
}
