package relay

// Abort ends the session at once, after a fault of the gateway's own. What the sides still send is ignored. A side whose stream is
// between frames gets a close with 1011, after what waits for it. The stream of a side inside a frame ends there without a close. A side
// of whose stream the driver has lost a part is cut (isTorn).
func (s *Session) Abort(e *Env, isTorn [2]bool) {
	s.judge(e.Now, Aborted)
	s.closeBoth = closeBoth{at: e.Now, code: Aborted.Code, reason: Aborted.Reason, step: 1}
	for side := Client; side <= Backend; side++ {
		if in := &s.in[side]; in.state == inOpen {
			in.state = inFaulted
			in.paused = 0
		}
	}
	for side := Client; side <= Backend; side++ {
		out := &s.out[side]
		switch {
		case out.state == outGone:
		case isTorn[side]:
			s.release(side, true)
		case out.state <= outWanting && !s.AtBoundary(side):
			s.cutShort(e, side)
		case out.state <= outWanting:
			out.state = outWanting
			s.acts |= actOwn(side) | ActTimer
		default:
			s.settle(e, side) // its close is on its way
		}
	}
}

// IsAborted reports whether Abort or Kill was called.
func (s *Session) IsAborted() bool { return s.closeBoth.reason == ReasonInternal }

// Kill ends a session that Abort can't end, from any state. The driver cuts both connections.
func (s *Session) Kill() {
	s.judge(0, Aborted)
	s.closeBoth.reason = Aborted.Reason
	for side := Client; side <= Backend; side++ {
		if s.in[side].state == inOpen {
			s.in[side].state = inBroken
		}
		s.in[side].paused = 0
		s.out[side].state = outGone
		s.out[side].stalledAt = 0
	}
	s.acts = 0
}

// Aborted is the verdict on a session that a fault of the gateway's own has ended (RFC 6455 section 7.4.1: "1011 indicates that a
// server is terminating the connection because it encountered an unexpected condition").
var Aborted = Verdict{Initiator: Gateway, Code: 1011, Reason: ReasonInternal}
