package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"sluice/internal/h2test"
)

// A frameBackend is a backend whose frames a test writes itself.
type frameBackend struct {
	address  string
	accepted atomic.Int64
}

// listenFrames returns a backend each of whose connections serve serves. Its settings, which offer WebSocket, are sent before.
func listenFrames(t *testing.T, serve func(r *h2test.Raw)) *frameBackend {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &frameBackend{address: ln.Addr().String()}
	var serving sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			b.accepted.Add(1)
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			serving.Go(func() {
				defer conn.Close()
				if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
					return
				}
				serve(h2test.NewRaw(conn))
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		for _, conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return b
}

// offer sends the settings of a backend that accepts WebSocket.
func offer(r *h2test.Raw) {
	_ = r.Framer.WriteSettings(http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1})
}

// eachFrame calls f with each frame that comes.
func eachFrame(r *h2test.Raw, f func(http2.Frame)) {
	for {
		frame, err := r.Next()
		if err != nil {
			return
		}
		f(frame)
	}
}

// eachRequest calls f with the stream of each request.
func eachRequest(r *h2test.Raw, f func(stream uint32)) {
	eachFrame(r, func(frame http2.Frame) {
		if head, isHead := frame.(*http2.MetaHeadersFrame); isHead {
			f(head.StreamID)
		}
	})
}

// What breaks the rules of HTTP/2 on one stream is a bad answer, after which no other backend is tried.
func TestAnAnswerThatBreaksTheRulesOfHTTP2IsABadAnswer(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer func(r *h2test.Raw, stream uint32)
		text   string
	}{
		{"101", func(r *h2test.Raw, id uint32) { _ = r.Headers(id, false, h2test.Fields(":status", "101")...) }, "the fields are malformed"},
		{"no status", func(r *h2test.Raw, id uint32) { _ = r.Headers(id, false, h2test.Fields("x", "y")...) }, "the fields are malformed"},
		{"a field of the connection", func(r *h2test.Raw, id uint32) {
			_ = r.Headers(id, false, h2test.Fields(":status", "200", "connection", "upgrade")...)
		}, "the fields are malformed"},
		{"a line end in a value", func(r *h2test.Raw, id uint32) {
			_ = r.Headers(id, false, h2test.Fields(":status", "200", "x", "a\r\nb: c")...)
		}, "the fields are malformed"},
		{"many fields", func(r *h2test.Raw, id uint32) {
			_ = r.Headers(id, false, h2test.Fields(":status", "200", "x", strings.Repeat("\x7e", 9000), "y", strings.Repeat("a", 9000))...)
		}, "the fields are too large"},
		{"DATA first", func(r *h2test.Raw, id uint32) { _ = r.Data(id, false, []byte("hello")) }, "DATA before the response"},
		{"the end after an interim answer", func(r *h2test.Raw, id uint32) {
			_ = r.Headers(id, true, h2test.Fields(":status", "103")...)
		}, "the stream ends with an interim response"},
		{"a window of 0", func(r *h2test.Raw, id uint32) { _ = r.Framer.WriteWindowUpdate(id, 0) }, "WINDOW_UPDATE of 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			serve := func(r *h2test.Raw) {
				offer(r)
				eachRequest(r, func(id uint32) { test.answer(r, id) })
			}
			one, two := listenFrames(t, serve), listenFrames(t, serve)
			s := newStreamSetup(one.address, two.address)
			s.Pools[0].Ejection.Failures = 0
			g := s.run(t)
			c := g.dial(t)
			c.send(t, asking("/"))
			c.wantRefusal(t, 502, test.text)
			if n := g.metric(t, "sluice_backend_failures_total", "reason=bad_answer"); n != 1 {
				t.Errorf("%v bad answers, want 1", n)
			}
			if n := one.accepted.Load() + two.accepted.Load(); n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
			g.wantIdle(t)
		})
	}
}

// A backend that stops, or is overloaded, may send its GOAWAY with its settings.
func TestABackendThatGoesAwayAtOnceIsNotAskedAgainAndAgain(t *testing.T) {
	b := listenFrames(t, func(r *h2test.Raw) {
		offer(r)
		_ = r.Framer.WriteGoAway(0, http2.ErrCodeNo, nil)
		eachFrame(r, func(http2.Frame) {})
	})
	g := newStreamSetup(b.address).run(t)
	c := g.dial(t)
	c.send(t, asking("/"))
	c.wantRefusal(t, 502, "no backend could be reached")
	if n := b.accepted.Load(); n > 3 {
		t.Errorf("%d connections for a handshake", n)
	}
	if lines := g.log.FilterMessage("handshake with a backend ended").All(); len(lines) != 1 || !strings.Contains(fmt.Sprint(lines[0].ContextMap()), "GOAWAY") {
		t.Errorf("the log has %v", lines)
	}
	g.wantIdle(t)
}

// Clients that give up, and a backend that answers all of them late, disturb nobody.
func TestLateAnswersDisturbNoOtherSession(t *testing.T) {
	const clients = 300
	b := listenFrames(t, func(r *h2test.Raw) {
		offer(r)
		var streams []uint32
		resets := 0
		eachFrame(r, func(frame http2.Frame) {
			switch frame.(type) {
			case *http2.MetaHeadersFrame:
				if streams = append(streams, frame.Header().StreamID); len(streams) == 1 {
					_ = r.Headers(streams[0], false, h2test.Fields(":status", "200")...)
				}
			case *http2.RSTStreamFrame:
				if resets++; resets == clients {
					for _, id := range streams[1:] {
						_ = r.Headers(id, false, h2test.Fields(":status", "200")...)
					}
					_ = r.Data(streams[0], false, []byte("\x81\x02hi"))
				}
			}
		})
	})
	s := newStreamSetup(b.address)
	s.Pools[0].Connections, s.Pools[0].Streams = 1, clients+1
	g := s.run(t)
	live := g.dial(t)
	live.send(t, asking("/"))
	live.wantOpen(t)
	var others []*wire
	for range clients {
		c := g.dial(t)
		c.send(t, asking("/"))
		others = append(others, c)
	}
	eventually(t, "handshakes", func() bool { return g.metric(t, "sluice_backend_sessions") == clients+1 })
	for _, c := range others {
		_ = c.Close()
	}
	live.wantText(t, "hi")
}

// Clients that give up must not look like an attack on the backend (CVE-2023-44487), which would end the connection with all sessions on it.
func TestClientsThatGiveUpResetNotTooManyStreamsAtOnce(t *testing.T) {
	const clients = 200
	var resets, ends atomic.Int64
	b := listenFrames(t, func(r *h2test.Raw) {
		offer(r)
		isOpen := map[uint32]bool{}
		eachFrame(r, func(frame http2.Frame) {
			id := frame.Header().StreamID
			switch frame.(type) {
			case *http2.MetaHeadersFrame:
				isOpen[id] = true
			case *http2.RSTStreamFrame:
				delete(isOpen, id)
				if resets.Add(1) != 30 {
					break
				}
				for id := range isOpen {
					if id%4 == 1 { // the others have to be reset
						_ = r.Headers(id, false, h2test.Fields(":status", "200")...)
					}
				}
			case *http2.DataFrame:
				if !isOpen[id] || id%4 != 1 {
					t.Error("a stream ends before its answer")
				}
				delete(isOpen, id)
				ends.Add(1)
				_ = r.Data(id, true, nil)
			}
		})
	})
	s := newStreamSetup(b.address)
	s.Pools[0].Connections, s.Pools[0].Streams = 1, clients
	g := s.run(t)
	var all []*wire
	for range clients {
		c := g.dial(t)
		c.send(t, asking("/"))
		all = append(all, c)
	}
	eventually(t, "handshakes", func() bool { return g.metric(t, "sluice_backend_sessions") == clients })
	start := time.Now()
	for _, c := range all {
		_ = c.Close()
	}
	eventually(t, "the end of each stream", func() bool { return ends.Load()+resets.Load() == clients })
	seconds := int64(time.Since(start)/time.Second) + 1
	if n := resets.Load(); n > 30*(seconds+1) {
		t.Errorf("%d resets in %d s", n, seconds)
	}
	if ends.Load() == 0 {
		t.Error("no stream ends without a reset")
	}
	g.wantIdle(t)
}

// A backend's host that vanishes sends no end of its connections.
func TestAConnectionThatIsDeadGetsNoMoreSessions(t *testing.T) {
	var isAlive atomic.Bool
	b := listenFrames(t, func(r *h2test.Raw) {
		offer(r)
		if !isAlive.Swap(true) {
			_, _ = io.Copy(io.Discard, r.Conn)
			return
		}
		eachRequest(r, func(id uint32) { _ = r.Headers(id, false, h2test.Fields(":status", "200")...) })
	})
	s := newStreamSetup(b.address)
	s.Pools[0].Ejection.Failures = 0
	s.Pools[0].Connections = 1
	s.Routes[0].HandshakeTimeout, s.Routes[0].ConnectTimeout = milliseconds(100), milliseconds(100)
	g := s.run(t)
	isOpen := false
	for i := 0; i < 50 && !isOpen; i++ {
		c := g.dial(t)
		c.send(t, asking("/"))
		isOpen = c.answer(t).StatusCode == 101
	}
	if !isOpen {
		t.Error("every session goes to the dead connection")
	}
}

// Sessions that begin after a reload are on connections that were made as it says.
func TestAReloadThatChangesTLSHasNewConnectionsMade(t *testing.T) {
	b := listenStreams(t, securedBackend("h2"), h2test.Options{})
	s := newStreamSetup("wss://" + b.Addr())
	g := s.run(t)
	client, stream := b.open(t, g)
	next := s.Sections
	next.Pools = slices.Clone(next.Pools)
	next.Pools[0].TLSOf = "authorities that nobody trusts"
	next.Pools[0].TLS = func(string) *tls.Config { return &tls.Config{RootCAs: x509.NewCertPool(), NextProtos: []string{"h2"}} }
	if err := g.Reload(next); err != nil {
		t.Fatal(err)
	}
	c := g.dial(t)
	c.send(t, asking("/"))
	c.wantRefusal(t, 502, "no backend could be reached")
	if n := g.metric(t, "sluice_backend_failures_total", "reason=tls"); n != 1 {
		t.Errorf("%v failures of TLS, want 1", n)
	}
	wantLive(t, client, wireOf(stream))
	if err := g.Reload(s.Sections); err != nil {
		t.Fatal(err)
	}
	b.open(t, g)
}

// Handshakes that wait for a connection which a reload ends wait for the next one.
func TestAReloadWhileAConnectionIsOpenedLosesNoHandshake(t *testing.T) {
	var hasReloaded atomic.Bool
	b := listenFrames(t, func(r *h2test.Raw) {
		if !hasReloaded.Load() {
			_, _ = io.Copy(io.Discard, r.Conn)
			return
		}
		offer(r)
		eachRequest(r, func(id uint32) { _ = r.Headers(id, false, h2test.Fields(":status", "200")...) })
	})
	s := newStreamSetup(b.address)
	s.Routes[0].ConnectTimeout = milliseconds(3_600_000)
	g := s.run(t)
	c := g.dial(t)
	c.send(t, asking("/"))
	eventually(t, "a connection", func() bool { return g.metric(t, "sluice_http2_connections_active", "side=backend") == 1 })
	hasReloaded.Store(true)
	next := s.Sections
	next.Pools = slices.Clone(next.Pools)
	next.Pools[0].TLSOf = "others"
	if err := g.Reload(next); err != nil {
		t.Fatal(err)
	}
	c.wantOpen(t)
}
