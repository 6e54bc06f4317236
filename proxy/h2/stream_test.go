package h2

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhatIsOnItsWayToAStreamThatWeHaveReset(t *testing.T) {
	p := newPeer(t, server)
	s := p.opened(1)
	p.out = p.c.AppendReset(p.out, s, Cancel)
	p.out = p.c.AppendReset(p.out, s, Cancel)
	p.out = p.c.AppendHeaders(p.out, s, []Field{{":status", "200"}}, true)
	p.out = p.c.AppendData(p.out, s, 0, true)
	p.out = p.c.AppendTaken(p.out, s, StreamWindow)
	if diff := cmp.Diff([]string{"RST_STREAM 1 CANCEL"}, p.frames()); diff != "" {
		t.Error(diff)
	}
	p.raw(frameData, 0, 1, "x")
	p.raw(frameWindowUpdate, 0, 1, "\x00\x00\x00\x08")
	p.headers(1, true, "indexed", "1")
	p.raw(frameRSTStream, 0, 1, "\x00\x00\x00\x08")
	p.headers(3, true, with("indexed", "1")...)
	got := p.send()
	if len(got) != 1 || got[0].Kind != Opened || len(got[0].Head.Fields) != 1 || len(p.frames()) != 0 {
		t.Errorf("events: %v", got)
	}
}

func TestGoAwayRefusesLaterStreams(t *testing.T) {
	p := newPeer(t, server)
	s := p.opened(1)
	p.out = p.c.AppendGoAway(p.out, NoError, "drain")
	p.headers(3, false, get...).raw(frameData, flagEndStream, 3, "x")
	p.raw(frameData, flagEndStream, 1, "y")
	if got := p.send(); len(got) != 1 || got[0].Stream != s || !got[0].IsEnd {
		t.Errorf("events: %v", got)
	}
	p.out = p.c.AppendGoAway(p.out, NoError, "")
	p.raw(frameGoAway, 0, 0, "")
	if _, err := p.trySend(); err == nil {
		t.Error("no fault")
	}
	want := []string{"GOAWAY 1 NO_ERROR", "RST_STREAM 3 REFUSED_STREAM", "GOAWAY 1 NO_ERROR", "GOAWAY 1 FRAME_SIZE_ERROR"}
	if diff := cmp.Diff(want, p.frames()); diff != "" {
		t.Error(diff)
	}
}

func TestRoom(t *testing.T) {
	p := rawPeer(t, client)
	want := func(n int) {
		t.Helper()
		if got := p.c.Room(); got != n {
			t.Errorf("Room = %d, want %d", got, n)
		}
	}
	want(0)
	if s, _ := p.c.Open(nil, nil, false); s != nil || p.c.IsReady() {
		t.Error("a stream is opened before the peer's settings")
	}
	p.raw(frameSettings, 0, 0, "\x00\x03\x00\x00\x00\x03")
	p.send()
	want(3)
	var streams []*Stream
	for i := range 3 {
		s, _ := p.c.Open(nil, []Field{{":method", "GET"}}, true)
		if s == nil || s.ID() != uint32(2*i+1) {
			t.Fatalf("stream %d: %v", i, s)
		}
		streams = append(streams, s)
	}
	want(0)
	p.raw(frameSettings, 0, 0, "\x00\x03\x00\x00\x00\x01")
	p.send()
	want(0)
	p.raw(frameSettings, 0, 0, "\x00\x03\xff\xff\xff\xff")
	p.send()
	want(1) // of the 4 that we allow ourselves

	// What is over the id in a GOAWAY has to be asked for elsewhere; the others end as they would.
	p.raw(frameGoAway, 0, 0, "\x00\x00\x00\x01\x00\x00\x00\x00")
	var resets []*Stream
	for _, e := range p.send() {
		if e.Kind == Reset && e.Code == RefusedStream {
			resets = append(resets, e.Stream)
		}
	}
	if len(resets) != 2 || resets[0] != streams[2] || resets[1] != streams[1] || p.c.Count() != 1 {
		t.Errorf("%d resets, %d streams", len(resets), p.c.Count())
	}
	want(0)

	p = newPeer(t, client)
	p.c.highest = maxWindow - 2
	if s, _ := p.c.Open(nil, nil, true); s == nil || s.ID() != maxWindow {
		t.Error("the last identifier isn't used")
	}
	want(0)
	p = newPeer(t, client)
	p.c.AppendGoAway(nil, NoError, "")
	want(0)
}

func TestStreamsMayEndWhileTheyAreListed(t *testing.T) {
	p := newPeer(t, server)
	for id := uint32(1); id < 8; id += 2 {
		p.opened(id)
	}
	n := 0
	p.c.Streams(func(s *Stream) { n++; p.out = p.c.AppendReset(p.out, s, Cancel) })
	if n != 4 || p.c.Count() != 0 {
		t.Errorf("%d listed, %d left", n, p.c.Count())
	}
	p.opened(9)
	p.opened(11)
	n = 0
	p.c.Streams(func(*Stream) {
		n++
		for len(p.c.streams) > 0 {
			p.out = p.c.AppendReset(p.out, p.c.streams[0], Cancel)
		}
	})
	if n != 1 {
		t.Errorf("%d listed", n)
	}
}

func TestIsInside(t *testing.T) {
	p := rawPeer(t, server)
	is := func(want bool, b string) {
		t.Helper()
		if _, err := p.receive([]byte(b)); err != nil {
			t.Fatal(err)
		}
		if got := p.c.IsInside(); got != want {
			t.Errorf("IsInside = %v after %q", got, b)
		}
	}
	is(false, "")
	is(true, "PRI")
	is(false, clientPreface[3:])
	is(true, "\x00\x00")
	is(false, "\x00\x04\x00\x00\x00\x00\x00")
	is(true, "\x00\x00\x08\x06\x00\x00\x00\x00\x00123")
	is(false, "45678")
	is(true, "\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82")
	is(false, "\x00\x00\x03\x09\x04\x00\x00\x00\x01\x84\x86\x88")
	p.opened(3)
	is(false, "\x00\x00\x05\x00\x00\x00\x00\x00\x0312")
	is(false, "345")
}
