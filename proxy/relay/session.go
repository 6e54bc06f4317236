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
	state        inState
	code         uint16 // of the close that it sent; 0: none was in it
	rule         Rule   // that it broke
	paused       pause  // why its bytes are not read
	isInMessage  bool
	isLastFrame  bool
	isPartial    bool // bytes of a header or control frame stay with the driver
}

// An output is what goes to one side.
type output struct {
	stalledAt Instant // no byte was taken since, while bytes wait; 0: none wait
	closedAt  Instant // the close frame's last byte went, or the answering side made progress since
	capAt     Instant // when waiting for the answer ends whatever comes
	keepalive
	pongs     int32 // bytes of pongs not yet sent
	pongsLeft int32 // bytes that have to go before the last queued pong is sent
	discarded int32 // input thrown away while lingering
	state     outState
	isPonging bool // pongs wait for a boundary
}

// Begin starts a session. hasDeflate: both sides agreed on permessage-deflate.
func (s *Session) Begin(e *Env, hasDeflate bool) {
	*s = Session{hasDeflate: hasDeflate, dataAt: e.Now}
	s.in[Client].clock, s.in[Backend].clock = e.Now, e.Now
}

// Step says what the driver does where Scan stopped.
type Step uint8

const (
	More  Step = iota // nothing; what is left of p (at most MaxCarry bytes) comes again with the bytes behind it
	Again             // nothing; call Scan with the rest
	Pong              // the skipped bytes are a ping to answer: AppendPong
	Own               // the other side's stream is at a boundary that a frame of the gateway's own waits for: AppendOwn
	End               // nothing more of this side is looked at
)

// Scan looks at bytes that arrived from a side. p[:pass] go to the other side as they are, p[pass:pass+skip] go nowhere,
// step is to be done there, and what is behind comes again in the next call, at once or (More) with more bytes behind it.
func (s *Session) Scan(e *Env, from Side, p []byte) (pass, skip int, step Step) {
	in, out := &s.in[from], &s.out[from.Other()]
	if in.state != inOpen {
		return 0, len(p), End
	}
	in.clock = e.Now
	in.isPartial = false
	isDropping := out.state > outWanting
	n, skip, step := s.scan(e, from, in, out, p, isDropping)
	if isDropping {
		return 0, n + skip, step
	}
	if n > 0 && out.isAnswering() {
		out.closedAt = e.Now
	}
	return n, skip, step
}

// scan is Scan without regard to whether what passes is dropped.
func (s *Session) scan(e *Env, from Side, in *input, out *output, p []byte, isDropping bool) (pass, skip int, step Step) {
	i := 0
	for {
		if in.left > 0 {
			k := min(int64(len(p)-i), in.left)
			if k > 0 {
				in.left -= k
				i += int(k)
				in.Bytes += uint64(k)
				e.Totals.Bytes[from] += uint64(k)
				s.dataAt = e.Now
			}
			if in.left > 0 {
				return i, 0, More
			}
			in.end()
			if out.isWaiting() {
				return i, 0, Own
			}
		}
		if i == len(p) {
			return i, 0, More
		}
		h, rule := in.parseHeader(from, p[i:], s.hasDeflate)
		if rule == 0 && h.size > 0 && h.opcode&opControl == 0 {
			rule = in.checkLimits(e.Config, &h)
		}
		if rule != 0 {
			s.fault(e, from, rule)
			return i, len(p) - i, End
		}
		if h.size == 0 {
			in.isPartial = true
			return i, 0, More
		}
		if h.opcode&opControl == 0 {
			i += h.size
			in.begin(&h)
			e.Totals.Frames[from][h.opcode]++
			if h.length == 0 {
				in.end()
				if out.isWaiting() {
					return i, 0, Own
				}
			}
			continue
		}
		size := h.size + int(h.length)
		if len(p)-i < size {
			in.isPartial = true
			return i, 0, More
		}
		e.Totals.Frames[from][h.opcode]++
		switch passes, step := s.control(e, from, h.opcode, p[i:i+size], isDropping); {
		case passes && step == Again:
			i += size
		case passes:
			return i + size, 0, step
		default:
			return i, size, step
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
