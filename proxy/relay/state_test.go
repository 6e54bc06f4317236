package relay

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// stateNow is the instant at which the tests restore.
const stateNow = Instant(time.Hour)

// midMessage returns the state of a session inside a frame of the client's, and what its driver keeps: a ping and pongs are on their way.
func midMessage() (*State, *Kept) {
	return &State{
			Sides: [2]SideState{
				{
					Frames: 3, Messages: 2, Bytes: 100, Left: 10, MessageBytes: 20, IsInMessage: true, IsLastFrame: true,
					ClockAt: 50, StalledAt: 40, AtStall: 8, RestartAt: 30, Ping: PingQueued, PingLeft: 60, Pongs: 20, PongsLeft: 70, Unacked: 9,
				},
				{Frames: 1, Messages: 1, IsPaused: true, ClockAt: 45, RestartAt: 35, Ping: PingSent, PingAt: 36, Mirrored: 7, Waits: 2, RTTMicros: 900},
			},
			DataAt: 50, PingID: 99, HasDeflate: true,
		},
		&Kept{Queued: [2]int{Client: 100}, Held: [2]int{Backend: 6}, Carried: [2]int{Backend: 3}}
}

func TestStateSurvivesItsRestoration(t *testing.T) {
	st, kept := midMessage()
	s, err := Restore(st, kept, stateNow)
	if err != nil {
		t.Fatal(err)
	}
	got, isMovable := s.State()
	if !isMovable || !reflect.DeepEqual(&got, st) {
		t.Errorf("the state is %+v, movable %t; want %+v", got, isMovable, *st)
	}
	if s.AtBoundary(Backend) || s.Movable(Client) != 10 || !s.IsPaused(Backend) || s.Reads(Backend) || !s.in[Backend].isPartial || s.out[Backend].held != 6 {
		t.Errorf("the session is %+v; want it inside the client's frame, with the backend paused after a part of a header", s)
	}
}

func TestZeroStateIsASessionThatBeginsNow(t *testing.T) {
	got, err := Restore(&State{}, &Kept{}, stateNow)
	var want Session
	want.Begin(&Env{Now: stateNow}, false)
	for side := range want.out { // nothing has been looked at
		want.out[side].unacked, want.out[side].atStall = -1, -1
	}
	if err != nil || got != want {
		t.Errorf("Restore of nothing = %+v, %v; want %+v", got, err, want)
	}
}

func TestInstantsThatLieAheadCountAsNow(t *testing.T) {
	st, kept := midMessage()
	const ahead = 1 << 62
	st.DataAt, st.Sides[Client].ClockAt, st.Sides[Client].StalledAt, st.Sides[Backend].RestartAt, st.Sides[Backend].PingAt = ahead, ahead, ahead, ahead, ahead
	s, err := Restore(st, kept, stateNow)
	if err != nil {
		t.Fatal(err)
	}
	for what, at := range map[string]Instant{
		"data": s.dataAt, "clock": s.in[Client].clock, "stall": s.out[Client].stalledAt, "restart": s.out[Backend].restartAt, "ping": s.out[Backend].pingAt,
	} {
		if at != stateNow {
			t.Errorf("%s is at %d; want %d", what, at, stateNow)
		}
	}
}

func TestSideWhoseCauseOfAPauseIsGoneIsRead(t *testing.T) {
	st := &State{Sides: [2]SideState{{IsPaused: true}, {IsPaused: true}}}
	s, err := Restore(st, &Kept{Queued: [2]int{Client: 1}}, stateNow)
	if err != nil || !s.Reads(Client) || s.Reads(Backend) {
		t.Errorf("with bytes for the client alone, reads the client %t and the backend %t, %v; want true, false", s.Reads(Client), s.Reads(Backend), err)
	}
}

func TestSideThatOwesTooManyPongsIsNotRead(t *testing.T) {
	st := &State{Sides: [2]SideState{{Pongs: maxPongs + 1, PongsLeft: maxPongs + 1}, {}}}
	s, err := Restore(st, &Kept{Queued: [2]int{Client: maxPongs + 1}}, stateNow)
	if err != nil || s.Reads(Client) || !s.Reads(Backend) {
		t.Errorf("reads the client %t and the backend %t, %v; want false, true", s.Reads(Client), s.Reads(Backend), err)
	}
}

func TestSessionThatEndsOrHasActsLeftIsNotMovable(t *testing.T) {
	for name, end := range map[string]func(s *Session, e *Env){
		"close of both": func(s *Session, e *Env) { s.CloseBoth(e, 1012, ReasonDrain) },
		"end of stream": func(s *Session, e *Env) { s.Ended(e, Client) },
		"reset":         func(s *Session, e *Env) { s.Lost(e, Backend) },
		"failed write":  func(s *Session, e *Env) { s.WriteFailed(e, Client) },
		"abort":         func(s *Session, e *Env) { s.Abort(e, [2]bool{}) },
		"acts": func(s *Session, e *Env) {
			s.Pause(Client)
			s.Resume(e, Client)
		},
	} {
		s, e := newBenchSession()
		if _, isMovable := s.State(); !isMovable {
			t.Fatal("a session that has just begun isn't movable")
		}
		end(s, e)
		if _, isMovable := s.State(); isMovable {
			t.Errorf("%s: the session is movable", name)
		}
		if s.TakeActs(); name == "acts" {
			if _, isMovable := s.State(); !isMovable {
				t.Error("without acts left the session isn't movable")
			}
		}
	}
}

func TestImpossibleStatesAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(st *State, client, backend *SideState, kept *Kept)
		want  string
	}{
		{"time of data", func(st *State, _, _ *SideState, _ *Kept) { st.DataAt = -1 }, "last data"},
		{"negative rest", func(_ *State, c, _ *SideState, _ *Kept) { c.Left = -1 }, "length"},
		{"negative message", func(_ *State, c, _ *SideState, _ *Kept) { c.MessageBytes = -1 }, "length"},
		{"message over the count", func(_ *State, c, _ *SideState, _ *Kept) { c.MessageBytes = 1<<62 + 1 }, "length"},
		{"frame without a message", func(_ *State, c, _ *SideState, _ *Kept) { c.IsInMessage = false }, "outside of a message"},
		{"bytes without a message", func(_ *State, _, b *SideState, _ *Kept) { b.MessageBytes = 1 }, "outside of a message"},
		{"frame over its message", func(_ *State, c, _ *SideState, _ *Kept) { c.Left = 21 }, "longer than its message"},
		{"last frame without an end", func(_ *State, _, b *SideState, _ *Kept) { b.IsLastFrame = true }, "last frame"},
		{"negative header", func(_ *State, _, _ *SideState, k *Kept) { k.Carried[Backend] = -1 }, "header"},
		{"long header", func(_ *State, _, _ *SideState, k *Kept) { k.Carried[Backend] = MaxCarry + 1 }, "header"},
		{"header inside a frame", func(_ *State, _, _ *SideState, k *Kept) { k.Carried[Client] = 1 }, "header inside"},
		{"negative clock", func(_ *State, _, b *SideState, _ *Kept) { b.ClockAt = -1 }, "instant"},
		{"negative queue", func(_ *State, _, _ *SideState, k *Kept) { k.Queued[Backend] = -1 }, "number of bytes"},
		{"large queue", func(_ *State, _, _ *SideState, k *Kept) { k.Queued[Backend] = 1<<30 + 1 }, "number of bytes"},
		{"negative pongs held", func(_ *State, _, _ *SideState, k *Kept) { k.Held[Backend] = -1 }, "number of bytes"},
		{"many pongs held", func(_ *State, _, _ *SideState, k *Kept) { k.Held[Backend] = 1<<30 + 1 }, "number of bytes"},
		{"negative pongs", func(_ *State, _, b *SideState, _ *Kept) { b.Pongs = -1 }, "number of bytes"},
		{"many pongs", func(_ *State, _, b *SideState, _ *Kept) { b.Pongs = 1<<30 + 1 }, "number of bytes"},
		{"pongs held at a boundary", func(_ *State, _, _ *SideState, k *Kept) { k.Held[Client] = 1 }, "boundary"},
		{"pongs behind the queue", func(_ *State, c, _ *SideState, _ *Kept) { c.PongsLeft = 101 }, "pongs are not"},
		{"pongs that have gone", func(_ *State, c, _ *SideState, _ *Kept) { c.PongsLeft = 0 }, "pongs are not"},
		{"ping behind the queue", func(_ *State, c, _ *SideState, _ *Kept) { c.PingLeft = 101 }, "a ping is not"},
		{"ping that has gone", func(_ *State, c, _ *SideState, _ *Kept) { c.PingLeft = 0 }, "a ping is not"},
		{"unknown ping", func(_ *State, c, _ *SideState, _ *Kept) { c.Ping = PingSent + 1 }, "unknown state"},
		{"ping without payload", func(st *State, _, _ *SideState, _ *Kept) { st.PingID = 0 }, "without a payload"},
		{"negative look", func(_ *State, c, _ *SideState, _ *Kept) { c.Unacked = -1 }, "in the kernel"},
		{"large look", func(_ *State, c, _ *SideState, _ *Kept) { c.Unacked = 1 << 31 }, "in the kernel"},
		{"negative look at a stall", func(_ *State, c, _ *SideState, _ *Kept) { c.AtStall = -1 }, "in the kernel"},
		{"large look at a stall", func(_ *State, c, _ *SideState, _ *Kept) { c.AtStall = 1 << 31 }, "in the kernel"},
		{"negative restart", func(_ *State, c, _ *SideState, _ *Kept) { c.RestartAt = -1 }, "instant"},
		{"negative ping", func(_ *State, _, b *SideState, _ *Kept) { b.PingAt = -1 }, "instant"},
		{"negative stall", func(_ *State, c, _ *SideState, _ *Kept) { c.StalledAt = -1 }, "instant"},
	} {
		st, kept := midMessage()
		tt.spoil(st, &st.Sides[Client], &st.Sides[Backend], kept)
		if s, err := Restore(st, kept, stateNow); err == nil || !strings.Contains(err.Error(), tt.want) || s != (Session{}) {
			t.Errorf("%s: Restore = %+v, %v; want an error with %q", tt.name, s, err, tt.want)
		}
	}
}

func TestFrameMayBeLongerThanWhatIsCounted(t *testing.T) {
	st := &State{Sides: [2]SideState{{Frames: 1, Left: 1<<63 - 1, MessageBytes: 1 << 62, IsInMessage: true}, {}}}
	if s, err := Restore(st, &Kept{}, stateNow); err != nil || s.Movable(Client) != 1<<63-1 {
		t.Errorf("Restore = %d bytes to come, %v; want %d", s.Movable(Client), err, int64(1<<63-1))
	}
}

// testConfigState is the default of a route.
func testConfigState() *ConfigState {
	return &ConfigState{
		MaxFrame: 1 << 28, MaxMessage: 1 << 28, Pings: MirrorPings,
		PingInterval: [2]int64{int64(20 * time.Second), 0}, PongTimeout: [2]int64{int64(10 * time.Second), int64(time.Minute)},
		IdleTimeout: int64(time.Hour), CloseTimeout: int64(5 * time.Second), WriteTimeout: int64(time.Minute),
		BackendLost: 1012, ClientLost: 0,
	}
}

func TestConfigSurvivesItsState(t *testing.T) {
	st := testConfigState()
	c, err := st.Config()
	if err != nil {
		t.Fatal(err)
	}
	if got := c.State(); got != *st {
		t.Errorf("the state is %+v; want %+v", got, *st)
	}
	if c.PongTimeout != [2]time.Duration{10 * time.Second, time.Minute} || c.BackendLost != 1012 || c.WriteTimeout != time.Minute {
		t.Errorf("the config is %+v; want that of %+v", c, *st)
	}
}

func TestImpossibleConfigsAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(st *ConfigState){
		"negative frame":    func(st *ConfigState) { st.MaxFrame = -1 },
		"negative message":  func(st *ConfigState) { st.MaxMessage = -1 },
		"unknown pings":     func(st *ConfigState) { st.Pings = ForwardPings + 1 },
		"code for a client": func(st *ConfigState) { st.BackendLost = 1006 },
		"code for backend":  func(st *ConfigState) { st.ClientLost = 999 },
		"negative interval": func(st *ConfigState) { st.PingInterval[Backend] = -1 },
		"negative idle":     func(st *ConfigState) { st.IdleTimeout = -1 },
		"long idle":         func(st *ConfigState) { st.IdleTimeout = maxTimeout + 1 },
		"no pong timeout":   func(st *ConfigState) { st.PongTimeout[Client] = 0 },
		"no close timeout":  func(st *ConfigState) { st.CloseTimeout = 0 },
		"no write timeout":  func(st *ConfigState) { st.WriteTimeout = 0 },
		"long write":        func(st *ConfigState) { st.WriteTimeout = maxTimeout + 1 },
		"nothing at all":    func(st *ConfigState) { *st = ConfigState{} },
	} {
		st := testConfigState()
		spoil(st)
		if c, err := st.Config(); err == nil || c != (Config{}) {
			t.Errorf("%s: Config = %+v, %v; want an error", name, c, err)
		}
	}
}
