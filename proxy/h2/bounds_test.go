package h2

import (
	"strings"
	"testing"
	"time"
)

func TestFloodsAreEnded(t *testing.T) {
	tests := []struct {
		name  string
		begin func(p *peer)
		send  func(p *peer, i int)
		pass  int // how many a second lets pass; newPeer has sent SETTINGS before
	}{
		{"SETTINGS", nil, func(p *peer, _ int) { p.raw(frameSettings, 0, 0, "") }, 99},
		{"SETTINGS ACK", nil, func(p *peer, _ int) { p.raw(frameSettings, flagAck, 0, "") }, 99},
		{"PING", nil, func(p *peer, _ int) { p.raw(framePing, 0, 0, "12345678") }, 100},
		{"PING ACK", nil, func(p *peer, _ int) { p.raw(framePing, flagAck, 0, "12345678") }, 100},
		{"PRIORITY", nil, func(p *peer, _ int) { p.raw(framePriority, 0, 1, "\x00\x00\x00\x05\x05") }, 100},
		{"GOAWAY", nil, func(p *peer, _ int) { p.raw(frameGoAway, 0, 0, "\x00\x00\x00\x05\x00\x00\x00\x00") }, 99},
		{"empty DATA", func(p *peer) { p.opened(1) }, func(p *peer, _ int) { p.raw(frameData, 0, 1, "") }, 100},
		{"DATA of padding", func(p *peer) { p.opened(1) }, func(p *peer, _ int) { p.raw(frameData, flagPadded, 1, "\x01\x00") }, 100},
		{"empty CONTINUATION", func(p *peer) { p.raw(frameHeaders, 0, 1, "\x82") }, func(p *peer, _ int) { p.raw(frameContinuation, 0, 1, "") }, 99},
		{"small windows", func(p *peer) { p.opened(1) }, func(p *peer, i int) { p.raw(frameWindowUpdate, 0, uint32(i%2), "\x00\x00\x00\x01") }, 100},
		{"small windows after DATA", func(p *peer) {
			s := p.opened(1)
			for range 10 {
				p.out = append(p.c.AppendData(p.out, s, 1, false), 'x')
			}
		}, func(p *peer, i int) { p.raw(frameWindowUpdate, 0, 1, "\x00\x00\x00\x01") }, 140},
		{"rapid reset", nil, func(p *peer, i int) {
			p.headers(uint32(2*i+1), true, get...).raw(frameRSTStream, 0, uint32(2*i+1), "\x00\x00\x00\x08")
		}, 100},
		{"tunnels that end at once", nil, func(p *peer, i int) {
			p.headers(uint32(2*i+1), false, tunnelled...).raw(frameData, flagEndStream, uint32(2*i+1), "")
			p.cancelled()
		}, 100},
		{"tunnels that end with some bytes", nil, func(p *peer, i int) {
			p.headers(uint32(2*i+1), false, tunnelled...).raw(frameData, flagEndStream, uint32(2*i+1), "x")
			p.cancelled()
		}, 100},
		{"tunnels that end with their head", nil, func(p *peer, i int) {
			p.headers(uint32(2*i+1), true, tunnelled...)
			p.cancelled()
		}, 100},
		{"malformed requests", nil, func(p *peer, i int) { p.headers(uint32(2*i+1), true, ":method", "GET") }, 100},
		{"streams that make us reset them", nil, func(p *peer, i int) {
			p.headers(uint32(2*i+1), true, get...).raw(frameWindowUpdate, 0, uint32(2*i+1), "\x00\x00\x00\x00")
		}, 100},
		{"streams over the limit", func(p *peer) {
			for id := uint32(1); id < 8; id += 2 {
				p.opened(id)
			}
		}, func(p *peer, i int) { p.headers(uint32(2*i+9), true, get...) }, 100},
		{"HEADERS on a stream that was reset", func(p *peer) { p.out = p.c.AppendReset(p.out, p.opened(1), Cancel) },
			func(p *peer, i int) { p.headers(1, true, "a", "b") }, 100},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := newPeer(t, server)
			if test.begin != nil {
				test.begin(p)
			}
			passed := 0
			for ; passed < 1000; passed++ {
				test.send(p, passed)
				if _, err := p.trySend(); err != nil {
					if code := err.(*Fault).Code; code != EnhanceYourCalm {
						t.Fatalf("the fault is %v", err)
					}
					break
				}
				p.now += time.Millisecond
			}
			if passed != test.pass {
				t.Errorf("%d passed, want %d", passed, test.pass)
			}
			if !strings.HasSuffix(strings.Join(p.frames(), "\n"), "ENHANCE_YOUR_CALM") {
				t.Error("the peer isn't told")
			}
		})
	}
}

var tunnelled = []string{":method", "CONNECT", ":authority", "a"}

// cancelled has the gateway's end reset what the peer has opened, as it does when a request isn't wanted any more.
func (p *peer) cancelled() {
	_, err := p.trySend() // a fault is that of later calls, too
	for err == nil && p.c.Count() > 0 {
		p.out = p.c.AppendReset(p.out, p.c.streams[0], Cancel)
	}
}

// A tunnel that has its answer may end.
func TestTunnelsThatEndAfterTheirAnswerAreNoFlood(t *testing.T) {
	p := newPeer(t, server)
	for i := range uint32(1000) {
		p.headers(2*i+1, false, tunnelled...).send()
		s := p.c.find(2*i + 1)
		p.out = p.c.AppendHeaders(p.out, s, []Field{{":status", "200"}}, false)
		p.raw(frameData, flagEndStream, 2*i+1, "x")
		p.send()
		p.out = p.c.AppendData(p.out, s, 0, true)
	}
}

func TestSteadyPeersAreNoFlood(t *testing.T) {
	p := newPeer(t, server)
	s := p.opened(1)
	for range 1000 {
		p.raw(framePing, 0, 0, "12345678")
		p.raw(frameSettings, flagAck, 0, "")
		p.out = append(p.c.AppendData(p.out[:0], s, 1, false), 'x')
		p.raw(frameWindowUpdate, 0, 1, "\x00\x00\x00\x01")
		p.raw(frameWindowUpdate, 0, 0, "\x00\x00\x00\x01")
		p.send()
		p.now += 11 * time.Millisecond
	}
}

// What a peer gives back after a burst is no flood, however quiet the connection was before.
func TestABurstAfterAQuietHourIsNoFlood(t *testing.T) {
	p := newPeer(t, server)
	s := p.opened(1)
	p.now += time.Hour
	for range 1000 {
		p.out = append(p.c.AppendData(p.out[:0], s, 1, false), 'x')
	}
	for range 1000 {
		p.raw(frameWindowUpdate, 0, 1, "\x00\x00\x00\x01")
		p.raw(frameWindowUpdate, 0, 0, "\x00\x00\x00\x01")
	}
	p.send()
}

// A page that is closed resets what it has open.
func TestAllStreamsMayBeResetAtOnce(t *testing.T) {
	p := newPeer(t, Config{Role: Server, Streams: 128})
	for i := range uint32(128) {
		p.opened(2*i + 1)
	}
	p.now += 2 * time.Second
	for i := range uint32(128) {
		p.raw(frameRSTStream, 0, 2*i+1, "\x00\x00\x00\x08")
	}
	if got := p.send(); len(got) != 128 || p.c.Count() != 0 {
		t.Errorf("%d events, %d streams left", len(got), p.c.Count())
	}
}

// A backend may refuse each of a client's streams.
func TestClientIsResetAsOftenAsItOpensStreams(t *testing.T) {
	p := newPeer(t, client)
	for range 1000 {
		s, out := p.c.Open(p.out, []Field{{":method", "GET"}}, false)
		p.out = out[:0]
		_ = p.f.WriteRSTStream(s.ID(), 7)
		if got := p.send(); len(got) != 1 || got[0].Kind != Reset || got[0].Code != RefusedStream {
			t.Fatalf("events: %v", got)
		}
	}
}

// Requests that end early, and a peer that answers all of them late.
func TestLateAnswersAreNoFlood(t *testing.T) {
	for _, late := range []func(p *peer, id uint32){
		func(p *peer, id uint32) {
			p.headers(id, false, ":status", "103").headers(id, false, ":status", "200")
			p.raw(frameRSTStream, 0, id, "\x00\x00\x00\x08")
		},
		func(p *peer, id uint32) { p.headers(id, false, ":status", "403").headers(id, true, "a", "b") },
	} {
		p := newPeer(t, client)
		for range 1000 {
			s, _ := p.c.Open(nil, []Field{{":method", "GET"}}, true)
			p.c.AppendReset(nil, s, Cancel)
		}
		for id := uint32(1); id < 2000; id += 2 {
			late(p, id)
		}
		if got := p.send(); len(got) > 0 {
			t.Errorf("events: %v", got)
		}
		frames := 0
		for ; frames < 5000; frames++ {
			p.headers(1, false, ":status", "103")
			if _, err := p.trySend(); err != nil {
				break
			}
		}
		if frames == 5000 {
			t.Error("a flood is not ended")
		}
	}
}

// RFC 9110 section 9.3.6: "Any 2xx (Successful) response indicates that the sender (and all inbound proxies) will switch to tunnel mode".
func TestAnySuccessBeginsATunnel(t *testing.T) {
	for _, status := range []string{"200", "201", "204", "299"} {
		p := newPeer(t, client)
		s, _ := p.c.Open(nil, []Field{{":method", "CONNECT"}, {":protocol", "websocket"}}, false)
		p.headers(s.ID(), false, ":status", status)
		_ = p.f.WriteData(s.ID(), false, []byte("x"))
		if got := p.send(); len(got) != 2 || got[1].Kind != Data || string(got[1].Data) != "x" {
			t.Errorf("status %s: events %+v", status, got)
		}
	}
}
