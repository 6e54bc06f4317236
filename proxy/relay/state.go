package relay

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// State is an open session as one process tells another, which goes on with it. A field that is missing there is zero, which is harmless.
// The number of a field never gets another meaning.
type State struct {
	Sides      [2]SideState `cbor:"1,keyasint"`
	DataAt     int64        `cbor:"2,keyasint,omitempty"` // nanoseconds on the driver's clock, as all instants here
	PingID     uint64       `cbor:"3,keyasint,omitempty"` // payload of the gateway's own pings; 0: none was sent yet
	HasDeflate bool         `cbor:"4,keyasint,omitempty"`
}

// SideState is what a side sends, and then what goes to it.
type SideState struct {
	Frames       uint64 `cbor:"1,keyasint,omitempty"` // these three, Counts, are taken as they are
	Messages     uint64 `cbor:"2,keyasint,omitempty"`
	Bytes        uint64 `cbor:"3,keyasint,omitempty"`
	Left         int64  `cbor:"4,keyasint,omitempty"` // payload bytes of the current data frame still to come
	MessageBytes int64  `cbor:"5,keyasint,omitempty"` // declared payload of the current message so far
	IsInMessage  bool   `cbor:"6,keyasint,omitempty"`
	IsLastFrame  bool   `cbor:"7,keyasint,omitempty"` // the current frame is its message's last one
	IsPaused     bool   `cbor:"8,keyasint,omitempty"` // by Session.Pause
	ClockAt      int64  `cbor:"9,keyasint,omitempty"` // when the last byte came, or when the wait for bytes restarted

	StalledAt int64     `cbor:"10,keyasint,omitempty"` // the side has accepted no byte since
	AtStall   int64     `cbor:"11,keyasint,omitempty"` // 1 more than the bytes in the kernel's queue at the last look since then; 0: none yet
	RestartAt int64     `cbor:"12,keyasint,omitempty"` // when the side's clock last restarted for another reason than bytes from it
	Ping      PingState `cbor:"13,keyasint,omitempty"`
	PingAt    int64     `cbor:"14,keyasint,omitempty"` // when the ping's last byte left the queue
	PingLeft  int32     `cbor:"15,keyasint,omitempty"` // bytes that have to leave the queue before that
	Mirrored  uint32    `cbor:"16,keyasint,omitempty"` // sum of the ping's payload, if the other side sent it
	Unacked   int64     `cbor:"17,keyasint,omitempty"` // 1 more than the bytes in the kernel's queue at the last look in this wait for a pong; 0: none yet
	Waits     uint16    `cbor:"18,keyasint,omitempty"` // how often the wait was extended because that queue still shrank
	RTTMicros uint32    `cbor:"19,keyasint,omitempty"`
	Pongs     int32     `cbor:"20,keyasint,omitempty"` // bytes of pongs in the queue
	PongsLeft int32     `cbor:"21,keyasint,omitempty"` // bytes that have to leave the queue before the last of them has left it
}

// PingState is the state of the gateway's ping to a side, in a SideState.
type PingState uint8

const (
	PingNone   PingState = iota // none is outstanding
	PingQueued                  // it is in the queue
	PingSent                    // its last byte has left the queue
)

// Kept is what the driver keeps of a session, in bytes. A State is restored to agree with it.
type Kept struct {
	Queued  [2]int // wait for the side, as Sent is told
	Held    [2]int // of pongs that wait for a boundary, by the side that receives
	Carried [2]int // of a header or control frame, by the side that sends (More)
}

// State returns what another process needs to go on with the session. It returns false for a session that has begun to end, and where
// acts are left to do (TakeActs).
func (s *Session) State() (st State, isMovable bool) {
	if !s.isOpen() || s.acts != 0 {
		return State{}, false
	}
	st = State{DataAt: int64(s.dataAt), PingID: s.pingID, HasDeflate: s.hasDeflate}
	for side := Client; side <= Backend; side++ {
		in, out, of := &s.in[side], &s.out[side], &st.Sides[side]
		*of = SideState{
			Frames: in.Frames, Messages: in.Messages, Bytes: in.Bytes,
			Left: in.left, MessageBytes: in.messageBytes,
			IsInMessage: in.isInMessage, IsLastFrame: in.isLastFrame,
			IsPaused: in.paused&pauseQueue != 0, ClockAt: int64(in.clock),
			StalledAt: int64(out.stalledAt), AtStall: int64(out.atStall) + 1,
			RestartAt: int64(out.restartAt), PingAt: int64(out.pingAt), Mirrored: out.mirrored,
			Unacked: int64(out.unacked) + 1, Waits: out.waits, RTTMicros: out.rttMicros,
			Pongs: out.pongs, PongsLeft: out.pongsLeft,
		}
		switch out.pingState {
		case pingNone:
		case pingDue:
			return State{}, false // AppendOwn sends it at once
		case pingQueued:
			of.Ping, of.PingLeft = PingQueued, out.pingLeft
		case pingSent:
			of.Ping = PingSent
		default:
			panic("BUG: no such state of a ping")
		}
	}
	return st, true
}

// Restore returns the session of a state, from whatever source: it has all invariants of a session whose driver keeps what kept says, or
// the error says what is impossible. now is the instant at present, on the clock of the state; a later one in the state counts as now.
func Restore(st *State, kept *Kept, now Instant) (Session, error) {
	s := Session{pingID: st.PingID, hasDeflate: st.HasDeflate}
	var err error
	if s.dataAt, err = restoreInstant(st.DataAt, now, true); err != nil {
		return Session{}, fmt.Errorf("time of the last data: %w", err)
	}
	for side := Client; side <= Backend; side++ {
		if err := s.restoreInput(side, st, kept, now); err != nil {
			return Session{}, fmt.Errorf("what the %s sends: %w", side, err)
		}
	}
	for side := Client; side <= Backend; side++ {
		if err := s.restoreOutput(side, st, kept, now); err != nil {
			return Session{}, fmt.Errorf("what goes to the %s: %w", side, err)
		}
	}
	return s, nil
}

var errInstant = errors.New("an instant before the clock's beginning")

// restoreInstant checks an instant. isNeeded: it has been, so 0 counts as now.
func restoreInstant(at int64, now Instant, isNeeded bool) (Instant, error) {
	switch {
	case at < 0:
		return 0, errInstant
	case at == 0 && isNeeded:
		return now, nil
	}
	return min(Instant(at), now), nil
}

// restoreInput restores what a side sends.
func (s *Session) restoreInput(side Side, st *State, kept *Kept, now Instant) error {
	of, carried := &st.Sides[side], kept.Carried[side]
	const most = 1 << 62 // as begin counts
	switch {
	case of.Left < 0 || of.MessageBytes < 0 || of.MessageBytes > most:
		return errors.New("an impossible length")
	case !of.IsInMessage && (of.Left > 0 || of.MessageBytes > 0):
		return errors.New("payload outside of a message")
	case of.Left > of.MessageBytes && of.MessageBytes < most:
		return errors.New("a frame that is longer than its message")
	case of.IsLastFrame && of.Left == 0:
		return errors.New("a last frame that has ended, and its message not")
	case carried < 0 || carried > MaxCarry:
		return errors.New("a header that is too long")
	case carried > 0 && of.Left > 0:
		return errors.New("a header inside a frame")
	}
	clock, err := restoreInstant(of.ClockAt, now, true)
	if err != nil {
		return err
	}
	s.in[side] = input{
		Counts: Counts{Frames: of.Frames, Messages: of.Messages, Bytes: of.Bytes},
		left:   of.Left, messageBytes: of.MessageBytes,
		clock:       clock,
		isInMessage: of.IsInMessage, isLastFrame: of.IsLastFrame, isPartial: carried > 0,
	}
	if of.IsPaused && kept.Queued[side.Other()] > 0 { // else nothing would resume it
		s.in[side].paused = pauseQueue
	}
	return nil
}

// restoreOutput restores what goes to a side, after the inputs.
func (s *Session) restoreOutput(side Side, st *State, kept *Kept, now Instant) error {
	of, queued, held := &st.Sides[side], kept.Queued[side], kept.Held[side]
	const most = 1 << 30 // bytes of one kind
	switch {
	case queued < 0 || queued > most || held < 0 || held > most || of.Pongs < 0 || of.Pongs > most:
		return errors.New("an impossible number of bytes")
	case held > 0 && s.AtBoundary(side):
		return errors.New("pongs wait for a boundary at one")
	case of.Pongs > 0 && (of.PongsLeft <= 0 || int(of.PongsLeft) > queued):
		return errors.New("pongs are not in the queue")
	case of.AtStall < 0 || of.AtStall > math.MaxInt32 || of.Unacked < 0 || of.Unacked > math.MaxInt32:
		return errors.New("an impossible number of bytes in the kernel")
	}
	out := output{
		keepalive: keepalive{unacked: int32(of.Unacked - 1), waits: of.Waits, rttMicros: of.RTTMicros},
		held:      int32(held), atStall: int32(of.AtStall - 1), mirrored: of.Mirrored,
	}
	if of.Pongs > 0 {
		out.pongs, out.pongsLeft = of.Pongs, of.PongsLeft
	}
	switch of.Ping {
	case PingNone:
	case PingQueued:
		if of.PingLeft <= 0 || int(of.PingLeft) > queued {
			return errors.New("a ping is not in the queue")
		}
		out.pingState, out.pingLeft = pingQueued, of.PingLeft
	case PingSent:
		out.pingState = pingSent
	default:
		return fmt.Errorf("unknown state %d of a ping", of.Ping)
	}
	if of.Ping != PingNone && of.Mirrored == 0 && s.pingID == 0 {
		return errors.New("a ping without a payload")
	}
	for _, t := range []struct {
		to       *Instant
		at       int64
		isNeeded bool
	}{
		{&out.restartAt, of.RestartAt, false},
		{&out.pingAt, of.PingAt, of.Ping == PingSent},
		{&out.stalledAt, of.StalledAt, queued > 0},
	} {
		var err error
		if *t.to, err = restoreInstant(t.at, now, t.isNeeded); err != nil {
			return err
		}
	}
	if queued == 0 {
		out.stalledAt = 0
	}
	s.out[side] = out
	s.pausePongs(side)
	return nil
}

// ConfigState is a Config as one process tells another. The number of a field never gets another meaning.
type ConfigState struct {
	MaxFrame     int64    `cbor:"1,keyasint,omitempty"` // bytes; 0 means no limit
	MaxMessage   int64    `cbor:"2,keyasint,omitempty"` // bytes; 0 means no limit
	Pings        PingMode `cbor:"3,keyasint,omitempty"`
	PingInterval [2]int64 `cbor:"4,keyasint"`           // nanoseconds, as all durations here; 0 means no pings
	PongTimeout  [2]int64 `cbor:"5,keyasint"`           // more than 0
	IdleTimeout  int64    `cbor:"6,keyasint,omitempty"` // 0 means no limit
	CloseTimeout int64    `cbor:"7,keyasint,omitempty"` // more than 0
	WriteTimeout int64    `cbor:"8,keyasint,omitempty"` // more than 0
	BackendLost  uint16   `cbor:"9,keyasint,omitempty"`
	ClientLost   uint16   `cbor:"10,keyasint,omitempty"`
}

// State returns the Config for another process.
func (c *Config) State() ConfigState {
	return ConfigState{
		MaxFrame: c.MaxFrame, MaxMessage: c.MaxMessage, Pings: c.Pings,
		PingInterval: [2]int64{int64(c.PingInterval[Client]), int64(c.PingInterval[Backend])},
		PongTimeout:  [2]int64{int64(c.PongTimeout[Client]), int64(c.PongTimeout[Backend])},
		IdleTimeout:  int64(c.IdleTimeout), CloseTimeout: int64(c.CloseTimeout), WriteTimeout: int64(c.WriteTimeout),
		BackendLost: c.BackendLost, ClientLost: c.ClientLost,
	}
}

// maxTimeout is the longest duration of a ConfigState, 18 years: lastResort times as long is a duration too, and so is that after the
// clock's present.
const maxTimeout = 1 << 59

// Config returns the Config of a state, from whatever source; the error says what is wrong with it.
func (st *ConfigState) Config() (Config, error) {
	if st.MaxFrame < 0 || st.MaxMessage < 0 {
		return Config{}, errors.New("a limit is negative")
	}
	if st.Pings > ForwardPings {
		return Config{}, fmt.Errorf("unknown mode %d of pings", st.Pings)
	}
	for _, code := range []uint16{st.BackendLost, st.ClientLost} {
		if code != 0 && !IsCloseCode(int(code)) {
			return Config{}, fmt.Errorf("close code %d may not be sent", code)
		}
	}
	for _, d := range []int64{st.PingInterval[Client], st.PingInterval[Backend], st.IdleTimeout} {
		if d < 0 || d > maxTimeout {
			return Config{}, fmt.Errorf("a timeout of %d ns", d)
		}
	}
	for _, d := range []int64{st.PongTimeout[Client], st.PongTimeout[Backend], st.CloseTimeout, st.WriteTimeout} {
		if d <= 0 || d > maxTimeout {
			return Config{}, fmt.Errorf("a timeout of %d ns", d)
		}
	}
	return Config{
		MaxFrame: st.MaxFrame, MaxMessage: st.MaxMessage, Pings: st.Pings,
		PingInterval: [2]time.Duration{time.Duration(st.PingInterval[Client]), time.Duration(st.PingInterval[Backend])},
		PongTimeout:  [2]time.Duration{time.Duration(st.PongTimeout[Client]), time.Duration(st.PongTimeout[Backend])},
		IdleTimeout:  time.Duration(st.IdleTimeout), CloseTimeout: time.Duration(st.CloseTimeout), WriteTimeout: time.Duration(st.WriteTimeout),
		BackendLost: st.BackendLost, ClientLost: st.ClientLost,
	}, nil
}
