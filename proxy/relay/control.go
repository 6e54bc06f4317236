package relay

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// control reads a whole control frame. passes: the frame goes to the other side as it is.
func (s *Session) control(e *Env, from Side, opcode byte, frame []byte, isDropping bool) (passes bool, step Step) {
	switch opcode {
	case opPing:
		if e.Config.Pings == ForwardPings {
			return !isDropping, Again
		}
		// RFC 6455 section 5.5.2: "an endpoint MUST send a Pong frame in response, unless it already received a Close
		// frame". Nothing may follow the gateway's own close.
		if s.out[from].state > outWanting {
			return false, Again
		}
		if e.Config.Pings == MirrorPings && s.mayPing(from.Other()) {
			return false, Mirror
		}
		return false, Pong
	case opPong:
		isOurs := s.ponged(e, from, frame)
		return e.Config.Pings == ForwardPings && !isOurs && !isDropping, Again
	case opClose:
		return s.closed(e, from, frame), End
	}
	panic("BUG: control frame with another opcode")
}

// closed reads a close frame. passes: it is the close that the other side's stream carries.
func (s *Session) closed(e *Env, from Side, frame []byte) (passes bool) {
	var buf [maxControlPayload]byte
	body := payload(buf[:], from, frame)
	code, rule := checkClose(body)
	if rule != 0 {
		s.fault(e, from, rule)
		return false
	}
	s.in[from].code = code
	s.judge(e.Now, Verdict{Initiator: initiatorOf(from), Code: code, Reason: ReasonClose})
	return s.over(e, from, inClosed)
}

// checkClose checks a close frame's payload: 2 bytes of code, big endian, then a reason in UTF-8; or nothing.
// code 0: none.
func checkClose(body []byte) (code uint16, rule Rule) {
	switch len(body) {
	case 0:
		return 0, 0
	case 1:
		// RFC 6455 section 5.5.1: "the first two bytes of the body MUST be a 2-byte unsigned integer"
		return 0, RuleClosePayload
	}
	code = binary.BigEndian.Uint16(body)
	if !IsCloseCode(int(code)) {
		return 0, RuleCloseCode
	}
	if !utf8.Valid(body[2:]) {
		return 0, RuleCloseReason
	}
	return code, 0
}

// IsCloseCode reports whether a close frame may carry the code: RFC 6455 section 7.4 and the registry that it establishes
// (1012 to 1014). 1004, 1005, 1006 and 1015 never go on the wire; below 1000, 1016 to 2999 and over 4999 nothing is defined.
func IsCloseCode(code int) bool {
	return code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
}

// payload returns a whole control frame's payload: a part of frame if it came unmasked, else unmasked into buf.
func payload(buf []byte, from Side, frame []byte) []byte {
	if from == Backend {
		return frame[2:]
	}
	p := buf[:copy(buf, frame[6:])]
	ws.Cipher(p, [4]byte(frame[2:6]), 0)
	return p
}
