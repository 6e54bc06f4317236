package h2

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
)

// opened opens stream 1 and returns it.
func (p *peer) opened(id uint32) *Stream {
	p.t.Helper()
	if got := p.headers(id, false, get...).send(); len(got) == 1 && got[0].Kind == Opened {
		return got[0].Stream
	}
	p.t.Fatalf("stream %d isn't opened", id)
	return nil
}

func TestWindowsOfWhatIsSent(t *testing.T) {
	p := newPeer(t, server)
	s, other := p.opened(1), p.opened(3)
	if n := p.c.Sendable(s); n != maxFrame {
		t.Errorf("Sendable = %d, want a frame", n)
	}
	sent := 0
	for n := p.c.Sendable(s); n > 0; n = p.c.Sendable(s) {
		p.out = append(p.c.AppendData(nil, s, n, false), make([]byte, n)...)
		sent += n
	}
	if sent != StreamWindow || p.c.Sendable(other) != 0 {
		t.Errorf("%d bytes sent, %d on the other; both windows are used up", sent, p.c.Sendable(other))
	}

	// A stream's window alone lets nothing pass, but is told; with the connection's, every stream may go on.
	_ = p.f.WriteWindowUpdate(1, 10)
	if got := p.send(); len(got) != 1 || got[0].Kind != Window || got[0].Stream != s || p.c.Sendable(s) != 0 {
		t.Errorf("events: %v", got)
	}
	_ = p.f.WriteWindowUpdate(0, 30)
	if got := p.send(); len(got) != 1 || got[0].Kind != Window || got[0].Stream != nil || p.c.Sendable(s) != 10 || p.c.Sendable(other) != 30 {
		t.Errorf("events: %v, Sendable %d, %d", got, p.c.Sendable(s), p.c.Sendable(other))
	}
	p.out = append(p.c.AppendData(nil, s, 10, false), make([]byte, 10)...)
	_ = p.f.WriteWindowUpdate(1, 1)
	_ = p.f.WriteWindowUpdate(1, 1) // there is a window already
	if got := p.send(); len(got) != 1 || got[0].Kind != Window || got[0].Stream != s || p.c.Sendable(s) != 2 {
		t.Errorf("events: %v", got)
	}

	// The initial window changes: downwards it may make windows negative.
	_ = p.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	if got := p.send(); len(got) != 1 || got[0].Kind != Settings || p.c.Sendable(s) != 0 || s.send != 2-StreamWindow {
		t.Errorf("events: %v, window %d", got, s.send)
	}
	_ = p.f.WriteWindowUpdate(1, StreamWindow-2)
	if got := p.send(); len(got) != 0 || p.c.Sendable(s) != 0 {
		t.Errorf("events: %v, window %d", got, s.send)
	}
	_ = p.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 7})
	if got := p.send(); len(got) != 1 || got[0].Kind != Settings || p.c.Sendable(s) != 7 || p.c.Sendable(other) != 7 {
		t.Errorf("events: %v, Sendable %d, %d", got, p.c.Sendable(s), p.c.Sendable(other))
	}
	if later := p.opened(5); p.c.Sendable(later) != 7 {
		t.Errorf("Sendable of a later stream: %d", p.c.Sendable(later))
	}
}

func TestEmptyDataEndsAStreamWithoutWindow(t *testing.T) {
	p := newPeer(t, server)
	_ = p.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	p.send()
	s := p.opened(1)
	p.out = p.c.AppendHeaders(nil, s, []Field{{":status", "200"}}, false)
	p.out = p.c.AppendData(p.out, s, 0, true)
	p.out = p.c.AppendData(p.out, s, 0, true)
	p.out = p.c.AppendHeaders(p.out, s, []Field{{"a", "b"}}, true)
	if diff := cmp.Diff([]string{"HEADERS 1 :status=200", "DATA 1  END"}, p.frames()); diff != "" {
		t.Error(diff)
	}
}

func TestWindowOfAStreamIsGivenBackAsItIsTaken(t *testing.T) {
	p := newPeer(t, server)
	s := p.opened(1)
	full := func() {
		for range 3 {
			_ = p.f.WriteData(1, false, make([]byte, maxFrame))
		}
		_ = p.f.WriteData(1, false, make([]byte, maxFrame-1))
	}
	full()
	if got := p.send(); len(got) != 4 {
		t.Fatalf("events: %d", len(got))
	}
	p.out = p.c.AppendTaken(nil, s, StreamWindow/2-1)
	if got := p.frames(); len(got) != 0 {
		t.Errorf("frames: %q", got)
	}
	p.out = p.c.AppendTaken(p.out, s, 1)
	p.out = p.c.AppendTaken(p.out, s, StreamWindow-StreamWindow/2)
	if diff := cmp.Diff([]string{"WINDOW_UPDATE 1 32767", "WINDOW_UPDATE 1 32768"}, p.frames()); diff != "" {
		t.Error(diff)
	}
	full()
	if got := p.send(); len(got) != 4 {
		t.Errorf("events: %d", len(got))
	}
	_ = p.f.WriteData(1, false, []byte("x"))
	if got := p.send(); len(got) != 1 || got[0].Kind != Reset || got[0].Code != FlowControlError {
		t.Errorf("events: %v", got)
	}
}

func TestPaddingIsGivenBackByTheConn(t *testing.T) {
	p := newPeer(t, server)
	s := p.opened(1)
	for range 2 * StreamWindow / 255 {
		_ = p.f.WriteDataPadded(1, false, []byte("x"), make([]byte, 255))
		p.send()
		p.out = p.c.AppendTaken(p.out, s, 1)
	}
	if got := s.recv + s.taken; got != StreamWindow {
		t.Errorf("the window is %d, with what is to be given back", got)
	}
}

func TestStreamThatIsNotTakenDelaysNoOther(t *testing.T) {
	p := newPeer(t, server)
	p.opened(1)
	for range 3 {
		_ = p.f.WriteData(1, false, make([]byte, maxFrame))
	}
	p.send()
	s := p.opened(3)
	updates := 0
	for range 4 * connWindow / maxFrame {
		_ = p.f.WriteData(3, false, make([]byte, maxFrame))
		if got := p.send(); len(got) != 1 || got[0].Kind != Data {
			t.Fatalf("events: %v", got)
		}
		p.out = p.c.AppendTaken(p.out, s, maxFrame)
		updates += strings.Count(strings.Join(p.frames(), "\n"), "WINDOW_UPDATE 0 ")
	}
	if updates < 7 {
		t.Errorf("the window of the connection was given back %d times", updates)
	}
}

// DATA of a stream that was reset, or that is over the limit, still counts against the window of the connection, and is given back.
func TestWindowOfTheConnectionIsNotLostWithAStream(t *testing.T) {
	p := newPeer(t, server)
	s := p.opened(1)
	p.out = p.c.AppendReset(p.out, s, Cancel)
	for range 4 * connWindow / maxFrame {
		_ = p.f.WriteData(1, false, make([]byte, maxFrame))
		if got := p.send(); len(got) != 0 {
			t.Fatalf("events: %v", got)
		}
	}
	if p.c.recvWindow+p.c.received != connWindow {
		t.Errorf("the window is %d, with what is to be given back", p.c.recvWindow+p.c.received)
	}
}

func TestDataOverTheWindowOfTheConnection(t *testing.T) {
	p := newPeer(t, server)
	p.c.recvWindow = 10
	_ = p.f.WriteData(p.opened(1).ID(), false, make([]byte, 11))
	if _, err := p.trySend(); err == nil || err.(*Fault).Code != FlowControlError {
		t.Errorf("error: %v", err)
	}
}
