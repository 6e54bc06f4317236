package driver

import (
	"golang.org/x/sys/unix"

	"sluice/proxy/h2"
	"sluice/proxy/relay"
)

// A stream is a side of a slot that is a stream of a Mux, and the side's transport. It lies in slabs as hot does.
type stream struct {
	mux     *Mux
	h2      *h2.Stream
	owed    int32 // bytes that have come, and whose window the peer hasn't got back
	isBegun bool  // a final head was sent: the stream can be ended in order
}

// Owners of streams: the id of a slot and the bit of its side, as in an event, or one of these.
const (
	noOwner   = uint64(noID)         // it is ended; what still comes is refused
	lentOwner = uint64(noID) | 1<<63 // a goroutine has it
)

// addStream makes a stream a side of a slot.
func (l *loop) addStream(s slot, side relay.Side, m *Mux, of *h2.Stream) *stream {
	mm := l.mux
	if len(mm.free) == 0 {
		base := uint32(len(mm.streams) * slabSize)
		mm.streams = append(mm.streams, new([slabSize]stream))
		for i := uint32(slabSize); i > 0; i-- {
			mm.free = append(mm.free, base+i)
		}
	}
	last := len(mm.free) - 1
	s.stream[side] = mm.free[last]
	mm.free = mm.free[:last]
	st := l.stream(s, side)
	*st = stream{mux: m, h2: of}
	of.Owner = s.id() | uint64(side)<<63
	m.active++
	return st
}

// stream returns a side that is a stream.
func (l *loop) stream(s slot, side relay.Side) *stream {
	at := s.stream[side] - 1
	return &l.mux.streams[at/slabSize][at%slabSize]
}

// removeStream takes a stream from a side that has one, and gives it another owner.
func (l *loop) removeStream(s slot, side relay.Side, owner uint64) {
	index := s.stream[side]
	if index == 0 {
		return
	}
	st := l.stream(s, side)
	st.h2.Owner = owner
	if owner == noOwner {
		st.mux.released()
	}
	*st = stream{}
	s.stream[side] = 0
	l.mux.free = append(l.mux.free, index)
}

// released notes that a stream has no owner any more.
func (m *Mux) released() {
	m.active--
	if !m.isDirty { // so that the end of the turn settles the Mux
		m.isDirty = true
		m.loop.mux.dirty = append(m.loop.mux.dirty, m)
	}
}

// seal implements transport: bytes go as they are.
func (*stream) seal(*batch, bool) error { return nil }

// tryWrite implements transport: it accepts what both windows and the Mux have room for.
func (st *stream) tryWrite(spans [][]byte) (left [][]byte, n int, err error) {
	m := st.mux
	if !m.h2.CanSend(st.h2) || m.isShut {
		return spans, 0, unix.EPIPE
	}
	total := 0
	for _, p := range spans {
		total += len(p)
	}
	for n < total {
		if !m.hasRoom() {
			m.await(st.h2)
			break
		}
		k := min(m.h2.Sendable(st.h2), total-n, muxHigh-m.waiting())
		if k == 0 {
			break // until the peer gives more of the stream's window
		}
		m.append(m.h2.AppendData(m.scratch(), st.h2, k, false))
		m.sent += uint64(k)
		n += k
		spans = m.take(spans, k)
	}
	return spans, n, nil
}

// take has the first k bytes sent at the end of the turn, and returns what is left.
func (m *Mux) take(spans [][]byte, k int) (left [][]byte) {
	for k > 0 {
		p := spans[0]
		if len(p) > k {
			m.put(p[:k])
			spans[0] = p[k:]
			break
		}
		m.put(p)
		k -= len(p)
		spans = spans[1:]
	}
	return spans
}

// unacked implements transport. What the connection accepts at once counts as on its way: other streams' bytes are on the same way.
func (st *stream) unacked() int {
	m := st.mux
	if m.slot.pending.waiting(relay.Client) == 0 {
		return 0
	}
	return m.waiting() + unacked(int(m.slot.socket[relay.Client].fd))
}

// notify implements transport: a stream has nothing but its end.
func (*stream) notify() {}

// shut implements transport.
func (st *stream) shut() {
	if m := st.mux; m.h2.CanSend(st.h2) {
		m.append(m.h2.AppendData(m.scratch(), st.h2, 0, true))
	}
}

// close implements transport: the stream is ended in order where it has begun.
func (st *stream) close() {
	if !st.isBegun {
		st.cut()
		return
	}
	st.mux.close(st.h2)
}

// cut implements transport (RFC 8441 section 5: CANCEL is to a stream what a reset is to a connection of TCP).
func (st *stream) cut() {
	if m := st.mux; m.ending != 0 {
		m.close(st.h2) // the end of the connection tells the rest
		return
	}
	st.reset(h2.Cancel)
}

// close ends a stream in order. A peer that goes on sending is told that nobody reads it (RFC 9113 section 8.1).
func (m *Mux) close(of *h2.Stream) {
	if m.h2.CanSend(of) {
		m.append(m.h2.AppendData(m.scratch(), of, 0, true))
	}
	if !m.h2.HasEnded(of) && m.ending == 0 {
		m.reset(of, h2.NoError)
	}
}

func (st *stream) reset(code h2.Code) { st.mux.reset(st.h2, code) }

// giveBack gives n bytes of the window back to the peer.
func (st *stream) giveBack(n int32) {
	if n = min(n, st.owed); n > 0 {
		st.owed -= n
		m := st.mux
		m.append(m.h2.AppendTaken(m.scratch(), st.h2, int(n)))
	}
}

// opened begins the Task of a stream that the peer has opened.
func (m *Mux) opened(e *h2.Event) {
	l := m.loop
	s := l.newTask(-1)
	defer l.rescue(s.id())
	l.addStream(s, relay.Client, m, e.Stream)
	if task := m.params.Owner.Opened(Work{l, s}, m, e.Head, e.IsEnd); task != nil {
		l.tasks[s.index] = task
	}
}

// deliver tells the owner of a stream what has come of it. err is that of the connection, or nil.
func (m *Mux) deliver(of *h2.Stream, e *h2.Event, err error) {
	switch of.Owner {
	case noOwner:
		m.endOwnerless(of)
		return
	case lentOwner:
		m.lentTo(of).deliver(e, err)
		return
	}
	l, side, id := m.loop, relay.Side(of.Owner>>63), of.Owner&^(1<<63)
	defer l.rescue(id)
	s, isLive := l.slots.find(id)
	if !isLive {
		panic("BUG: the owner of a stream has gone")
	}
	st := l.stream(s, side)
	st.owed += int32(len(e.Data))
	if s.owner == nil {
		m.deliverToTask(s, side, e, err)
		return
	}
	l.env.Config = s.config
	x := l.session(s)
	switch {
	case e.Kind == h2.Reset:
		if _, isFault := err.(*h2.Fault); isFault {
			s.core.Collapsed(&l.env, side)
			if l.settle(s, &x); s.owner == nil {
				return
			}
		}
		s.core.Lost(&l.env, side)
	case len(e.Data) > 0:
		p := e.Data
		if carried := l.carried(&x, side); len(carried) > 0 {
			l.mux.joined = append(append(l.mux.joined[:0], carried...), p...)
			p = l.mux.joined
		}
		l.receive(&x, side, p)
	}
	if e.IsEnd {
		s.core.Ended(&l.env, side)
	}
	l.settle(s, &x)
}

func (m *Mux) deliverToTask(s slot, side relay.Side, e *h2.Event, err error) {
	task, isTask := m.loop.tasks[s.index].(StreamTask)
	if !isTask {
		panic("BUG: a stream without a StreamTask")
	}
	w := Work{m.loop, s}
	switch e.Kind {
	case h2.Headers:
		task.Head(w, side, e.Head, e.IsEnd)
	case h2.Data:
		task.Data(w, side, e.Data, e.IsEnd)
	case h2.Reset:
		if e.Fault != nil {
			err = e.Fault
		}
		m.loop.removeStream(s, side, noOwner)
		task.Reset(w, side, e.Code, err)
	}
}

// writable has the owner of a stream send what it can.
func (m *Mux) writable(of *h2.Stream) {
	switch of.Owner {
	case noOwner:
		return
	case lentOwner:
		m.lentTo(of).pump()
		return
	}
	l, side, id := m.loop, relay.Side(of.Owner>>63), of.Owner&^(1<<63)
	s, isLive := l.slots.session(id)
	if !isLive || s.stream[side] == 0 {
		return
	}
	defer l.rescue(id)
	if s.pending.waiting(side) == 0 {
		return
	}
	l.env.Config = s.config
	x := l.session(s)
	l.drain(&x, side)
	l.settle(s, &x)
}

// OpenStream makes a stream of m a side of the slot, which must have no descriptor there, and sends the request. It returns false if m has no
// room.
func (w Work) OpenStream(side relay.Side, m *Mux, fields []h2.Field, isEnd bool) bool {
	if m.Room() == 0 {
		return false
	}
	of, frames := m.h2.Open(m.scratch(), fields, isEnd)
	if of == nil {
		return false
	}
	m.append(frames)
	w.l.addStream(w.s, side, m, of).isBegun = true
	m.checkLife()
	return true
}

// HasStream reports whether a side is a stream.
func (w Work) HasStream(side relay.Side) bool { return w.s.stream[side] != 0 }

// SendHead sends a response, an interim one, or trailers on a side's stream.
func (w Work) SendHead(side relay.Side, fields []h2.Field, isEnd bool) {
	st := w.l.stream(w.s, side)
	st.isBegun = st.isBegun || !isInterim(fields)
	m := st.mux
	m.append(m.h2.AppendHeaders(m.scratch(), st.h2, fields, isEnd))
}

// isInterim reports whether fields are those of a 1xx response.
func isInterim(fields []h2.Field) bool {
	return len(fields) > 0 && fields[0].Name == ":status" && fields[0].Value[:1] == "1"
}

// Taken gives n bytes that Data has reported back to the peer's window.
func (w Work) Taken(side relay.Side, n int) { w.l.stream(w.s, side).giveBack(int32(n)) }

// ResetStream resets a side's stream, which the slot has no longer.
func (w Work) ResetStream(side relay.Side, code h2.Code) {
	w.l.stream(w.s, side).reset(code)
	w.l.removeStream(w.s, side, noOwner)
}

// CloseStream ends a side's stream in order, which the slot has no longer: what still comes of the peer is refused.
func (w Work) CloseStream(side relay.Side) { w.l.close(w.s, side) }

// giveBack gives the window of a side's stream back to the peer, if the side is read.
func (l *loop) giveBack(s slot, side relay.Side) {
	if s.core.Reads(side) {
		st := l.stream(s, side)
		st.giveBack(st.owed)
	}
}

// startStreams notes what has happened to the streams of a session before it began.
func (l *loop) startStreams(s slot) {
	for side := relay.Client; side <= relay.Backend; side++ {
		if s.stream[side] != 0 {
			if st := l.stream(s, side); st.mux.h2.HasEnded(st.h2) {
				s.core.Ended(&l.env, side)
			}
		}
	}
}
