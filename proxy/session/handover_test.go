package session

import (
	"bytes"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"sluice/handover"
)

// passed returns a state as another process gets it.
func passed(t *testing.T, st State) (got State) {
	t.Helper()
	text, err := handover.Encode(&st)
	if err == nil {
		err = handover.Decode(text, &got)
	}
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestASessionIsTheSameInAnotherProcess(t *testing.T) {
	g := newGateway(t)
	s, _ := g.open(t, 7)
	s.Client = netip.MustParseAddrPort("[fe80::1%eth0]:80")
	s.tls, s.hasDeflate = [2]uint16{0x304, 0x303}, true
	s.Start = s.Start.Add(-time.Hour)
	st := passed(t, s.State())
	if err := st.Check(); err != nil {
		t.Fatal(err)
	}
	got := g.Restore(&st, &g.source, g.route, s.Backend)
	if again := got.State(); !reflect.DeepEqual(again, s.State()) {
		t.Errorf("%+v; want %+v", again, s.State())
	}
	if age := time.Since(got.Start); age < time.Hour || age > time.Hour+patience {
		t.Errorf("it has lasted %v", age)
	}
	if got.Host() != "host" || got.Path() != "/path" || got.Query() != "a=b" || got.Subprotocol() != "chat" {
		t.Errorf("texts %q", got.text)
	}
}

func TestASessionThatBeginsInTheFutureBeginsNow(t *testing.T) {
	g := newGateway(t)
	s, _ := g.open(t, 7)
	st := s.State()
	st.Start += int64(time.Hour)
	if age := time.Since(g.Restore(&st, &g.source, g.route, s.Backend).Start); age < 0 || age > patience {
		t.Errorf("it has lasted %v", age)
	}
}

func TestASessionThatLeavesHasNotEnded(t *testing.T) {
	g := newGateway(t)
	s, _ := g.open(t, 7)
	if !g.Leave(s) || g.Leave(s) {
		t.Error("a session leaves once")
	}
	if g.Count() != 0 || g.released.Load() != 1 || g.ended.Load() != 0 || s.Backend.Sessions() != 0 || len(g.Closes()) != 0 {
		t.Errorf("%d sessions, %d places given back, %d ends, %d of the backend, %d closes; want 0, 1, 0, 0, 0",
			g.Count(), g.released.Load(), g.ended.Load(), s.Backend.Sessions(), len(g.Closes()))
	}
}

func FuzzState(f *testing.F) {
	text, err := handover.Encode(&State{
		ID: 1, Start: 2, Listener: "public", Route: RouteState{Name: "/", Path: "/", Pool: "pool", Drained: 1012}, Host: []byte("host"), Client: []byte{127, 0, 0, 1, 1, 0},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		var st State
		if handover.Decode(text, &st) != nil || st.Check() != nil {
			return
		}
		r := NewRegistry(Config{})
		s := r.Restore(&st, &Source{Name: st.Listener}, nil, nil)
		if s.Host() != string(st.Host) || s.Path() != string(st.Path) || s.Query() != string(st.Query) || s.Subprotocol() != string(st.Protocol) {
			t.Errorf("texts %q of %+v", s.text, st)
		}
		if client, _ := s.Client.MarshalBinary(); len(st.Client) > 0 && !bytes.Equal(client, st.Client) {
			t.Errorf("client %x; want %x", client, st.Client)
		}
		if s.Start.After(time.Now()) {
			t.Errorf("it began at %v", s.Start)
		}
	})
}
