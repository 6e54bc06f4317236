package handover

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"sluice/proxy/relay"
	"sluice/tls/record"
)

// A sample is a message or a part of one, and the descriptors that come with it.
type sample struct {
	name        string
	kind        Kind // 0: a part
	value       any  // a pointer
	descriptors int
}

// samples are those of testdata/form1, whose files say the same. A file is never written again.
func samples() []sample {
	return []sample{
		{"hello", KindHello, &Hello{
			Form: 1, Build: "v1.2.3", PID: 4711, Clock: 123456789,
			Sockets: []Socket{{Name: "public", Address: "0.0.0.0:443"}, {Address: "unix:/run/sluice.sock", IsOwn: true, IsAdmin: true}},
		}, 2},
		{"ready", KindReady, &Ready{Form: 1, Build: "v1.2.4", PID: 4712}, 0},
		{"failed", KindFailed, &Failed{Text: "sluice.toml:3: listen: missing"}, 0},
		{"pools_and_keys", KindPoolsAndKeys, &PoolsAndKeys{Pools: cbor.RawMessage{0x81, 0x01}, Keys: cbor.RawMessage{0xa1, 0x01, 0x02}}, 0},
		{"started", KindStarted, &Started{}, 0},
		{"sessions", KindSessions, &Sessions{Sessions: []cbor.RawMessage{{0xa1, 0x01, 0x02}, {0xa0}}}, 4},
		{"ack", KindAck, &Ack{Why: []string{"", "unknown cipher suite"}}, 0},
		{"done", KindDone, &Done{}, 0},
		{"bye", KindBye, &Bye{}, 0},
		{"remaining", KindRemaining, &Remaining{Sessions: 12, Older: []Process{{PID: 4710, Sessions: 3}}}, 0},
		{"relay_state", 0, relaySample(), 0},
		{"relay_config", 0, configSample(), 0},
		{"record_state", 0, recordSample(), 0},
	}
}

func relaySample() *relay.State {
	return &relay.State{
		Sides: [2]relay.SideState{
			{
				Frames: 3, Messages: 2, Bytes: 100, Left: 10, MessageBytes: 20, IsInMessage: true, IsLastFrame: true,
				ClockAt: 50, StalledAt: 40, AtStall: 8, RestartAt: 30, Ping: relay.PingQueued, PingLeft: 60, Pongs: 20, PongsLeft: 70, Unacked: 9,
			},
			{Frames: 1, Messages: 1, IsPaused: true, ClockAt: 45, RestartAt: 35, Ping: relay.PingSent, PingAt: 36, Mirrored: 7, Waits: 2, RTTMicros: 900},
		},
		DataAt: 50, PingID: 1<<64 - 1, HasDeflate: true,
	}
}

func configSample() *relay.ConfigState {
	return &relay.ConfigState{
		MaxFrame: 1 << 28, MaxMessage: 1 << 29, Pings: relay.MirrorPings, PingInterval: [2]int64{20e9, 21e9}, PongTimeout: [2]int64{10e9, 60e9},
		IdleTimeout: 3600e9, CloseTimeout: 5e9, WriteTimeout: 61e9, BackendLost: 1012, ClientLost: 1001,
	}
}

func recordSample() *record.State {
	return &record.State{
		Suite: 0x1301, In: record.HalfState{Secret: bytes.Repeat([]byte{1}, 32), Seq: 5}, Out: record.HalfState{Secret: bytes.Repeat([]byte{2}, 32), Seq: 6},
		IsClient: true, OwesUpdate: true, HasEnded: true, Left: 7, Begun: []byte{24, 0}, Useless: 3,
	}
}

func TestMessagesOfForm1AreRead(t *testing.T) { checkForm1(t, samples()) }

// checkForm1 checks that the files of testdata/form1 say what samples say.
func checkForm1(t *testing.T, samples []sample) {
	t.Helper()
	for _, s := range samples {
		p, err := os.ReadFile(filepath.Join("testdata", "form1", s.name+".cbor"))
		if err != nil {
			t.Fatal(err)
		}
		got := reflect.New(reflect.TypeOf(s.value).Elem())
		if err := Decode(p, got.Interface(), make([]int, s.descriptors)...); err != nil || !reflect.DeepEqual(got.Interface(), s.value) {
			t.Errorf("%s: Decode(%x) = %+v, %v; want %+v", s.name, p, got.Elem(), err, s.value)
		}
	}
}

func TestMessageIsDecodedAsItWasEncoded(t *testing.T) {
	for _, s := range samples() {
		got := reflect.New(reflect.TypeOf(s.value).Elem())
		if err := Decode(encoded(t, s.value), got.Interface(), make([]int, s.descriptors)...); err != nil || !reflect.DeepEqual(got.Interface(), s.value) {
			t.Errorf("%s: decoded is %+v, %v; want %+v", s.name, got.Elem(), err, s.value)
		}
	}
}

func encoded(t testing.TB, v any) []byte {
	t.Helper()
	p, err := Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestUnknownFieldsAreSkippedAndMissingOnesAreZero(t *testing.T) {
	p := encoded(t, map[int]any{1: 1, 3: 5, 99: "new", 100: map[int]any{1: []int{1, 2}}, -1: nil})
	var got Ready
	if err := Decode(p, &got); err != nil || got != (Ready{Form: 1, PID: 5}) {
		t.Errorf("Decode = %+v, %v; want form 1 and process 5", got, err)
	}
	p = encoded(t, map[int]any{1: []any{map[int]any{4: 7, 77: 1}}, 4: true, 50: []byte{1}})
	var st relay.State
	want := relay.State{Sides: [2]relay.SideState{{Left: 7}, {}}, HasDeflate: true}
	if err := Decode(p, &st); err != nil || st != want {
		t.Errorf("Decode = %+v, %v; want %+v", st, err, want)
	}
	var ack Ack
	if err := Decode([]byte{0xa0}, &ack); err != nil || len(ack.Why) != 0 {
		t.Errorf("Decode of an empty Ack = %+v, %v; want no sessions", ack, err)
	}
}

func TestMessageCutAtAnyByteIsRefused(t *testing.T) {
	for _, s := range samples() {
		p := encoded(t, s.value)
		for n := range p {
			got := reflect.New(reflect.TypeOf(s.value).Elem()).Interface()
			if err := Decode(p[:n], got, make([]int, s.descriptors)...); err == nil {
				t.Errorf("%s: %d of %d bytes are decoded as %+v; want an error", s.name, n, len(p), got)
			}
		}
		got := reflect.New(reflect.TypeOf(s.value).Elem()).Interface()
		if err := Decode(append(p, 0), got, make([]int, s.descriptors)...); err == nil {
			t.Errorf("%s: with a byte more, it is decoded as %+v; want an error", s.name, got)
		}
	}
}

func TestMessagesOverTheirBoundsAreRefused(t *testing.T) {
	long := strings.Repeat("x", MaxText+1)
	nested := append(bytes.Repeat([]byte{0x81}, 17), 0x01)
	for _, tt := range []struct {
		name        string
		message     any
		into        any
		descriptors int
		want        string
	}{
		{"other form", &Hello{Form: 2}, new(Hello), 0, "form 2"},
		{"no form", &Ready{}, new(Ready), 0, "form 0"},
		{"long build", &Ready{Form: Form, Build: long}, new(Ready), 0, "over 4096 bytes"},
		{"long build of the old", &Hello{Form: Form, Build: long}, new(Hello), 0, "over 4096 bytes"},
		{"long name", &Hello{Form: Form, Sockets: []Socket{{Name: long}}}, new(Hello), 1, "over 4096 bytes"},
		{"long address", &Hello{Form: Form, Sockets: []Socket{{Address: long}}}, new(Hello), 1, "over 4096 bytes"},
		{"process", &Hello{Form: Form, PID: -1}, new(Hello), 0, "negative"},
		{"new process", &Ready{Form: Form, PID: -1}, new(Ready), 0, "negative"},
		{"sockets without descriptors", &Hello{Form: Form, Sockets: make([]Socket, 2)}, new(Hello), 1, "came with 1 descriptors, and speaks of 2"},
		{"descriptors without sockets", &Hello{Form: Form}, new(Hello), 1, "came with 1 descriptors, and speaks of 0"},
		{"long text", &Failed{Text: long}, new(Failed), 0, "over 4096 bytes"},
		{"too many sessions", &Sessions{Sessions: raws(MaxSessions + 1)}, new(Sessions), 2 * (MaxSessions + 1), "101 sessions"},
		{"a descriptor too few", &Sessions{Sessions: raws(2)}, new(Sessions), 3, "came with 3 descriptors, and speaks of 4"},
		{"a descriptor too many", &Sessions{Sessions: raws(2)}, new(Sessions), 5, "came with 5 descriptors, and speaks of 4"},
		{"too many acknowledged", &Ack{Why: make([]string, MaxSessions+1)}, new(Ack), 0, "101 sessions"},
		{"long reason", &Ack{Why: []string{"", long}}, new(Ack), 0, "over 4096 bytes"},
		{"sessions below none", &Remaining{Sessions: -1}, new(Remaining), 0, "negative"},
		{"sessions of an older one below none", &Remaining{Older: []Process{{PID: 1, Sessions: -1}}}, new(Remaining), 0, "negative"},
		{"a process below none", &Remaining{Older: []Process{{PID: -1}}}, new(Remaining), 0, "negative"},
		{"descriptors with Done", &Done{}, new(Done), 1, "came with 1 descriptors"},
		{"descriptors with an Ack", &Ack{}, new(Ack), 1, "came with 1 descriptors"},
		{"sum of elements", make([]int, 1<<16+1), new([]int), 0, "exceeded max number of elements"},
		{"a field twice", cbor.RawMessage{0xa2, 0x01, 0x01, 0x01, 0x01}, new(Ready), 0, "duplicate"},
		{"no end announced", cbor.RawMessage{0xbf, 0x01, 0x01, 0xff}, new(Ready), 0, "indefinite"},
		{"a tag", cbor.RawMessage{0xc1, 0x01}, new(int), 0, "tag"},
		{"depth", cbor.RawMessage(nested), new(any), 0, "nested"},
		{"an integer that is too large", map[int]any{1: []any{map[int]any{18: 1 << 16}}}, new(relay.State), 0, "overflow"},
		{"a text instead of a number", map[int]any{1: "x"}, new(Ready), 0, "cannot unmarshal"},
	} {
		p, isRaw := tt.message.(cbor.RawMessage)
		if !isRaw {
			p = encoded(t, tt.message)
		}
		if err := Decode(p, tt.into, make([]int, tt.descriptors)...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want an error with %q", tt.name, err, tt.want)
		}
	}
}

// raws returns sessions about which nothing is said.
func raws(n int) []cbor.RawMessage {
	all := make([]cbor.RawMessage, n)
	for i := range all {
		all[i] = cbor.RawMessage{0xa0}
	}
	return all
}

// FuzzDecode shows that no bytes make Decode panic, and that what relay and record restore of them says the same of itself.
func FuzzDecode(f *testing.F) {
	for _, s := range samples() {
		f.Add(encoded(f, s.value), s.descriptors)
	}
	f.Fuzz(func(t *testing.T, p []byte, descriptors int) {
		fds := make([]int, min(max(descriptors, 0), MaxDescriptors))
		for _, s := range samples() {
			got := reflect.New(reflect.TypeOf(s.value).Elem()).Interface()
			if err := Decode(p, got, fds...); err != nil {
				continue
			}
			again := reflect.New(reflect.TypeOf(s.value).Elem()).Interface()
			if err := Decode(encoded(t, got), again, fds...); err != nil {
				t.Errorf("%s: %x is decoded as %+v, which can't be decoded again: %v", s.name, p, got, err)
			}
			switch st := got.(type) {
			case *relay.State:
				restoreRelay(t, st)
			case *relay.ConfigState:
				if c, err := st.Config(); err == nil && c.State() != *st {
					t.Errorf("the config of %+v has the state %+v", st, c.State())
				}
			case *record.State:
				if len(st.Begun) == 0 {
					st.Begun = nil
				}
				if c, err := record.Restore(st); err == nil && !reflect.DeepEqual(c.State(), *st) {
					t.Errorf("the connection of %+v has the state %+v", st, c.State())
				}
			}
		}
	})
}

// restoreRelay restores a session whose driver keeps what the state speaks of.
func restoreRelay(t *testing.T, st *relay.State) {
	const now = 1 << 40
	var kept relay.Kept
	for side := range kept.Queued {
		kept.Queued[side] = int(max(st.Sides[side].PongsLeft, st.Sides[side].PingLeft, 0))
	}
	s, err := relay.Restore(st, &kept, now)
	if err != nil {
		return
	}
	first, isMovable := s.State()
	if !isMovable {
		t.Fatalf("the session of %+v isn't movable", st)
	}
	again, err := relay.Restore(&first, &kept, now)
	if err != nil || again != s {
		t.Errorf("the session of %+v is restored as %+v, %v; want %+v", st, again, err, s)
	}
}
