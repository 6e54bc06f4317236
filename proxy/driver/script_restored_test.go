package driver

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"sluice/proxy/relay"
)

// newRestored returns a model of a session that another process has handed over: a random state that is possible, but for one value of it
// that spoil has changed. It returns nil for a state that relay refuses. What the sides have sent before is made up to fit.
func newRestored(t testing.TB, seed uint64, spoil func(st *relay.State)) *model {
	m := newModel(t, seed)
	st := relay.State{DataAt: m.instant(), PingID: 1 + m.r.Uint64N(1<<60)}
	var rest [2][]byte // of a ping, of which the driver has a part
	for from := relay.Client; from <= relay.Backend; from++ {
		p, to := m.acquired(), from.Other()
		queued := m.r.IntN(4000) * m.r.IntN(2)
		p.queue[to].append(m.pools, make([]byte, queued))
		m.queued.Add(int64(queued))
		in := &st.Sides[from]
		in.Messages = uint64(m.r.IntN(3))
		in.Frames = in.Messages + uint64(m.r.IntN(3))
		in.IsPaused, in.ClockAt = m.r.IntN(4) == 0, m.instant()
		switch m.r.IntN(3) {
		case 0: // inside a frame
			in.Left = 1 + m.r.Int64N(20_000)
			in.IsLastFrame = m.r.IntN(2) == 0
			for range m.r.IntN(300) * m.r.IntN(2) {
				p.held[to] = append(p.held[to], (&peer{side: from}).frame(isFin|opPong, make([]byte, 8))...)
			}
			fallthrough
		case 1: // inside a message
			in.IsInMessage = true
			in.Frames++
			in.MessageBytes = in.Left + m.r.Int64N(100_000)
		}
		if in.Left == 0 && m.r.IntN(2) == 0 {
			ping := (&peer{side: from}).frame(isFin|opPing, make([]byte, 1+m.r.IntN(125)))
			n := 1 + m.r.IntN(len(ping)-1)
			p.carry[from].set(ping[:n])
			rest[from] = ping[n:]
		}
		out := &st.Sides[to]
		out.RestartAt, out.PingAt, out.StalledAt = m.instant(), m.instant(), m.instant()
		out.Unacked, out.AtStall, out.Waits, out.RTTMicros = m.r.Int64N(1000), m.r.Int64N(1000), uint16(m.r.IntN(5)), m.r.Uint32()
		out.Mirrored = m.r.Uint32() * uint32(m.r.IntN(2))
		if out.Ping = []relay.PingState{relay.PingNone, relay.PingSent, relay.PingQueued}[m.r.IntN(2+min(queued, 1))]; out.Ping == relay.PingQueued {
			out.PingLeft = int32(1 + m.r.IntN(queued))
		}
		if queued > 0 && m.r.IntN(2) == 0 {
			out.Pongs, out.PongsLeft = int32(1+m.r.IntN(6000)), int32(1+m.r.IntN(queued))
		}
	}
	spoil(&st)
	kept := m.kept()
	var err error
	if m.core, err = relay.Restore(&st, &kept, m.env.Now); err != nil {
		return nil
	}
	for from := relay.Client; from <= relay.Backend; from++ {
		in, to := &st.Sides[from], from.Other()
		first := byte(opBinary)
		if !in.IsInMessage || in.IsLastFrame {
			first |= isFin
		}
		// All that waits is payload of one frame, which began long ago.
		header := (&peer{side: from}).header(first, int(min(in.Left, math.MaxInt64-roomEnough))+kept.Queued[to])
		m.ends[to].written = bytes.Clone(header)
		s := m.session()
		m.sent[from] = append(append(header, make([]byte, kept.Queued[to])...), m.carried(&s, from)...)
		m.left[from], m.in[from] = int(min(in.Left, 20_000)), in.IsInMessage && !in.IsLastFrame
	}
	for from := relay.Client; from <= relay.Backend; from++ {
		if m.r.IntN(4) > 0 {
			m.arrive(from, rest[from])
		}
	}
	return m
}

// acquired returns the session's pending state.
func (m *model) acquired() *pending {
	s := m.session()
	return m.acquirePending(&s)
}

// instant returns one of a state: unknown, long ago, a moment ago, or ahead.
func (m *model) instant() int64 {
	now := int64(m.env.Now)
	return []int64{0, 1, now - m.r.Int64N(int64(2*time.Minute)), now, now + 1, math.MaxInt64}[m.r.IntN(6)]
}

// live lets random events happen to a session, until it is over.
func (m *model) live(events int) {
	m.t.Helper()
	m.check()
	for range events {
		m.step()
		m.check()
	}
	m.end()
}

func TestEverySessionThatIsRestoredKeepsTheInvariantsAndEnds(t *testing.T) {
	runs := 1000
	if testing.Short() {
		runs = 200
	}
	for seed := range uint64(runs) {
		m := newRestored(t, seed, func(*relay.State) {})
		if m == nil {
			t.Fatalf("seed %d: a state that is possible is refused", seed)
		}
		m.live(m.r.IntN(60))
		if t.Failed() {
			t.Fatalf("seed %d: %s", seed, strings.Join(m.log, ", "))
		}
	}
}

// FuzzRestoredSession sets a field of a state to any value: the state is refused, or its session keeps the invariants.
func FuzzRestoredSession(f *testing.F) {
	for field := range byte(2 + 2*reflect.TypeFor[relay.SideState]().NumField()) {
		for seed, value := range []int64{0, 1, 2, -1, 255, 5000, 1 << 31, 1 << 62, math.MaxInt64} {
			f.Add(uint64(seed), field, value)
		}
	}
	f.Fuzz(func(t *testing.T, seed uint64, field byte, value int64) {
		if m := newRestored(t, seed, func(st *relay.State) { set(st, int(field), value) }); m != nil {
			m.live(m.r.IntN(30))
		}
	})
}

// set sets a field of a state: those of its sides one after the other, and then its own.
func set(st *relay.State, field int, value int64) {
	n := reflect.TypeFor[relay.SideState]().NumField()
	v := reflect.ValueOf(st).Elem()
	if field < 2*n {
		v = reflect.ValueOf(&st.Sides[field/n]).Elem().Field(field % n)
	} else {
		v = v.Field(1 + (field-2*n)%(v.NumField()-1))
	}
	switch {
	case v.CanInt():
		v.SetInt(value)
	case v.CanUint():
		v.SetUint(uint64(value))
	default:
		v.SetBool(value&1 > 0)
	}
}
