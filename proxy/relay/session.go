package relay

import "time"

// Instant is nanoseconds on the driver's monotonic clock; zero: never, so the clock starts above it.
type Instant int64

// Add returns the instant d later.
func (t Instant) Add(d time.Duration) Instant { return t + Instant(d) }

// Config is what a session is relayed by. Immutable; shared by the sessions of a route.
type Config struct {
	MaxFrame   int64 // bytes of payload; 0: no limit
	MaxMessage int64 // bytes of payload on the wire; 0: no limit

	ForwardPings bool // pings and pongs pass; otherwise the gateway answers

	PingInterval time.Duration // 0: no pings
	PongTimeout  time.Duration
	IdleTimeout  time.Duration // 0: off
	CloseTimeout time.Duration
	WriteTimeout time.Duration

	BackendLost uint16 // what a client is told when its backend is lost
	ClientLost  uint16 // what a backend is told when its client is lost
}

// lostCode returns the code that tells of a side's loss.
func (c *Config) lostCode(side Side) uint16 {
	if side == Client {
		return c.ClientLost
	}
	return c.BackendLost
}

// Env is what a call may look at beside the session. Owned by the caller; a loop has one for all its sessions.
type Env struct {
	Config *Config
	Totals *Totals
	Now    Instant
}

// Session is the state of one session: 2 inputs, 2 outputs, and what concerns both. It has no pointers.
// Owned by its driver; never used by two goroutines at once.
type Session struct {
	in  [2]input  // by the side that sends
	out [2]output // by the side that receives

	dataAt     Instant // last payload byte of a data frame, either way
	pingID     uint64  // payload of the gateway's own pings; 0: none was sent yet
	closeBoth  closeBoth
	verdict    Verdict
	acts       Acts
	hasDeflate bool
}

// Counts are one direction's, by the side that sends.
type Counts struct {
	Frames   uint64 // data frames
	Messages uint64
	Bytes    uint64 // payload of data frames
}

// An input is what arrives from one side.
type input struct {
	Counts
	left         int64   // payload bytes of the current data frame still to come
	messageBytes int64   // declared payload of the current message so far
	clock        Instant // last byte heard, or the restart of that clock
	code         uint16  // of the close that it sent; 0: none was in it
	state        inState
	rule         Rule  // that it broke
	paused       pause // why its bytes are not read
	isInMessage  bool
	isLastFrame  bool
	isPartial    bool // bytes of a header or control frame stay with the driver
}

// An output is what goes to one side.
type output struct {
	stalledAt Instant // no byte was taken since, while bytes wait; 0: none wait
	closedAt  Instant // when the wait for the answer to the close began, or began again; then when lingering began
	capAt     Instant // when the wait for the answer ends whatever comes
	keepalive
	pongs     int32 // bytes of pongs in the queue
	pongsLeft int32 // bytes that have to go before the last of them is sent
	held      int32 // bytes of pongs that wait for a boundary
	discarded int32 // input thrown away while lingering
	state     outState
}

// Begin starts a session. hasDeflate: both sides agreed on permessage-deflate.
func (s *Session) Begin(e *Env, hasDeflate bool) {
	*s = Session{hasDeflate: hasDeflate, dataAt: e.Now}
	s.in[Client].clock, s.in[Backend].clock = e.Now, e.Now
}

// Step says what the driver does where Scan stopped, once p[:pass] is in the other side's queue.
type Step uint8

const (
	More  Step = iota // nothing; what is left of p (at most MaxCarry bytes) comes again with the bytes behind it
	Again             // nothing; call Scan with the rest
	Pong              // p[pass:pass+skip] is a ping to answer: AppendPong; then Again
	Own               // the other side's stream is at a boundary that frames wait for: held pongs, AppendOwn; then Again
	End               // nothing more of this side is looked at; pass and skip are all of p
)

// Scan looks at bytes that arrived from a side. p[:pass] go to the other side as they are, p[pass:pass+skip] go nowhere,
// step is to be done there, and what is behind comes again in the next call, at once or (More) with more bytes behind it.
// A call without a new byte of the side would restart its clocks: the driver makes none, but for the rest of a buffer.
func (s *Session) Scan(e *Env, from Side, p []byte) (pass, skip int, step Step) {
	in, out := &s.in[from], &s.out[from.Other()]
	if in.state != inOpen {
		return 0, len(p), End
	}
	if in.left > 0 && in.clock < e.Now {
		out.restart(e.Now) // a frame into the other side was half-written for a while
	}
	in.clock = e.Now
	in.isPartial = false
	s.out[from].heard()
	isDropping := out.state > outWanting
	pass, skip, payload, step := s.scan(e, from, p, isDropping)
	if payload > 0 {
		in.Bytes += uint64(payload)
		e.Totals.Bytes[from] += uint64(payload)
		s.dataAt = e.Now
	}
	if step == End {
		skip = len(p) - pass
	}
	if isDropping {
		return 0, pass + skip, step
	}
	if pass > 0 && s.out[from].isAnswering() {
		s.out[from].closedAt = e.Now // the side that was told a close still sends what it had to say
	}
	return pass, skip, step
}

// scan is Scan without regard to whether what passes is dropped. payload: bytes of data frames' payload among pass.
func (s *Session) scan(e *Env, from Side, p []byte, isDropping bool) (pass, skip, payload int, step Step) {
	in, out := &s.in[from], &s.out[from.Other()]
	isWaiting := out.isWaiting()
	i := 0
	for {
		if in.left > 0 {
			n := int(min(int64(len(p)-i), in.left))
			in.left -= int64(n)
			i += n
			payload += n
			if in.left > 0 {
				return i, 0, payload, More
			}
			in.end()
			if isWaiting {
				return i, 0, payload, Own
			}
		}
		if i == len(p) {
			return i, 0, payload, More
		}
		h, rule := in.parseHeader(from, p[i:], s.hasDeflate)
		if rule == 0 && h.size > 0 && h.opcode&opControl == 0 {
			rule = in.checkLimits(e.Config, &h)
		}
		if rule != 0 {
			s.fault(e, from, rule)
			return i, 0, payload, End
		}
		if h.size == 0 {
			in.isPartial = true
			return i, 0, payload, More
		}
		if h.opcode&opControl == 0 {
			i += h.size
			in.begin(&h)
			e.Totals.Frames[from][h.opcode]++
			if h.length == 0 {
				in.end()
				if isWaiting {
					return i, 0, payload, Own
				}
			}
			continue
		}
		size := h.size + int(h.length)
		if len(p)-i < size {
			in.isPartial = true
			return i, 0, payload, More
		}
		if isDropping && i > 0 {
			return i, 0, payload, Again // so that a ping is alone in what is skipped
		}
		e.Totals.Frames[from][h.opcode]++
		passes, step := s.control(e, from, h.opcode, p[i:i+size], isDropping)
		switch {
		case passes && step == Again:
			i += size
		case passes:
			return i + size, 0, payload, step
		default:
			return i, size, payload, step
		}
	}
}

// Counts returns a side's counts so far.
func (s *Session) Counts(from Side) Counts { return s.in[from].Counts }

// RTT returns the last round-trip time that a ping to side took; 0: none is known.
func (s *Session) RTT(side Side) time.Duration {
	return time.Duration(s.out[side].rttMicros) * time.Microsecond
}

// IdleSince returns when the last payload byte of a data frame passed, or the session's begin.
func (s *Session) IdleSince() Instant { return s.dataAt }
