package session

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/gobwas/ws"
	"go.uber.org/zap"

	"sluice/balancer"
	"sluice/proxy/driver"
	"sluice/proxy/relay"
	"sluice/proxy/route"
)

// patience bounds each wait for something that is expected at once.
const patience = 10 * time.Second

// A gateway is as much of one as sessions need: a driver, a pool of one backend, a route.
type gateway struct {
	*Registry
	driver driver.Driver
	pool   *balancer.Pool
	route  *route.Route
	source Source

	ended, released, panics atomic.Int64
	isDraining              atomic.Bool
	breaks                  atomic.Bool // Ended panics
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	pool, err := balancer.New(balancer.Config{
		Name: "pool", Policy: balancer.PolicyRoundRobin, Backend: []balancer.BackendConfig{{Address: "127.0.0.1:1", Weight: 1}},
	}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{driver: driver.NewGoroutine(nil), pool: pool}
	g.route = &route.Route{
		Name: "/", Pool: pool, PoolName: "pool", CloseCodes: route.CloseCodes{Drained: 1012},
		Relay: relay.Config{CloseTimeout: 100 * time.Millisecond, WriteTimeout: patience},
	}
	g.source = Source{Name: "public", Release: func(netip.Addr) { g.released.Add(1) }}
	g.Registry = NewRegistry(Config{
		Ended: func(*Session, *driver.Result) {
			g.ended.Add(1)
			if g.breaks.Load() {
				panic("broken")
			}
		},
		MayBlock:   func(*Session) bool { return false },
		IsDraining: g.isDraining.Load,
		Panics:     func(string, any, []byte) { g.panics.Add(1) },
	})
	t.Cleanup(func() {
		_ = g.driver.Close(context.Background())
		<-g.Gone()
	})
	return g
}

// open begins a session of that id, and returns its client's end. What the backend's side is sent is discarded.
func (g *gateway) open(t *testing.T, id uint64) (*Session, net.Conn) {
	t.Helper()
	pick, err := g.pool.Pick(t.Context(), &balancer.Request{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := g.New(&Info{
		ID: id, Source: &g.source, Route: g.route, Backend: pick.Backend, Client: netip.MustParseAddrPort("192.0.2.1:1"),
		Host: []byte("host"), Path: []byte("/path"), Query: []byte("a=b"), Subprotocol: []byte("chat"),
	})
	g.Add(s)
	client, inner := net.Pipe()
	backend, outer := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, outer) }()
	g.driver.Relay(driver.Params{Config: &g.route.Relay, Owner: s, Handle: &s.Handle}, inner, backend)
	s.Relayed()
	t.Cleanup(func() { _, _ = client.Close(), outer.Close() })
	return s, client
}

// wantClose waits for a close with that code.
func wantClose(t *testing.T, c net.Conn, code ws.StatusCode) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	h, err := ws.ReadHeader(c)
	if err != nil {
		t.Fatalf("no close: %v", err)
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(c, payload); err != nil {
		t.Fatalf("no whole close: %v", err)
	}
	if got, _ := ws.ParseCloseFrameData(payload); h.OpCode != ws.OpClose || got != code {
		t.Errorf("frame %+v %q, want a close with %d", h, payload, code)
	}
}

// eventually polls until what holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%v went by without: %s", patience, what)
		}
	}
}

// Every live session has one: a byte more takes each of them to the next class of the allocator's sizes.
func TestASessionIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Session{}); size > 184 {
		t.Errorf("a session takes %d bytes, want 184 at most", size)
	}
}

func TestASessionTellsWhatItsRequestWas(t *testing.T) {
	g := newGateway(t)
	s, _ := g.open(t, 7)
	if s.Host() != "host" || s.Path() != "/path" || s.Query() != "a=b" || s.Subprotocol() != "chat" {
		t.Errorf("%q %q %q %q, want host, /path, a=b, chat", s.Host(), s.Path(), s.Query(), s.Subprotocol())
	}
	view, isLive := g.View("0000000000000007")
	if !isLive || view.Listener != "public" || view.Route != "/" || view.Pool != "pool" || view.Client.Address != "192.0.2.1:1" {
		t.Errorf("%+v, %v", view, isLive)
	}
	if _, isLive := g.View("7"); isLive {
		t.Error("an id in another form is that of the session")
	}
}

func TestASessionEndsOnceAndGivesBackAllThatItHolds(t *testing.T) {
	for name, breaks := range map[string]bool{"": false, "with a panic": true} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			g.breaks.Store(breaks)
			s, client := g.open(t, 1)
			_ = client.Close()
			select {
			case <-g.Gone():
			case <-time.After(patience):
				t.Fatal("the session stays")
			}
			s.SessionEnded(driver.Result{Verdict: relay.Aborted})
			if ended, released, active := g.ended.Load(), g.released.Load(), g.pool.Status()[0].Sessions; ended != 1 || released != 1 || active != 0 {
				t.Errorf("ended %d times, released %d times, %d places of the backend taken; want 1, 1, 0", ended, released, active)
			}
			if n := len(g.Closes()); n != 1 {
				t.Errorf("%d closes, want 1", n)
			}
		})
	}
}

func TestASessionThatBeginsInADrainIsClosed(t *testing.T) {
	g := newGateway(t)
	g.isDraining.Store(true)
	_, client := g.open(t, 1)
	wantClose(t, client, 1012)
	_ = client.Close()
	<-g.Gone()
	if closed, cut, ended := g.Farewell(); closed+cut+ended != 1 {
		t.Errorf("%d closed, %d cut, %d ended; want one in all", closed, cut, ended)
	}
}

func TestADrainGoesOnAfterAPanic(t *testing.T) {
	g := newGateway(t)
	broken, first := g.open(t, 1)
	_, second := g.open(t, 2)
	broken.Route = nil
	g.Spread(t.Context(), g.List(), 0, relay.ReasonDrain)
	broken.Route = g.route
	broken.shedding.Store(notShed) // to the race detector, this is before the session's end
	if n := g.panics.Load(); n != 1 {
		t.Errorf("%d panics were told, want 1", n)
	}
	wantClose(t, second, 1012)
	_ = first.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := ws.ReadHeader(first); err == nil {
		t.Error("the other session is closed too")
	}
}

func TestPagesHaveEverySessionOnce(t *testing.T) {
	g := newGateway(t)
	for id := range uint64(5) {
		g.open(t, id)
	}
	var ids []string
	for cursor, n := "", 0; n == 0 || cursor != ""; n++ {
		page, err := g.Page(&Query{}, cursor, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range page.Sessions {
			ids = append(ids, s.ID)
		}
		cursor = page.Next
	}
	if len(ids) != 5 {
		t.Errorf("sessions %v, want 5", ids)
	}
	for i, id := range ids {
		if want := "000000000000000" + string(rune('0'+i)); id != want {
			t.Errorf("session %d is %s, want %s", i, id, want)
		}
	}
	if _, err := g.Page(&Query{}, "beyond", 2); err != ErrCursor {
		t.Errorf("%v, want ErrCursor", err)
	}
}

func TestAPoolShedsTheLongestIdleSessions(t *testing.T) {
	g := newGateway(t)
	s, first := g.open(t, 1)
	time.Sleep(2 * time.Millisecond)
	_, second := g.open(t, 2)
	if n := g.Shed(s.Backend, 1); n != 1 {
		t.Fatalf("%d closed, want 1", n)
	}
	wantClose(t, first, 1012)
	_ = second.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := ws.ReadHeader(second); err == nil {
		t.Error("the other session is closed too")
	}
	eventually(t, "the session shown as closing", func() bool {
		view, _ := g.View("0000000000000001")
		return view.IsClosing
	})
}
