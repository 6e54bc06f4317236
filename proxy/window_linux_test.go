package proxy

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"sluice/internal/h2test"
)

// A stream gets a window while the connection has none, and then the connection gets one: the stream goes on.
func TestAStreamWhoseWindowComesBeforeThatOfTheConnectionGoesOn(t *testing.T) {
	backend := listenRaw(t)
	s := newSetup("loop", backend.Addr().String())
	s.Listeners[0].HTTP2 = HTTP2WebSocket
	g := s.run(t)
	conn, err := h2test.Dial(g.address(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := h2test.NewRaw(conn)
	const ofStream, ofConnection = 40_000, 1<<16 - 1
	got := map[uint32]int{}
	until := func(what string, is func() bool) {
		t.Helper()
		_, err := r.Await(what, func(f http2.Frame) bool {
			if data, isData := f.(*http2.DataFrame); isData {
				got[data.StreamID] += int(data.Length)
			}
			return is()
		})
		if err != nil {
			t.Fatal(got, err)
		}
	}
	err = r.Begin(http2.Setting{ID: http2.SettingInitialWindowSize, Val: ofStream})
	for _, id := range []uint32{1, 3} {
		err = errors.Join(err, r.Headers(id, false, h2test.WebSocket("gateway.test", "/")...))
		if err != nil {
			t.Fatal(err)
		}
		b := backend.accept(t)
		b.send(t, switching()+strings.Repeat(b.text(strings.Repeat("x", 10_000)), 10))
		until("DATA", func() bool { return got[1] == ofStream && (id == 1 || got[3] == ofConnection-ofStream) })
	}
	// The first stream waits for its own window, the second for the connection's.
	err = errors.Join(r.Framer.WriteWindowUpdate(1, 10_000), r.Framer.WriteWindowUpdate(0, 30_000))
	if err != nil {
		t.Fatal(err)
	}
	until("DATA on both", func() bool { return got[1] == ofStream+10_000 && got[3] == ofStream })
}
