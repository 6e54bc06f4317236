package relay

import "time"

// Instant is a time in nanoseconds on the driver's monotonic clock. 0 means never: the clock starts above it.
type Instant int64

// Add returns the instant d later.
func (t Instant) Add(d time.Duration) Instant { return t + Instant(d) }

// Config are the limits and timeouts of a session. Immutable; the sessions of a route share it.
type Config struct {
	MaxFrame   int64 // bytes of payload; 0 means no limit
	MaxMessage int64 // bytes of payload on the wire; 0 means no limit

	Pings PingMode

	PingInterval [2]time.Duration // by the side that is pinged; 0 means no pings
	PongTimeout  [2]time.Duration // by the side that is pinged
	IdleTimeout  time.Duration    // 0 means no limit
	CloseTimeout time.Duration
	WriteTimeout time.Duration

	BackendLost uint16 // close code for a client whose backend is lost; 0: it gets no close
	ClientLost  uint16 // close code for a backend whose client is lost; 0: it gets no close
}

// PingMode is what happens to the pings that a side sends.
type PingMode uint8

const (
	AnswerPings  PingMode = iota // the gateway answers them
	MirrorPings                  // the gateway answers them, and pings the other side with the same payload
	ForwardPings                 // they pass, and so do pongs
)

// lostCode returns the code that tells of a side's loss.
func (c *Config) lostCode(side Side) uint16 {
	if side == Client {
		return c.ClientLost
	}
	return c.BackendLost
}

// Env is what a call uses in addition to the session. Owned by the caller; a loop has one for all its sessions.
type Env struct {
	Config *Config
	Totals *Totals
	Now    Instant
}

// Session is the state of one session: two inputs, two outputs, and what both share. It has no pointers.
// Owned by its driver, which never uses it in two goroutines at once.
type Session struct {
	in  [2]input  // by the side that sends
	out [2]output // by the side that receives

	dataAt     Instant // last payload byte of a data frame, either way
	pingID     uint64  // payload of the gateway's own pings; 0: none was sent yet
	closeBoth  closeBoth
	verdict    Verdict
	judgedAt   uint32 // when the verdict was made, in seconds, rounded up; 0: not yet
	acts       Acts
	hasDeflate bool
}

// Counts count what one side has sent.
type Counts struct {
	Frames   uint64 // data frames
	Messages uint64
	Bytes    uint64 // payload of data frames
}

// An input is the state of what arrives from one side.
type input struct {
	Counts
	left         int64   // payload bytes of the current data frame still to come
	messageBytes int64   // declared payload of the current message so far
	clock        Instant // when the last byte came, or when the wait for bytes restarted
	code         uint16  // of the close that it sent; 0: the close had none
	state        inState
	rule         Rule  // that it broke
	paused       pause // why its bytes are not read
	isInMessage  bool
	isLastFrame  bool
	isPartial    bool // bytes of a header or control frame stay with the driver
}

// An output is the state of what goes to one side.
type output struct {
	stalledAt Instant // the side has accepted no byte since, though bytes wait; 0: none wait. While it lingers: has acknowledged none
	closedAt  Instant // when the wait for the answer to the close began, or restarted; later, when lingering did
	capAt     Instant // when the wait for the answer ends, unless bytes in front of the close were acknowledged; later, lingering
	keepalive
	pongs     int32  // bytes of pongs in the queue
	pongsLeft int32  // bytes that have to leave the queue before the last of them has left it
	held      int32  // bytes of pongs that wait for a boundary
	atStall   int32  // bytes in the kernel's queue at the last look since stalledAt; -1: none yet. While it lingers: bytes discarded since then
	mirrored  uint32 // sum of the payload of the ping that is outstanding, if the other side sent it; 0: it is the gateway's own
	state     outState
	hasEnded  bool // the side has ended its own stream: nothing is there to be read
	isBare    bool // the stream to the side ends without a close
}

// Begin starts a session. hasDeflate: both sides agreed on permessage-deflate.
func (s *Session) Begin(e *Env, hasDeflate bool) {
	*s = Session{hasDeflate: hasDeflate, dataAt: e.Now}
	s.in[Client].clock, s.in[Backend].clock = e.Now, e.Now
}

// Step is what the driver does at the place where Scan stopped, once p[:pass] is in the other side's queue.
type Step uint8

const (
	More   Step = iota // nothing; the driver keeps the rest of p (at most MaxCarry bytes) and passes it again, before the next bytes
	Again              // nothing; call Scan with the rest
	Pong               // p[pass:pass+skip] is a ping to answer: AppendPong; then Again
	Mirror             // p[pass:pass+skip] is a ping that passes, too: to the other side as it is, and Mirrored; then as Pong
	Own                // the other side's stream is at a boundary that frames wait for: held pongs, AppendOwn; then Again
	End                // nothing more of this side is scanned; pass and skip are all of p
)

// Scan parses bytes that arrived from a side. p[:pass] go to the other side as they are, p[pass:pass+skip] go nowhere, and
// the driver does step at that place. It passes the rest of p in the next call: at once or, for More, with more bytes after it.
// Each call restarts the side's clocks: the driver makes none without a new byte of the side, except for the rest of a buffer.
func (s *Session) Scan(e *Env, from Side, p []byte) (pass, skip int, step Step) {
	in, out := &s.in[from], &s.out[from.Other()]
	if in.state != inOpen {
		return 0, len(p), End
	}
	if in.left > 0 && in.clock < e.Now {
		out.restart(e.Now) // a frame to the other side was half-written until now
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
		s.out[from].closedAt = e.Now // the side has got a close, and still sends before it answers
	}
	return pass, skip, step
}

// scan is Scan for a side whose bytes pass. If isDropping, the caller drops what passes. payload: bytes of data frames' payload in pass.
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

// RTT returns the round-trip time of the last ping to side, or 0 if none is known.
func (s *Session) RTT(side Side) time.Duration {
	return time.Duration(s.out[side].rttMicros) * time.Microsecond
}

// IdleSince returns when the last payload byte of a data frame passed, or else when the session began.
func (s *Session) IdleSince() Instant { return s.dataAt }
