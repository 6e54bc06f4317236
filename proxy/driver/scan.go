package driver

import (
	"sluice/internal/recovery"
	"sluice/proxy/relay"
)

// A batch is what is to be written to a side after what waits in its queue.
type batch struct {
	spans [][]byte
	n     int    // bytes
	own   []byte // where frames of the gateway's own are built, and records of TLS; spans point into it
	due   int    // bytes that the transport has to say itself
}

// pass puts bytes, of which there are some, at the end. Bytes that follow the last span in memory become a part of it: a flood of pongs
// is one span.
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
	b.spans, b.n, b.own, b.due = b.spans[:0], 0, b.own[:0], 0
}

// receive processes bytes that a side sent: p, which begins with what carried returned. Afterwards the batches hold slices of p.
func (e *engine) receive(s *session, from relay.Side, p []byte) {
	if *s.pending != nil {
		(*s.pending).carry[from].n = 0
	}
	if s.core.Discards(from) {
		s.core.Discarded(&e.env, from, len(p))
		return
	}
	recovery.Provoke("session", p)
	to := from.Other()
	for {
		pass, skip, step := s.core.Scan(&e.env, from, p)
		if pass > 0 {
			e.out[to].pass(p[:pass])
		}
		frame := p[pass : pass+skip]
		p = p[pass+skip:]
		switch step {
		case relay.More:
			if len(p) > 0 {
				e.acquirePending(s).carry[from].set(p)
			}
			return
		case relay.Again:
		case relay.Pong:
			e.pong(s, from, frame)
		case relay.Mirror:
			e.out[to].pass(frame)
			s.core.Mirrored(from, frame, e.ahead(s, to))
			e.pong(s, from, frame)
		case relay.Own:
			e.own(s, to)
		case relay.End:
			if len(p) > 0 {
				panic("BUG: Scan has ended a side before the end of its bytes")
			}
			return
		default:
			panic("BUG: no such step")
		}
	}
}

// carried returns the part of a frame of a side that came before. It stands in front of the bytes that are received next.
func (e *engine) carried(s *session, from relay.Side) []byte {
	if *s.pending == nil || s.core.Discards(from) {
		return nil
	}
	c := &(*s.pending).carry[from]
	return c.b[:c.n]
}

// ahead returns how many bytes are in front of what is put into a batch now.
func (e *engine) ahead(s *session, to relay.Side) int {
	return (*s.pending).waiting(to) + e.out[to].n
}

// pong answers a ping: in the stream if that is at a boundary, else later.
func (e *engine) pong(s *session, to relay.Side, ping []byte) {
	if !s.core.AtBoundary(to) {
		p := e.acquirePending(s)
		before := len(p.held[to])
		p.held[to] = s.core.AppendPong(p.held[to], to, ping)
		s.core.PongHeld(to, len(p.held[to])-before)
		return
	}
	b := &e.out[to]
	start := len(b.own)
	b.own = s.core.AppendPong(b.own, to, ping)
	b.pass(b.own[start:])
	s.core.PongQueued(to, len(b.own)-start, e.ahead(s, to))
}

// own puts frames of the gateway's own that wait for a side into its stream, if that is at a boundary.
func (e *engine) own(s *session, to relay.Side) {
	if !s.core.AtBoundary(to) {
		return
	}
	b := &e.out[to]
	if p := *s.pending; p != nil && len(p.held[to]) > 0 {
		start := len(b.own)
		b.own = append(b.own, p.held[to]...)
		p.held[to] = nil
		b.pass(b.own[start:])
		s.core.PongQueued(to, 0, e.ahead(s, to))
	}
	start := len(b.own)
	b.own = s.core.AppendOwn(&e.env, to, b.own, e.ahead(s, to))
	if len(b.own) > start {
		b.pass(b.own[start:])
	}
}
