package proxy

import (
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"sluice/balancer"
	"sluice/handover"
	"sluice/proxy/limits"
	"sluice/proxy/route"
	"sluice/proxy/session"
)

// What another process does, a second gateway of the test does.

// handOver hands the sessions of g over to another gateway, as far as they can move.
func (g *gateway) handOver(t *testing.T, to *gateway) (moved int, stayed map[string]int) {
	t.Helper()
	moved, stayed, err := g.HandOver(t.Context(), func(batch []SessionState) ([]bool, error) {
		why, start, _ := to.TakeOver(sent(t, batch))
		start()
		taken := make([]bool, len(why))
		for i := range why {
			taken[i] = why[i] == ""
		}
		return taken, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return moved, stayed
}

// sent returns a batch as another process gets it: with descriptors of its own.
func sent(t *testing.T, batch []SessionState) []SessionState {
	got := make([]SessionState, len(batch))
	for i := range batch {
		text, err := handover.Encode(&batch[i])
		if err == nil {
			err = handover.Decode(text, &got[i])
		}
		if err != nil {
			t.Error(err)
		}
		for side, fd := range batch[i].FDs {
			if got[i].FDs[side], err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
				t.Error(err)
			}
		}
	}
	return got
}

// wantSessions compares the gauges of a gateway's sessions.
func (g *gateway) wantSessions(t *testing.T, want int) {
	t.Helper()
	for _, gauge := range []string{"sluice_sessions_active", "sluice_backend_sessions"} {
		if n := g.metric(t, gauge); n != float64(want) {
			t.Errorf("%s is %v; want %d", gauge, n, want)
		}
	}
	for _, kind := range []limits.Kind{limits.Sessions, limits.Connections} {
		if n := g.placesHeld(kind); n != int64(want) {
			t.Errorf("%d places of kind %d are held; want %d", n, kind, want)
		}
	}
	if n := g.Sessions().Count(); n != want {
		t.Errorf("%d sessions; want %d", n, want)
	}
}

// settled waits until handshakes have given back what they had beside their sessions.
func (g *gateway) settled(t *testing.T) {
	t.Helper()
	eventually(t, "no handshake under way", func() bool { return g.placesHeld(limits.Handshakes) == 0 })
}

func TestASessionGoesOnInAnotherProcess(t *testing.T) {
	backend := listenRaw(t)
	old := newSetup("loop", backend.Addr().String()).run(t)
	heir := newSetup("loop", backend.Addr().String()).run(t)
	client, b := old.open(t, backend)
	wantLive(t, client, b)
	old.settled(t)
	client.send(t, client.text("ask")[:5]) // a part of a frame
	const waited = 50 * time.Millisecond
	time.Sleep(waited)

	if moved, stayed := old.handOver(t, heir); moved != 1 || len(stayed) != 0 {
		t.Fatalf("%d moved, %v stayed; want 1, none", moved, stayed)
	}
	old.wantSessions(t, 0)
	heir.wantSessions(t, 1)
	client.send(t, client.text("ask")[5:])
	b.wantText(t, "ask")
	wantLive(t, client, b)
	backend.wantNoConnection(t)

	page, err := heir.Sessions().Page(new(session.Query), "", 10)
	if err != nil || len(page.Sessions) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	v := page.Sessions[0]
	if v.Listener != "public" || v.Route != "/" || v.Pool != "pool" || v.Host != "gateway.test" || v.Path != "/" || v.AgeSeconds < waited.Seconds() ||
		v.ToBackend.Frames != 3 || v.ToClient.Frames != 2 || v.Client.Address != client.LocalAddr().String() || v.Backend.Address != backend.Addr().String() {
		t.Errorf("session %+v", v)
	}

	client.send(t, client.closing(ws.StatusNormalClosure))
	b.wantClose(t, ws.StatusNormalClosure)
	b.send(t, b.closing(ws.StatusNormalClosure))
	client.wantClose(t, ws.StatusNormalClosure)
	line := heir.lines(t, 1)[0].ContextMap()
	if line["session"] != v.ID || line["frames_to_backend"] != uint64(3) || line["frames_to_client"] != uint64(2) || line["bytes_to_backend"] != uint64(9) ||
		line["duration"].(time.Duration) < waited || line["close_code"] != uint16(1000) {
		t.Errorf("access line %v", line)
	}
	eventually(t, "the end of the session", func() bool { return heir.Sessions().Count() == 0 })
	heir.wantSessions(t, 0)
	if n := old.access.Len(); n != 0 {
		t.Errorf("%d access lines of the process before; want none", n)
	}
	for _, count := range []struct {
		of          *gateway
		name, label string
		want        float64
	}{
		{of: old, name: "sluice_sessions_total", label: "result=established", want: 1},
		{of: heir, name: "sluice_sessions_total", label: "result=established", want: 0},
		{of: old, name: "sluice_sessions_handed_over_total", label: "direction=out", want: 1},
		{of: heir, name: "sluice_sessions_handed_over_total", label: "direction=in", want: 1},
		{of: old, name: "sluice_closes_total", want: 0},
		{of: heir, name: "sluice_closes_total", want: 1},
		{of: old, name: "sluice_session_seconds", want: 0},
		{of: heir, name: "sluice_session_seconds", want: 1},
		{of: old, name: "sluice_backend_failures_total", want: 0},
		{of: heir, name: "sluice_backend_failures_total", want: 0},
	} {
		if got := count.of.metric(t, count.name, strings.Fields(count.label)...); got != count.want {
			t.Errorf("%s{%s} of the old one (%t): %v; want %v", count.name, count.label, count.of == old, got, count.want)
		}
	}
}

func TestManySessionsMoveThereAndBackAgain(t *testing.T) {
	backend := listenRaw(t)
	a := newSetup("loop", backend.Addr().String()).run(t)
	b := newSetup("loop", backend.Addr().String()).run(t)
	const sessions = 2*moveBatch + 7
	var ends [][2]*wire
	for range sessions {
		client, end := a.open(t, backend)
		ends = append(ends, [2]*wire{client, end})
	}
	a.settled(t)
	for range 4 {
		if moved, stayed := a.handOver(t, b); moved != sessions || len(stayed) != 0 {
			t.Fatalf("%d moved, %v stayed; want %d, none", moved, stayed, sessions)
		}
		a.wantSessions(t, 0)
		b.wantSessions(t, sessions)
		for _, end := range ends {
			wantLive(t, end[0], end[1])
		}
		a, b = b, a
	}
}

// A stranger's session keeps its names, and its place counts where the new configuration has one.
func TestASessionOfWhatTheConfigurationLacksLivesOn(t *testing.T) {
	backend, other := listenRaw(t), listenRaw(t)
	s := newSetup("loop", backend.Addr().String())
	s.Listeners[0].Name = "public"
	s.Routes[0].Path = "/old"
	old := s.run(t)
	n := newSetup("loop", other.Addr().String())
	n.Listeners[0].Name = "other"
	n.Pools[0].Name, n.Routes[0].Pool = "new", "new"
	heir := n.run(t)

	client := old.dial(t)
	client.send(t, asking("/old/x"))
	b := backend.accept(t)
	b.send(t, switching())
	client.wantOpen(t)
	old.settled(t)
	if moved, _ := old.handOver(t, heir); moved != 1 {
		t.Fatalf("%d moved", moved)
	}
	wantLive(t, client, b)
	heir.wantSessions(t, 1)
	if n := heir.metric(t, "sluice_sessions_active", "listener=public", "route=/old", "pool=pool"); n != 1 {
		t.Errorf("%v active sessions under their own names; want 1", n)
	}
	if n := heir.metric(t, "sluice_backend_state", "pool=pool", "backend="+backend.Addr().String(), "state=gone"); n != 1 {
		t.Errorf("no backend that has gone")
	}
	_ = client.Close()
	b.wantClose(t, ws.StatusGoingAway)
	_ = b.Close()
	eventually(t, "the end of the session", func() bool { return heir.Sessions().Count() == 0 })
	heir.wantSessions(t, 0)
	eventually(t, "no pool that the configuration lacks", func() bool { return len(heir.Pools()) == 1 })
	if heir.hasSeries(t, "sluice_sessions_active", "route", "/old") {
		t.Error("a series of a route that has no session")
	}
}

func TestASessionOfARemovedRouteIsDrainedIfTheConfigurationSaysSo(t *testing.T) {
	backend := listenRaw(t)
	s := newSetup("loop", backend.Addr().String())
	kept := newRouteConfig("pool")
	kept.Path = "/kept"
	s.Routes = append(s.Routes, kept)
	old := s.run(t)
	n := newSetup("loop", backend.Addr().String())
	n.Routes = []route.Config{kept}
	n.DrainsRemoved = true
	heir := n.run(t)
	var ends [][2]*wire
	for _, path := range []string{"/", "/kept"} {
		client := old.dial(t)
		client.send(t, asking(path))
		b := backend.accept(t)
		b.send(t, switching())
		client.wantOpen(t)
		ends = append(ends, [2]*wire{client, b})
	}
	old.settled(t)
	if moved, _ := old.handOver(t, heir); moved != 2 {
		t.Fatalf("%d moved", moved)
	}
	ends[0][0].wantClose(t, 1012)
	ends[0][0].send(t, ends[0][0].closing(1012))
	ends[0][1].wantClose(t, 1012)
	wantLive(t, ends[1][0], ends[1][1])
}

func TestASessionKeepsTheTimesAndLimitsThatItBeganWith(t *testing.T) {
	backend := listenRaw(t)
	s := newSetup("loop", backend.Addr().String())
	s.Routes[0].MaxMessage = 100
	old := s.run(t)
	heir := newSetup("loop", backend.Addr().String()).run(t)
	back := newSetup("loop", backend.Addr().String())
	back.Routes[0].MaxMessage = 100
	third := back.run(t)
	client, b := old.open(t, backend)
	old.settled(t)
	old.handOver(t, heir)
	if all := heir.Routes(); len(all) != 1 || all[0].Sessions != 1 {
		t.Errorf("routes %+v; want one with a session", all)
	}
	heir.handOver(t, third)
	if live := third.Sessions().List(); len(live) != 1 || live[0].Route != third.routes.Load().Routes[0] {
		t.Error("the session is not of the route in use, which is the same")
	}
	client.send(t, client.text(strings.Repeat("x", 101)))
	client.wantClose(t, ws.StatusMessageTooBig)
	_ = b.Close()
}

func TestASessionFindsItsRouteByAllConditionsInAnotherProcess(t *testing.T) {
	backend := listenRaw(t)
	newOne := func(isReversed bool) *gateway {
		s := newSetup("loop", backend.Addr().String())
		c := newRouteConfig("pool")
		c.Hosts, c.PathExact, c.Header = []string{"a.test", "gateway.test"}, "/x", map[string]string{"X-A": "1"}
		c.Name = "one"
		if isReversed {
			slices.Reverse(c.Hosts)
			c.Header = map[string]string{"x-a": "1"}
		}
		s.Routes = append(s.Routes, c)
		return s.run(t)
	}
	old, heir := newOne(false), newOne(true)
	client := old.dial(t)
	client.send(t, asking("/x", "X-A: 1"))
	b := backend.accept(t)
	b.send(t, switching())
	client.wantOpen(t)
	plain, plainEnd := old.open(t, backend)
	old.settled(t)
	if moved, stayed := old.handOver(t, heir); moved != 2 {
		t.Fatalf("%d moved, stayed %v", moved, stayed)
	}
	for i, r := range heir.routes.Load().Routes {
		if live := heir.Sessions().List(); !slices.ContainsFunc(live, func(s *session.Session) bool { return s.Route == r }) {
			t.Errorf("no session is of route %d, %s", i, r.Name)
		}
	}
	wantLive(t, client, b)
	wantLive(t, plain, plainEnd)
}

// A process that knows only hosts and prefixes sends no key.
func TestASessionOfAnOlderProcessFindsItsRouteByHostAndPath(t *testing.T) {
	backend := listenRaw(t)
	s := newSetup("loop", backend.Addr().String())
	s.Routes[0].Host, s.Routes[0].Path = "*.Test", "/x/"
	g := s.run(t)
	r := g.routes.Load().Routes[0]
	g.reloading.Lock()
	defer g.reloading.Unlock()
	state := session.RouteState{Host: ".test", Path: "/x", Name: "*.Test/x", Pool: "pool", Drained: uint16(r.CloseCodes.Drained)}
	if got, isGone := g.routeOf(&state, &r.Relay, g.poolOf("pool")); got != r || isGone {
		t.Errorf("route %v, gone %v", got, isGone)
	}
	if r.SentKey() != nil {
		t.Error("a route of a host and a prefix sends a key")
	}
}

func TestASessionOfSeveralPoolsGoesOnInAnotherProcess(t *testing.T) {
	s := newSplitSetup(t, "loop", 0, 1, nil)
	heirSetup := newSetup("loop")
	heirSetup.Routes, heirSetup.Pools = s.Routes, s.Pools
	old, heir := s.run(t), heirSetup.run(t)
	c, _, _ := old.session(t)
	old.settled(t)
	if moved, stayed := old.handOver(t, heir); moved != 1 {
		t.Fatalf("%d moved, %v stayed", moved, stayed)
	}
	live := heir.Sessions().List()
	if len(live) != 1 || live[0].Route != heir.routes.Load().Routes[0].Variants()[1] {
		t.Fatal("the session is not of the variant in use")
	}
	_ = c.Close()
	eventually(t, "the end of the session", func() bool { return heir.Sessions().Count() == 0 })
}

func TestPlacesOfSessionsThatMovedCountForNewClients(t *testing.T) {
	backend := listenRaw(t)
	s := newSetup("loop", backend.Addr().String())
	s.Pools[0].Policy = balancer.PolicyLeastConn
	old := s.run(t)
	n := newSetup("loop", backend.Addr().String())
	n.Listeners[0].MaxSessionsPerIP = 1
	heir := n.run(t)
	var ends [][2]*wire
	for range 2 {
		client, b := old.open(t, backend)
		ends = append(ends, [2]*wire{client, b})
	}
	old.settled(t)
	if moved, _ := old.handOver(t, heir); moved != 2 {
		t.Fatalf("%d moved", moved)
	}
	refused := heir.dial(t)
	refused.send(t, asking("/"))
	refused.wantRefusal(t, 429, "")
	for _, end := range ends {
		wantLive(t, end[0], end[1])
		_, _ = end[0].Close(), end[1].Close()
	}
	eventually(t, "the ends of the sessions", func() bool { return heir.placesHeld(limits.Sessions) == 0 })
	heir.open(t, backend)
}

func TestWhatTheOtherProcessDoesNotTakeGoesOn(t *testing.T) {
	backend := listenRaw(t)
	old := newSetup("loop", backend.Addr().String()).run(t)
	heir := newSetup("loop", backend.Addr().String()).run(t)
	var ends [][2]*wire
	for range 3 {
		client, b := old.open(t, backend)
		ends = append(ends, [2]*wire{client, b})
	}
	old.settled(t)
	wantAllLive := func() {
		t.Helper()
		old.wantSessions(t, 3)
		for _, end := range ends {
			wantLive(t, end[0], end[1])
		}
	}

	broken := errors.New("broken")
	for _, err := range []error{broken, nil} { // nil: an answer for none
		moved, _, got := old.HandOver(t.Context(), func([]SessionState) ([]bool, error) { return nil, err })
		if moved != 0 || got == nil || err != nil && !errors.Is(got, err) {
			t.Errorf("%d moved, %v", moved, got)
		}
		wantAllLive()
	}

	moved, stayed, err := old.HandOver(t.Context(), func(batch []SessionState) ([]bool, error) {
		why, _, cancel := heir.TakeOver(sent(t, batch))
		for _, text := range why {
			if text != "" {
				t.Errorf("refused: %s", text)
			}
		}
		if n := heir.placesHeld(limits.Sessions); n != 3 {
			t.Errorf("%d places; want 3", n)
		}
		cancel()
		return make([]bool, len(batch)), nil
	})
	if moved != 0 || stayed["refused"] != 3 || len(stayed) != 1 || err != nil {
		t.Errorf("%d moved, %v stayed, %v", moved, stayed, err)
	}
	heir.wantSessions(t, 0)
	wantAllLive()

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if moved, _, err := old.HandOver(ctx, nil); moved != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d moved, %v", moved, err)
	}
	wantAllLive()

	heir.Close()
	if moved, stayed := old.handOver(t, heir); moved != 0 || stayed["refused"] != 3 {
		t.Errorf("%d moved to a gateway that is closed, %v stayed", moved, stayed)
	}
	wantAllLive()
}

func TestWhatCanNotMoveStaysByTheReason(t *testing.T) {
	backend := listenRaw(t)
	old := newSetup("loop", backend.Addr().String()).run(t)
	heir := newSetup("loop", backend.Addr().String()).run(t)
	closing, end := old.open(t, backend)
	closing.send(t, closing.closing(ws.StatusNormalClosure))
	end.wantClose(t, ws.StatusNormalClosure)
	handshaking := old.dial(t)
	handshaking.send(t, asking("/"))
	late := backend.accept(t)
	eventually(t, "a handshake", func() bool { return old.placesHeld(limits.Handshakes) == 1 })

	if moved, stayed := old.handOver(t, heir); moved != 0 || len(stayed) != 2 || stayed["closing"] != 1 || stayed["handshake"] != 1 {
		t.Errorf("%d moved, %v stayed; want a session that closes, and a handshake", moved, stayed)
	}
	late.send(t, switching())
	handshaking.wantOpen(t)
	old.settled(t)
	if moved, stayed := old.handOver(t, heir); moved != 1 || len(stayed) != 1 || stayed["closing"] != 1 {
		t.Errorf("%d moved, %v stayed; want 1, and a session that closes", moved, stayed)
	}
	wantLive(t, handshaking, late)
	end.send(t, end.closing(ws.StatusNormalClosure))
	closing.wantClose(t, ws.StatusNormalClosure)
	eventually(t, "no session", old.IsEmpty)
}

func TestSessionsOfTheGoroutineDriverStay(t *testing.T) {
	backend := listenRaw(t)
	old := newSetup("goroutine", backend.Addr().String()).run(t)
	client, b := old.open(t, backend)
	old.settled(t)
	if moved, stayed := old.handOver(t, old); moved != 0 || len(stayed) != 1 || stayed["goroutine"] != 1 {
		t.Errorf("%d moved, %v stayed", moved, stayed)
	}
	wantLive(t, client, b)
}

func TestAQueueThatIsLongMovesInABatchOfItsOwn(t *testing.T) {
	backend := listenRaw(t)
	old := newSetup("loop", backend.Addr().String()).run(t)
	heir := newSetup("loop", backend.Addr().String()).run(t)
	text := strings.Repeat("0123456789abcdef", 1<<16/16)
	const messages = 400 // more than the sockets' buffers take
	client, b := old.open(t, backend)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for range messages {
			_ = b.SetDeadline(time.Now().Add(patience))
			if _, err := b.Write([]byte(b.text(text))); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	eventually(t, "bytes in a queue", func() bool { return old.driver.QueuedBytes() > 0 })
	old.settled(t)
	if moved, _ := old.handOver(t, heir); moved != 1 {
		t.Fatalf("%d moved", moved)
	}
	for range messages {
		client.wantText(t, text)
	}
	<-sent
}

func TestNonsenseOfAnotherProcessIsRefused(t *testing.T) {
	backend := listenRaw(t)
	old := newSetup("loop", backend.Addr().String()).run(t)
	heir := newSetup("loop", backend.Addr().String()).run(t)
	client, b := old.open(t, backend)
	old.settled(t)
	changes := map[string]func(*SessionState){
		"a name that is not UTF-8": func(s *SessionState) { s.Session.Route.Name = "\xff" },
		"a long name":              func(s *SessionState) { s.Session.Listener = strings.Repeat("x", math.MaxUint16+1) },
		"a long path":              func(s *SessionState) { s.Session.Path = make([]byte, math.MaxUint16+1) },
		"a close code":             func(s *SessionState) { s.Session.Route.Drained = 1006 },
		"a start before 1970":      func(s *SessionState) { s.Session.Start = -1 },
		"an address":               func(s *SessionState) { s.Session.Client = []byte{1} },
		"a long address":           func(s *SessionState) { s.Session.Client = make([]byte, 100) },
		"a key":                    func(s *SessionState) { s.Session.Route.Key = []byte{1} },
		"no backend":               func(s *SessionState) { s.Session.Backend = balancer.Identity{} },
		"no configuration":         func(s *SessionState) { s.Config.CloseTimeout = -1 },
		"no socket":                func(s *SessionState) { unix.Close(s.FDs[0]); s.FDs[0] = -1 },
		"a relay":                  func(s *SessionState) { s.Driver.Relay.DataAt = -1 },
		"nothing":                  func(s *SessionState) { *s = SessionState{FDs: s.FDs} },
	}
	_, stayed, err := old.HandOver(t.Context(), func(batch []SessionState) ([]bool, error) {
		for what, change := range changes {
			states := sent(t, batch)
			change(&states[0])
			why, start, _ := heir.TakeOver(states)
			if start(); why[0] == "" {
				t.Errorf("%s is taken", what)
			}
			for _, fd := range states[0].FDs {
				if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && fd >= 0 {
					t.Errorf("%s: descriptor %d is open", what, fd)
				}
			}
		}
		return []bool{false}, nil
	})
	if err != nil || stayed["refused"] != 1 {
		t.Errorf("%v stayed, %v", stayed, err)
	}
	heir.wantSessions(t, 0)
	wantLive(t, client, b)
}

func TestAMissingFieldOfASessionHasADefault(t *testing.T) {
	backend := listenRaw(t)
	old := newSetup("loop", backend.Addr().String()).run(t)
	heir := newSetup("loop", backend.Addr().String()).run(t)
	client, b := old.open(t, backend)
	old.settled(t)
	_, _, err := old.HandOver(t.Context(), func(batch []SessionState) ([]bool, error) {
		states := sent(t, batch)
		states[0].Session.Start, states[0].Session.Client, states[0].Session.ID = 0, nil, 0
		_, start, _ := heir.TakeOver(states)
		start()
		return []bool{true}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wantLive(t, client, b)
	live := heir.Sessions().List()
	if len(live) != 1 || time.Since(live[0].Start) > patience || live[0].Client != (netip.AddrPort{}) {
		t.Errorf("sessions %+v", live)
	}
}

func TestConnectionsWaitWhileAcceptingIsPaused(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		s := newSetup(driver, backend.Addr().String())
		g := s.run(t)
		for range 3 {
			resume := g.PauseAccepting()
			c := g.dial(t)
			c.send(t, asking("/"))
			s.Routes[0].MaxFrame++
			s.Listeners[0].MaxSessions++ // the socket gets another listener
			if err := g.Reload(s.Sections); err != nil {
				t.Fatal(err)
			}
			backend.wantNoConnection(t)
			resume()
			b := backend.accept(t)
			b.send(t, switching())
			c.wantOpen(t)
			wantLive(t, c, b)
		}
	})
}

func TestAnotherProcessAcceptsOnTheSameSockets(t *testing.T) {
	withDrivers(t, func(t *testing.T, driver string) {
		backend := listenRaw(t)
		path := filepath.Join(t.TempDir(), "s")
		configure := func() *setup {
			s := newSetup(driver, backend.Addr().String())
			s.Listeners = append(s.Listeners, newListener("unix", "unix:"+path))
			return s
		}
		// heir takes the sockets of a gateway, which has to stop accepting after it.
		heir := func(old *gateway) *gateway {
			s := configure()
			s.Inherited = func(name, address string) net.Listener {
				for _, k := range old.Sockets() {
					if k.Name != name || k.Address != address {
						continue
					}
					if k.IsInherited {
						t.Error("a socket that the gateway has not opened")
					}
					file, err := k.File()
					if err != nil {
						t.Error(err)
						return nil
					}
					defer file.Close()
					ln, err := net.FileListener(file)
					if err != nil {
						t.Error(err)
					}
					return Own{ln}
				}
				return nil
			}
			return s.run(t)
		}
		wantServed := func(by *gateway) {
			t.Helper()
			for _, name := range []string{"public", "unix"} {
				before := by.metric(t, "sluice_sessions_total", "result=established")
				c := dialAddr(t, by.Addr(name))
				c.send(t, asking("/"))
				b := backend.accept(t)
				b.send(t, switching())
				c.wantOpen(t)
				wantLive(t, c, b)
				if n := by.metric(t, "sluice_sessions_total", "result=established"); n != before+1 {
					t.Errorf("another process has accepted a client of %s", name)
				}
			}
		}
		old := configure().run(t)
		wantServed(old)
		for range 2 {
			old.PauseAccepting()
			next := heir(old)
			wantServed(next)
			old.StopAccepting()
			old.Close()
			wantServed(next)
			old = next
		}
		old.Close()
		if _, err := net.Dial("unix", path); !errors.Is(err, unix.ENOENT) {
			t.Errorf("the file of a socket of nobody: %v; want none", err)
		}
	})
}

func TestAGatewayThatNeverAcceptedLeavesTheFileOfASocket(t *testing.T) {
	backend := listenRaw(t)
	s := newSetup("loop", backend.Addr().String())
	s.Listeners[0].Address = "unix:" + filepath.Join(t.TempDir(), "s")
	old := s.run(t)
	k := old.Sockets()[0]
	p, err := (&Proxy{inherited: func(string, string) net.Listener {
		file, err := k.File()
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		ln, err := net.FileListener(file)
		if err != nil {
			t.Fatal(err)
		}
		return Own{ln}
	}}).open(&s.Listeners[0].ListenerConfig)
	if err != nil {
		t.Fatal(err)
	}
	p.close()
	old.open(t, backend)
}

func TestPoolsGoOnWithTheStateOfTheirBackends(t *testing.T) {
	one, two := listenRaw(t), listenRaw(t)
	s := newSetup("loop", one.Addr().String(), two.Addr().String())
	s.Pools = append(s.Pools, newPool("other", one.Addr().String()))
	old := s.run(t)
	heir := newSetup("loop", one.Addr().String(), two.Addr().String()).run(t)
	if err := old.Drain("pool", one.Addr().String(), time.Minute); err != nil {
		t.Fatal(err)
	}
	text, err := handover.Encode(old.PoolStates())
	if err != nil {
		t.Fatal(err)
	}
	var states []balancer.PoolState
	if err := handover.Decode(text, &states); err != nil {
		t.Fatal(err)
	}
	heir.RestorePools(states)
	for range 3 {
		heir.open(t, two)
	}
	if n := heir.metric(t, "sluice_backend_state", "backend="+one.Addr().String(), "state=draining"); n != 1 {
		t.Error("the backend doesn't drain")
	}
}

// Whatever happens to sessions while they move, each ends once, and nothing is left of it in either process.
func TestNothingIsLeftOfSessionsThatMoveAmongReloadsDrainsAndCloses(t *testing.T) {
	one, two := startEchoes(t), startEchoes(t)
	s := newSetup("loop", one, two)
	s.Pools[0].Policy = balancer.PolicyLeastConn
	s.Routes[0].CloseTimeout = milliseconds(200)
	a, b := s.run(t), func() *gateway {
		n := newSetup("loop", one, two)
		n.Pools[0].Policy = balancer.PolicyLeastConn
		n.Routes[0].CloseTimeout = milliseconds(200)
		return n.run(t)
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var running sync.WaitGroup
	for i := range 40 {
		running.Go(func() { chat(ctx, t, []*gateway{a, b}[i%2]) })
	}
	every := func(pause time.Duration, do func()) {
		running.Go(func() {
			for ctx.Err() == nil {
				time.Sleep(rand.N(pause))
				do()
			}
		})
	}
	moved := 0
	every(4*time.Millisecond, func() {
		for _, way := range [][2]*gateway{{a, b}, {b, a}} {
			n, _ := way[0].handOver(t, way[1])
			moved += n
		}
	})
	for _, g := range []*gateway{a, b} {
		removed := false
		every(200*time.Millisecond, func() {
			c := Sections{Listeners: s.Listeners, Routes: slices.Clone(s.Routes), Pools: s.Pools, MaxSessions: 1000, DrainsRemoved: true}
			if removed = !removed; removed {
				c.Routes[0].Path = "/elsewhere"
			}
			if err := g.Reload(c); err != nil {
				t.Error(err)
			}
		})
		every(100*time.Millisecond, func() {
			if err := errors.Join(g.Drain("pool", one, 0), g.Undrain("pool", one)); err != nil {
				t.Error(err)
			}
		})
		every(100*time.Millisecond, func() { g.Sessions().CloseAll(&session.Query{Backend: two}, 0) })
	}
	running.Wait()
	if moved == 0 {
		t.Error("nothing has moved")
	}
	eventually(t, "no session", func() bool { return a.IsEmpty() && b.IsEmpty() })
	a.wantSessions(t, 0)
	b.wantSessions(t, 0)
	in, out := 0.0, 0.0
	begun, ended := 0.0, 0.0
	for _, g := range []*gateway{a, b} {
		in += g.metric(t, "sluice_sessions_handed_over_total", "direction=in")
		out += g.metric(t, "sluice_sessions_handed_over_total", "direction=out")
		begun += g.metric(t, "sluice_sessions_total", "result=established")
		ended += g.metric(t, "sluice_session_seconds")
	}
	t.Logf("%v sessions, %v moves", begun, in)
	if in != out || begun != ended {
		t.Errorf("%v sessions came, %v went, %v began, %v ended", in, out, begun, ended)
	}
}

// startEchoes starts a backend that echoes frames as they come, and returns its address.
func startEchoes(t *testing.T) string {
	t.Helper()
	backend := listenRaw(t)
	go func() {
		for {
			c, err := backend.Accept()
			if err != nil {
				return
			}
			go echoes(c)
		}
	}()
	return backend.Addr().String()
}

// echoes serves a connection until it ends.
func echoes(c net.Conn) {
	defer c.Close()
	if _, err := ws.Upgrade(c); err != nil {
		return
	}
	for {
		f, err := readFrame(c)
		if err != nil {
			return
		}
		if ws.WriteFrame(c, ws.NewFrame(f.Header.OpCode, true, f.Payload)) != nil || f.Header.OpCode == ws.OpClose {
			return
		}
	}
}

// chat opens sessions one after another, and has messages echoed until the gateway closes them. What comes back must be what was sent.
func chat(ctx context.Context, t *testing.T, g *gateway) {
	for ctx.Err() == nil {
		c, r, _, err := ws.Dialer{Timeout: patience}.Dial(ctx, "ws://"+g.address()+"/")
		if err != nil {
			continue // its route is removed, or ctx has ended
		}
		var from io.Reader = c
		if r != nil {
			from = r // the gateway has closed it already
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		for n := 0; ; n++ {
			if ctx.Err() != nil {
				_ = ws.WriteFrame(c, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))))
			}
			text := strconv.Itoa(n)
			if ws.WriteFrame(c, ws.MaskFrame(ws.NewTextFrame([]byte(text)))) != nil {
				break
			}
			f, err := readFrame(from)
			if err != nil || f.Header.OpCode == ws.OpClose {
				break
			}
			if string(f.Payload) != text {
				t.Errorf("%q came back of %q", f.Payload, text)
			}
			time.Sleep(time.Millisecond)
		}
		_ = c.Close()
	}
}
