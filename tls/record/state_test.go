package record

import (
	"bytes"
	"strings"
	"testing"
)

// moved returns what another process makes of a connection's state. No difference may be left.
func moved(t testing.TB, c *Conn) Conn {
	t.Helper()
	st := c.State()
	got, err := Restore(&st)
	want := *c
	want.in.cached, want.out.cached = 0, 0 // where a Layer had them
	clear(want.begun[want.begunLen:])      // left from messages before
	if err != nil || got != want {
		t.Fatalf("state %+v becomes the connection %+v, %v; want %+v", st, got, err, want)
	}
	return got
}

func TestConnectionThatHasEndedStaysSoInAnotherProcess(t *testing.T) {
	c, _, out := newConn(suiteIDs[0], false)
	checkAlert(t, c, out, nil)
	got := moved(t, c)
	if p := NewLayer().Seal(&got, nil, [][]byte{[]byte("after")}); len(p) > 0 {
		t.Errorf("%x is sealed after an alert; want nothing", p)
	}
}

// validState returns the state of a client inside a message.
func validState() *State {
	return &State{
		Suite: suiteIDs[0], In: HalfState{bytes.Repeat([]byte{1}, 32), 3}, Out: HalfState{bytes.Repeat([]byte{2}, 32), 4},
		IsClient: true, Begun: []byte{messageKeyUpdate, 0, 0, 1}, Useless: maxUseless,
	}
}

func TestImpossibleStatesAreRefused(t *testing.T) {
	if c, err := Restore(validState()); err != nil || !c.isInMessage() {
		t.Fatalf("Restore = %+v, %v; want a connection inside a message", c, err)
	}
	for _, tt := range []struct {
		name  string
		spoil func(st *State)
		want  string
	}{
		{"nothing", func(st *State) { *st = State{} }, "cipher suite 0x0000"},
		{"suite of TLS 1.2", func(st *State) { st.Suite = 0xc02f }, "cipher suite 0xc02f"},
		{"suite of a longer hash", func(st *State) { st.Suite = suiteIDs[1] }, "secret of 32 bytes"},
		{"no secret", func(st *State) { st.In.Secret = nil }, "secret of 0 bytes"},
		{"short secret", func(st *State) { st.Out.Secret = st.Out.Secret[:31] }, "secret of 31 bytes"},
		{"long secret", func(st *State) { st.Out.Secret = append(st.Out.Secret, 0) }, "secret of 33 bytes"},
		{"records in", func(st *State) { st.In.Seq = 1<<48 + 1 }, "under one key"},
		{"records out", func(st *State) { st.Out.Seq = 1<<64 - 1 }, "under one key"},
		{"useless records", func(st *State) { st.Useless = maxUseless + 1 }, "without data"},
		{"two messages", func(st *State) { st.Left = 1 }, "two messages"},
		{"long beginning", func(st *State) { st.Begun = append(st.Begun, 0) }, "two messages"},
		{"long ticket", func(st *State) { st.Begun, st.Left = nil, maxTicket+1 }, "ticket"},
		{"ticket for a server", func(st *State) { st.Begun, st.Left, st.IsClient = nil, 1, false }, "ticket"},
		{"other message", func(st *State) { st.Begun[0] = messageNewSessionTicket }, "message that is impossible"},
		{"long KeyUpdate", func(st *State) { st.Begun[3] = 2 }, "message that is impossible"},
	} {
		st := validState()
		tt.spoil(st)
		if c, err := Restore(st); err == nil || !strings.Contains(err.Error(), tt.want) || c != (Conn{}) {
			t.Errorf("%s: Restore = %+v, %v; want an error with %q", tt.name, c, err, tt.want)
		}
	}
}

// FuzzRestore shows that what is restored, of whatever state, opens and seals whatever comes, and tells the same of itself.
func FuzzRestore(f *testing.F) {
	f.Add(uint16(suiteIDs[0]), zeros(32), zeros(32), uint64(1), uint64(2), byte(7), uint32(0), []byte{24, 0, 0, 1}, byte(3), []byte{23, 3, 3, 0, 17})
	f.Add(uint16(suiteIDs[1]), zeros(48), zeros(48), uint64(1)<<47, uint64(recordLimit), byte(1), uint32(9), []byte{}, byte(32), zeros(30))
	f.Add(uint16(suiteIDs[2]), zeros(32), zeros(32), uint64(0), uint64(0), byte(0), uint32(0), []byte{4}, byte(0), zeros(3))
	f.Fuzz(func(t *testing.T, suite uint16, in, out []byte, inSeq, outSeq uint64, flags byte, left uint32, begun []byte, useless byte, content []byte) {
		st := State{
			Suite: suite, In: HalfState{in, inSeq}, Out: HalfState{out, outSeq},
			IsClient: flags&1 > 0, OwesUpdate: flags&2 > 0, HasEnded: flags&4 > 0, Left: left, Begun: begun, Useless: useless,
		}
		c, err := Restore(&st)
		if err != nil || inSeq > maxSeq-2 { // with the records below it is over the bound
			return
		}
		moved(t, &c)
		// The peer has the same keys, the other way round: what it seals is opened.
		peer, err := Restore(&State{Suite: suite, In: st.Out, Out: st.In})
		if err != nil {
			t.Fatal(err)
		}
		l := NewLayer()
		for _, contentType := range []byte{typeHandshake, typeApplicationData} {
			if len(content) == 0 || len(content) > MaxContent {
				break
			}
			record := l.seal(&peer, append(append(appendHeader(nil, len(content)), content...), contentType), 0)
			got, consumed, err := l.Open(&c, make([]byte, 0, len(content)), record)
			if fault, isFault := err.(*Fault); isFault && fault.Alert == BadRecordMAC || consumed != len(record) {
				t.Fatalf("a record of the peer is opened as %x, %d bytes of it, %v", got, consumed, err)
			}
			if err != nil && err != ErrKeyUpdate {
				return
			}
			moved(t, &c)
			if err == ErrKeyUpdate {
				peer.out.update(peer.suite)
			}
		}
		records := l.Seal(&c, nil, [][]byte{[]byte("data")})
		if st.HasEnded != (len(records) == 0) {
			t.Fatalf("%d bytes are sealed, ended %t", len(records), st.HasEnded)
		}
		got, consumed, err := l.Open(&peer, make([]byte, 0, len(records)), records)
		if err == ErrKeyUpdate {
			got, _, err = l.Open(&peer, make([]byte, 0, len(records)), records[consumed:])
		}
		if err != nil || len(records) > 0 && string(got) != "data" {
			t.Errorf("the peer opens %q, %v; want what was sealed", got, err)
		}
	})
}
