package driver

import (
	"io"
	"sync/atomic"

	"sluice/proxy/relay"
)

// An engine is what all drivers share: it relays the bytes of sessions between their transports and does what package relay asks for.
// A loop has one for all its sessions; a goroutine borrows one for the time in which it holds its session's lock. Between two sessions
// it is empty: a handling ends with settle, which sends or queues each batch.
type engine struct {
	env    relay.Env
	pools  *pools
	marks  marks
	queued *atomic.Int64 // bytes that wait, in all sessions of the driver
	out    [2]batch      // by the side that receives
	slices [][]byte      // for drain
}

// marks bound how many bytes wait for a side.
type marks struct {
	high int // above it, the other side isn't read
	low  int // below it, it is read again
}

// newEngine returns an engine for the sockets of a driver, which counts the bytes that wait in queued.
func newEngine(ps *pools, queued *atomic.Int64) engine {
	return engine{pools: ps, marks: marks{high: highMark, low: lowMark}, queued: queued}
}

// A session is what an engine works on. Valid for the time of a call.
type session struct {
	core      *relay.Session
	pending   **pending    // where the driver keeps it; nil in there: the session is idle
	transport [2]transport // by side
}

// A transport carries one side of a session: a socket, TLS over it, or any other stream. It belongs to the driver goroutine of its
// session. An engine calls seal, tryWrite and unacked, which don't block; session.finish calls the others, which may.
type transport interface {
	// seal turns a batch into what goes on the wire, after what the transport itself has to say (batch.due). If the side isn't
	// writable, the transport drops what it has to say.
	seal(b *batch, isWritable bool) error
	// tryWrite writes spans as far as the transport accepts them at once. It returns the spans that are left, the first one cut, and
	// the number of bytes written.
	tryWrite(spans [][]byte) (left [][]byte, n int, err error)
	// unacked returns how many bytes the kernel holds that the peer hasn't acknowledged; 0 if that isn't known.
	unacked() int
	// notify tells the peer that its stream ends, where the transport can do so and still let the peer end the connection.
	notify()
	// shut ends the stream to the peer, after all that was written.
	shut()
	// close closes the connection. What was written still arrives.
	close()
	// cut closes the connection by a reset.
	cut()
}

// settle ends every handling of a session: it sends what is to be sent, and does what the core asks for. It returns what is left for
// the driver to do: finish, and ActTimer.
func (e *engine) settle(s *session) (left relay.Acts) {
	for {
		e.send(s, relay.Client)
		e.send(s, relay.Backend)
		acts := s.core.TakeActs()
		if acts == 0 {
			break
		}
		left |= acts
		for side := relay.Client; side <= relay.Backend; side++ {
			if acts.Own(side) {
				e.own(s, side)
			}
			if acts.Flush(side) {
				s.core.Sent(&e.env, side, 0, (*s.pending).waiting(side))
			}
			if acts.Unacked(side) {
				s.core.Unacked(&e.env, side, s.transport[side].unacked())
			}
			if acts.Close(side) || acts.Reset(side) {
				e.discard(s, side)
				s.core.Resume(&e.env, side.Other())
			}
		}
	}
	e.releasePending(s)
	return left
}

// finish does to the connections what settle has returned.
func (s *session) finish(acts relay.Acts) {
	for side := relay.Client; side <= relay.Backend; side++ {
		if acts.Reset(side) {
			s.transport[side].cut()
		}
		if acts.Close(side) {
			s.transport[side].close()
		}
		if acts.Shut(side) && !acts.Reset(side) && !acts.Close(side) {
			s.transport[side].shut()
		}
	}
	if side := relay.Backend; acts&relay.ActNotify != 0 && !acts.Reset(side) && !acts.Close(side) {
		s.transport[side].notify()
	}
}

// send sends the batch for a side, unless bytes wait for the side already. What the side doesn't accept waits too.
func (e *engine) send(s *session, to relay.Side) {
	b := &e.out[to]
	due := b.due
	if b.n == 0 && due == 0 {
		return
	}
	isWritable := s.core.IsWritable(to)
	if err := s.transport[to].seal(b, isWritable); err != nil {
		b.reset()
		e.writeFailed(s, to)
		return
	}
	if !isWritable {
		b.reset()
		return
	}
	spans, n := b.spans, 0
	if (*s.pending).waiting(to) == 0 {
		var err error
		if spans, n, err = s.transport[to].tryWrite(spans); err != nil {
			b.reset()
			e.writeFailed(s, to)
			return
		}
	}
	if left := b.n - n; left > 0 {
		q := &e.acquirePending(s).queue[to]
		for _, p := range spans {
			q.append(e.pools, p)
		}
		e.queued.Add(int64(left))
	}
	waiting := (*s.pending).waiting(to)
	if due > 0 {
		s.core.AnswerQueued(to, due, waiting+n)
	}
	s.core.Sent(&e.env, to, n, waiting)
	if waiting > e.marks.high {
		s.core.Pause(to.Other())
	}
	b.reset()
}

// drainSlices is how many chunks of a queue tryWrite is given at once: as many as one writev of internal/epoll sends.
const drainSlices = 16

// drain sends what waits in the queue for a side, as far as the side accepts it.
func (e *engine) drain(s *session, to relay.Side) {
	for *s.pending != nil && s.core.IsWritable(to) {
		q := &(*s.pending).queue[to]
		if q.n == 0 {
			return
		}
		e.slices = q.slices(e.slices[:0], drainSlices)
		left, n, err := s.transport[to].tryWrite(e.slices)
		isStuck := len(left) > 0
		clear(e.slices)
		if n > 0 {
			q.drop(e.pools, n)
			e.accepted(s, to, n)
		}
		if err != nil {
			e.writeFailed(s, to)
			return
		}
		if isStuck {
			return
		}
	}
}

// accepted notes that a side has accepted n of the bytes that waited for it.
func (e *engine) accepted(s *session, to relay.Side, n int) {
	e.queued.Add(-int64(n))
	waiting := (*s.pending).waiting(to)
	if s.core.IsWritable(to) {
		s.core.Sent(&e.env, to, n, waiting)
	}
	if waiting < e.marks.low {
		s.core.Resume(&e.env, to.Other())
	}
}

// writeFailed notes that a side accepts nothing any more.
func (e *engine) writeFailed(s *session, to relay.Side) {
	s.core.WriteFailed(&e.env, to)
	e.discard(s, to)
	s.core.Resume(&e.env, to.Other())
}

// readFailed notes the error with which a read of a side returned; nil and errAgain are none.
func (e *engine) readFailed(s *session, from relay.Side, err error) {
	switch err {
	case nil, errAgain:
	case io.EOF:
		s.core.Ended(&e.env, from)
	case errKeyUpdates:
		s.core.Fault(&e.env, from, relay.RuleKeyUpdates)
	case errTLS:
		s.core.Broken(&e.env, from)
	default:
		s.core.Lost(&e.env, from)
	}
}

// discard drops what waits in the queue for a side, and the pongs that wait for a boundary.
func (e *engine) discard(s *session, to relay.Side) {
	p := *s.pending
	if p == nil {
		return
	}
	if n := p.queue[to].n; n > 0 {
		p.queue[to].drop(e.pools, n)
		e.queued.Add(-int64(n))
	}
	p.held[to] = nil
}

// dropBatches empties the batches after a panic, and reports for each side whether anything of it was lost.
func (e *engine) dropBatches() (isTorn [2]bool) {
	clear(e.slices)
	for side := range e.out {
		isTorn[side] = e.out[side].n > 0
		e.out[side].reset()
	}
	return isTorn
}
