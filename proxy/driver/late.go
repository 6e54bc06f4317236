package driver

import "sluice/proxy/relay"

// What a client has sent and what waits for a rate of its own (relay.Wait) is late. It stays in pending, unparsed, and the client isn't read
// meanwhile. Its stream's end waits, too.

// lateOf returns the bytes of a side that are late; nil: none are.
func (p *pending) lateOf(from relay.Side) []byte {
	if p == nil || from != relay.Client || len(p.late) == 0 {
		return nil
	}
	return p.late
}

// takeLate removes what is late.
func (e *engine) takeLate(s *session) (late []byte, end error) {
	p := *s.pending
	late, end = p.late, p.lateEnd
	p.late, p.lateEnd = nil, nil
	e.queued.Add(-int64(len(late)))
	return late, end
}

// dropLate drops what is late, for a session that ends at once.
func (e *engine) dropLate(s *session) {
	if *s.pending != nil {
		e.takeLate(s)
	}
}

// goOnLate processes what is late and may pass now, or passes nowhere any more. It reports whether there was something.
func (e *engine) goOnLate(s *session) bool {
	const from = relay.Client
	if (*s.pending).lateOf(from) == nil || s.core.IsPaused(from) && !s.core.Discards(from) {
		return false
	}
	late, end := e.takeLate(s)
	if late = e.scan(s, from, late); len(late) > 0 {
		p := e.acquirePending(s)
		p.late, p.lateEnd = late, end
		e.queued.Add(int64(len(late)))
		return true
	}
	e.readFailed(s, from, end)
	return true
}

// hurry processes all that is late at once, over its rate, because the session can't wait: its client's stream is gone or has broken a rule,
// or it is about to move.
func (e *engine) hurry(s *session) {
	const from = relay.Client
	if (*s.pending).lateOf(from) == nil {
		return
	}
	late, end := e.takeLate(s)
	s.core.Hurry(&e.env)
	e.scan(s, from, late)
	s.core.HurryEnded(&e.env)
	e.readFailed(s, from, end)
}
