package relay

// What a side sends ends once. What it sends afterwards is discarded:
//
//	inOpen ── close frame ─────────────────────→ inClosed
//	       ── a rule is broken ────────────────→ inFaulted
//	       ── end of stream without a close ───→ inEnded     it may still receive
//	       ── reset, dead, timed out ──────────→ inBroken    its socket is of no use
//	       ── its stream ends inside a frame ──→ inBroken    it can't be told that it ends
//	       ── no answer within close_timeout ──→ inSilent    neither waited for nor asked any more
type inState uint8

const (
	inOpen inState = iota
	inClosed
	inFaulted
	inEnded
	inBroken
	inSilent
)

// What goes to a side ends once:
//
//	outOpen → outWanting → outClosing → outFlushed → outEnding → outGone
//
// A close that the other side sent goes from outOpen straight to outClosing; a socket that fails to outBroken, from
// anywhere before outBroken; one that is cut to outGone, from anywhere. A stream that ends without a close goes to
// outClosing, too, and is shut in outFlushed.
type outState uint8

const (
	outOpen    outState = iota
	outWanting          // a close of the gateway's own waits for a boundary
	outClosing          // its last byte is in the queue; nothing follows
	outFlushed          // its last byte is in the kernel
	outBroken           // writing failed; what the side sent before is still read
	outEnding           // nothing more is expected of the side: lingering
	outGone             // the connection is closed
)

// What follows when one direction ends (RFC 6455 sections 7.1.2 to 7.1.7):
//
//	from one side   the other side is told              the side itself is told, when the other's input has ended too
//	inClosed        that close                          the other's close; if it was silent, its own code comes back
//	inFaulted       client_lost / backend_lost          the rule's code
//	inEnded         client_lost / backend_lost          the other's close; if it was silent, the code made in its name
//	inBroken        client_lost / backend_lost          nothing
//	inSilent        (it has been told)                  nothing more
//
//	Abort           1011                                    1011
//
// The code of closeBoth has priority over all of these if the gateway ends the session itself. A receiver inside a frame of
// which only a part has passed can't be told anything: its stream ends there (cutShort). A side whose own input has ended and
// that has got all that goes to it lingers or is released (settle), independently of the other side.
//
// What was sent before an end arrives. Only a side that was lost, or that has accepted nothing for write_timeout, is cut by a
// reset: that drops what the queue and the kernel still hold for it. Any other connection is closed once the peer has
// acknowledged all of it (linger), or has ended its stream: then nothing can come that makes the kernel reset the connection.

// closeBoth is a close of the gateway's own, to both sides.
type closeBoth struct {
	at     Instant // when it began, escalated or could be heard again; 0: not at all
	code   uint16
	reason Reason
	step   uint8 // 0: waits for a message boundary, 1: for a frame boundary
}

// isOpen reports whether neither direction has begun to end.
func (s *Session) isOpen() bool {
	return s.in[Client].state == inOpen && s.in[Backend].state == inOpen &&
		s.out[Client].state == outOpen && s.out[Backend].state == outOpen
}

// HasClosed reports whether a side has sent a close of its own.
func (s *Session) HasClosed(side Side) bool { return s.in[side].state == inClosed }

// isAnswering reports whether the session waits for a side's answer to the close that it got.
func (o *output) isAnswering() bool { return o.state == outFlushed || o.state == outBroken }

// CloseBoth ends the session with a close to both sides: to the client first, at the next message boundary of what it
// receives, after close_timeout at a frame boundary, after another its stream ends inside the frame. The time in which the backend
// isn't read because of what waits for the client doesn't count, up to write_timeout. From then on data of the backend is dropped;
// data of the client passes until its close, and then the backend gets its own. It does nothing once either direction ends.
func (s *Session) CloseBoth(e *Env, code uint16, reason Reason) {
	if !s.isOpen() {
		return
	}
	s.judge(e.Now, Verdict{Initiator: Gateway, Code: code, Reason: reason})
	s.closeBoth = closeBoth{at: e.Now, code: code, reason: reason}
	s.out[Client].state = outWanting
	s.acts |= actOwn(Client) | ActTimer
}

// isClosable reports whether the close that a side waits for may go, now that its stream is between frames.
func (s *Session) isClosable(to Side) bool {
	in := &s.in[to.Other()]
	return in.state != inOpen || !in.isInMessage || s.closeBoth.step > 0
}

// escalate ends the wait of CloseBoth for a boundary.
func (s *Session) escalate(e *Env) {
	if s.closeBoth.step > 0 {
		s.cutShort(e, Client)
		return
	}
	s.closeBoth.step, s.closeBoth.at = 1, e.Now
	s.acts |= actOwn(Client) | ActTimer
}

// Fault ends what a side sends by a rule of its transport that it broke.
func (s *Session) Fault(e *Env, from Side, rule Rule) {
	if s.in[from].state == inOpen {
		s.fault(e, from, rule)
	} else {
		s.lose(e, from, ReasonFault)
	}
}

// fault ends what a side sends by a rule that it broke.
func (s *Session) fault(e *Env, from Side, rule Rule) {
	e.Totals.Rules[from][rule]++
	s.in[from].rule = rule
	s.judge(e.Now, Verdict{Initiator: Gateway, Code: rules[rule].code, Reason: ReasonFault, Rule: rule, Side: from})
	s.over(e, from, inFaulted) // if it has got its close it can't be told, but it still gets all that came before
}

// Broken notes that a side has broken a rule of TLS, which carries its stream. The stream to it ends without a close, by what Shut sends.
// A close that the side has sent before stands.
func (s *Session) Broken(e *Env, side Side) {
	switch in := &s.in[side]; in.state {
	case inOpen:
		s.fault(e, side, RuleTLS)
	case inClosed:
		e.Totals.Rules[side][RuleTLS]++
		in.state, in.rule = inFaulted, RuleTLS // nothing more of it is opened
	}
	if s.out[side].state <= outWanting {
		s.endStream(side)
	}
}

// Collapsed notes that the HTTP/2 connection of which a side is a stream has broken a rule, and ends. The side gets its close at once, if that is
// possible; Lost has to follow.
func (s *Session) Collapsed(e *Env, side Side) {
	if s.in[side].state == inOpen {
		s.fault(e, side, RuleHTTP2)
	}
	s.tell(e, side)
}

// Ended notes the end of a side's stream.
func (s *Session) Ended(e *Env, from Side) {
	out := &s.out[from]
	out.hasEnded = true
	switch {
	case out.state == outEnding:
		s.release(from, false)
	case s.in[from].state == inOpen:
		reason := ReasonLost
		if s.isDone(from) {
			reason = ReasonEOF
		}
		s.judge(e.Now, Verdict{Initiator: initiatorOf(from), Code: e.Config.lostCode(from), Reason: reason, Side: from})
		s.over(e, from, inEnded)
	}
}

// isDone reports whether a side whose stream has ended is a backend that has come to its end: one process for each session may end so.
func (s *Session) isDone(side Side) bool {
	in := &s.in[side]
	return side == Backend && in.Messages > 0 && !in.isInMessage && !in.isPartial && s.out[side].stalledAt == 0
}

// Lost notes that a side's connection was reset, or failed in another way.
func (s *Session) Lost(e *Env, side Side) { s.lose(e, side, ReasonReset) }

// WriteFailed notes that a side accepts nothing any more. What it sent before is still read, to its end.
func (s *Session) WriteFailed(e *Env, to Side) {
	out := &s.out[to]
	if out.state >= outBroken {
		return
	}
	out.state = outBroken
	out.stalledAt, out.pongs, out.held = 0, 0, 0
	s.waitForAnswer(e, to)
	s.unpause(e, to, pausePongs)
	s.settle(e, to)
}

// lose gives a side up: its connection is cut, from any state. If the kernel has all that goes to the side, that is left to it.
func (s *Session) lose(e *Env, side Side, reason Reason) {
	in, out := &s.in[side], &s.out[side]
	if out.state == outGone {
		return
	}
	s.release(side, reason == ReasonWriteTimeout || out.state != outEnding && out.state != outFlushed)
	if in.state != inOpen {
		return
	}
	initiator := Gateway
	if reason == ReasonLost || reason == ReasonReset {
		initiator = initiatorOf(side)
	}
	s.judge(e.Now, Verdict{Initiator: initiator, Code: e.Config.lostCode(side), Reason: reason, Side: side})
	s.over(e, side, inBroken)
}

// over ends what a side sends. passes: its close frame is what the other side's stream ends with.
func (s *Session) over(e *Env, from Side, state inState) (passes bool) {
	in, o := &s.in[from], from.Other()
	in.state = state
	in.paused = 0
	s.acts |= ActTimer
	if state == inClosed && s.out[o].state == outOpen && s.in[o].state != inFaulted && s.closeBoth.at == 0 {
		s.out[o].state = outClosing
		passes = true
	} else {
		s.tell(e, o)
	}
	s.settle(e, Client)
	s.settle(e, Backend)
	return passes
}

// tell makes a side's stream end with a close of the gateway's own, unless it ends already.
func (s *Session) tell(e *Env, to Side) {
	out := &s.out[to]
	if out.state > outWanting {
		return
	}
	if !s.AtBoundary(to) {
		s.cutShort(e, to)
		return
	}
	out.state = outWanting
	s.acts |= actOwn(to)
}

// cutShort ends a side's stream inside a frame, after what waits for it. The side is asked for no close either.
func (s *Session) cutShort(e *Env, to Side) {
	s.endStream(to)
	if s.in[to].state == inOpen {
		s.over(e, to, inBroken)
	}
}

// endStream ends a side's stream without a close, after what waits for it. What the side still sends passes, as in a tunnel, until it
// ends its own stream; close_timeout rules as for the answer to a close.
func (s *Session) endStream(to Side) {
	s.out[to].state = outClosing
	s.out[to].isBare = true
	s.acts |= actFlush(to)
}

// codeFor returns the close that a side is told at its stream's end; code 0 is a close without one. It returns false if the side gets no
// close at all.
func (s *Session) codeFor(c *Config, to Side) (code uint16, reason string, isTold bool) {
	in, from := &s.in[to], &s.in[to.Other()]
	switch {
	case s.IsAborted():
		return s.closeBoth.code, s.closeBoth.reason.Text(), true
	case in.state == inFaulted:
		return rules[in.rule].code, in.rule.Text(), true
	case s.closeBoth.at != 0:
		code, reason = s.closeBoth.code, s.closeBoth.reason.Text()
	case from.state == inSilent && in.state == inClosed:
		return in.code, "", true
	case from.state == inSilent && in.state == inEnded:
		code = c.lostCode(to)
	case to == Client:
		code, reason = c.BackendLost, "backend lost"
	default:
		code, reason = c.ClientLost, "client lost"
	}
	return code, reason, code != 0
}

// flushed notes that the last byte of a side's close is in the kernel.
func (s *Session) flushed(e *Env, to Side) {
	s.out[to].state = outFlushed
	if s.out[to].isBare && s.in[to].state == inOpen { // else its lingering decides
		s.acts |= actShut(to)
	}
	s.waitForAnswer(e, to)
	s.settle(e, to)
}

// waitForAnswer starts the wait for a side's own close.
func (s *Session) waitForAnswer(e *Env, to Side) {
	out := &s.out[to]
	out.closedAt = e.Now
	out.capAt = e.Now.Add(e.Config.WriteTimeout)
	out.unacked = -1
	s.acts |= ActTimer
}

// stillOnItsWay looks at the kernel's queue during the wait for a side's own close. close_timeout begins when the side has acknowledged
// what is in front of the close: a slow link may still transmit that.
func (s *Session) stillOnItsWay(e *Env, side Side, bytes int32) {
	out := &s.out[side]
	before, isFirst := out.unacked, out.unacked < 0
	out.unacked = bytes
	isCapped := e.Now >= out.capAt
	switch {
	case isFirst && !isCapped:
	case bytes < before || isFirst && bytes > 0:
		out.closedAt = e.Now
		out.capAt = e.Now.Add(e.Config.WriteTimeout)
	case bytes == 0:
		s.silent(e, side)
	case isCapped:
		s.lose(e, side, ReasonWriteTimeout)
	default:
		out.closedAt = e.Now
	}
}

// silent ends the wait for a side's own close.
func (s *Session) silent(e *Env, side Side) {
	// If the session had no cause to end so far, the side has neither accepted nor sent anything more.
	s.judge(e.Now, Verdict{Initiator: initiatorOf(side), Code: e.Config.lostCode(side), Reason: ReasonReset, Side: side})
	s.over(e, side, inSilent)
}

// settle ends a side's connection once its input has ended and the kernel has all that goes to it.
func (s *Session) settle(e *Env, side Side) {
	in, out := &s.in[side], &s.out[side]
	if in.state == inOpen || !out.isAnswering() {
		return
	}
	switch {
	case out.state == outBroken:
		s.release(side, true)
	case out.hasEnded || in.state == inSilent && out.unacked == 0:
		s.release(side, false)
	default:
		s.linger(e, side)
	}
}

// release has the driver close a side's connection; isCut: by a reset.
func (s *Session) release(side Side, isCut bool) {
	out := &s.out[side]
	out.state = outGone
	out.stalledAt = 0
	if isCut {
		s.acts |= actReset(side)
	} else {
		s.acts |= actClose(side)
	}
	s.acts |= ActTimer
}
