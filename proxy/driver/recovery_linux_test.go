package driver

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
	"sluice/internal/recovery"
	"sluice/proxy/relay"
	"sluice/tls/record"
)

// openRecovering opens the driver of a kind, and has it recover panics.
func openRecovering(t testing.TB, k *kind, h recovery.Handler) Driver {
	d := k.open(t)
	if g, isGoroutine := d.(*Goroutine); isGoroutine {
		g.panics = h
		return d
	}
	loops := loopsOf(d)
	loops.panics, loops.other.panics = h, h
	for l := range loops.all() {
		l.do(func() { l.panics = h })
	}
	return d
}

// loopsOf returns the loops of a driver of Linux.
func loopsOf(d Driver) *Loops {
	if m, isMuxes := d.(*muxes); isMuxes {
		return m.Loops
	}
	return d.(*Loops)
}

func poolsOfLoops(d Driver) *pools { return loopsOf(d).pools }

// forgetConfig breaks a session.
func forgetConfig(h *Handle) {
	switch in := h.controller.(type) {
	case *loop:
		in.do(func() { in.slots.at(uint32(h.id)).config = nil })
	case *goroutineSession:
		in.mu.Lock()
		defer in.mu.Unlock()
		in.config = nil
	}
}

// breakages are what makes a loop's bookkeeping worthless.
var breakages = map[string]func(*loop){
	"a deadline of no slot":         func(l *loop) { l.deadlines.entries[0].index = 1 << 20 },
	"deadlines out of order":        func(l *loop) { l.deadlines.entries[0].at = never + grain },
	"a slot free and in use":        func(l *loop) { l.slots.free = append(l.slots.free, l.deadlines.entries[0].index) },
	"a slot that is neither":        func(l *loop) { l.slots.free = l.slots.free[:len(l.slots.free)-1] },
	"a task in a session's slot":    func(l *loop) { l.tasks[l.deadlines.entries[0].index] = &greeter{} },
	"a deadline that is in no heap": func(l *loop) { l.deadlines.entries = l.deadlines.entries[:len(l.deadlines.entries)-1] },
	"states of TLS that are lost": func(l *loop) {
		m := tlsOf(l)
		m.secureds = append(m.secureds, newSlab[secured]())
	},
	"a state of TLS free and in use": func(l *loop) {
		m := tlsOf(l)
		m.free = append(m.free, 1) // which is the first that is used
	},
}

// tlsOf returns what a loop has for TLS.
func tlsOf(l *loop) *tlsMemory {
	if l.tls == nil {
		l.tls = &tlsMemory{layer: record.NewLayer()}
	}
	return l.tls
}

func TestALoopWhoseOwnStateIsBrokenIsReplacedAndTheOthersGoOn(t *testing.T) {
	for name, damage := range breakages {
		for _, version := range []uint16{0, tls.VersionTLS13} {
			t.Run(fmt.Sprintf("%s, TLS %#x", name, version), func(t *testing.T) {
				t.Parallel()
				testBreakage(t, security{version, version}, damage)
			})
		}
	}
}

// testBreakage checks what happens to the sessions of a loop that is broken, and to those of another one.
func testBreakage(t *testing.T, c security, damage func(*loop)) {
	p := new(panics)
	k := &kind{pair: tcpPair, tls: c, open: func(t testing.TB) Driver { return openRecovering(t, &kind{open: openLoops}, p.handle) }}
	d := openTested(t, k)
	loops := d.Driver.(*Loops)
	ln := listenOnLoops(t, loops)
	wantGreeting(t, ln, "before")
	var hit, missed []*exchange
	broken := loops.loops[0].Load()
	for range 6 {
		x := join(t, d, k, setup{})
		x.wantEcho(t, "before the fault")
		if x.handle.controller == controller(broken) {
			hit = append(hit, x)
		} else {
			missed = append(missed, x)
		}
	}
	if len(hit) == 0 || len(missed) == 0 {
		t.Fatalf("%d sessions on one loop, %d on the other; want some on both", len(hit), len(missed))
	}
	passed := d.Totals().Bytes
	broken.do(func() { damage(broken); panic("injected") })
	for _, x := range hit {
		x.client.wantClose("the loop is retired", 1011, "internal error of the gateway")
		x.client.wantCut("the loop is retired")
		x.wantVerdict(t, relay.Gateway, 1011, relay.ReasonInternal)
		if _, isLive := x.handle.Stats(); isLive {
			t.Error("a session of the retired loop lives")
		}
	}
	eventually(t, "another loop in its place", func() bool { return loops.loops[0].Load() != broken })
	for _, x := range missed {
		x.wantEcho(t, "after the fault")
	}
	for range 6 {
		x := join(t, d, k, setup{})
		x.wantEcho(t, "a new session")
	}
	for range 8 { // on either loop
		wantGreeting(t, ln, "after")
	}
	if now := d.Totals().Bytes; now[0] < passed[0] || now[1] < passed[1] {
		t.Errorf("totals fall from %v to %v", passed, now)
	}
	p.want(t, "injected", "BUG: ")
}

// A greeter is a Task that tells its client something. It is used as its own driver's: Ready comes once the client has said something.
type greeter struct{ isBroken bool }

func (g *greeter) Ready(w Work, side relay.Side, _ uint32) {
	if g.isBroken {
		panic("injected")
	}
	_, _ = epoll.Write(w.FD(side), []byte("welcome"))
	w.Drop()
}

func (g *greeter) Due(Work)   {}
func (g *greeter) Cut(w Work) { w.Drop() }
func (g *greeter) Failed(w Work) {
	_, _ = epoll.Write(w.FD(relay.Client), []byte("sorry"))
	w.Drop()
}

// listenOnLoops has the loops accept. The first of three clients is greeted, the second one's Task panics in Ready, the third one's before it begins.
func listenOnLoops(t *testing.T, d *Loops) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	stop, err := d.Accept(ln.(*net.TCPListener), func(w Work, _ netip.AddrPort) Task {
		if err := w.Await(relay.Client, unix.EPOLLIN); err != nil {
			panic(err)
		}
		return &greeter{}
	}, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return ln
}

func wantGreeting(t *testing.T, ln net.Listener, when string) {
	t.Helper()
	if got := greet(t, ln); got != "welcome" {
		t.Fatalf("a client that comes %s the fault got %q; want a greeting", when, got)
	}
}

func greet(t *testing.T, ln net.Listener) string {
	t.Helper()
	conn, _ := net.Dial("tcp", ln.Addr().String())
	p := &peer{t, relay.Client, conn}
	defer p.close()
	p.write([]byte("hello"))
	b := make([]byte, 16)
	n, _ := conn.Read(b)
	return string(b[:n])
}

func TestAPanicOfATaskEndsItsConnectionAlone(t *testing.T) {
	p := new(panics)
	d, err := NewLoops(1, p.handle)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close(t.Context())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	count := 0
	stop, err := d.Accept(ln.(*net.TCPListener), func(w Work, _ netip.AddrPort) Task {
		count++
		if count == 2 {
			panic(fmt.Errorf("injected before the task is one"))
		}
		if err := w.Await(relay.Client, unix.EPOLLIN); err != nil {
			panic(err)
		}
		return &greeter{isBroken: count == 1}
	}, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for i, want := range []string{"sorry", "", "welcome"} {
		if got := greet(t, ln); got != want {
			t.Errorf("client %d got %q; want %q", i+1, got, want)
		}
	}
	p.want(t, "injected", "injected before the task is one")
}

func TestCommandsAfterTheOneThatBreaksALoopAreNotLost(t *testing.T) {
	p := new(panics)
	d, err := NewLoops(2, p.handle)
	if err != nil {
		t.Fatal(err)
	}
	l := d.loops[0].Load()
	hold, isHeld := make(chan struct{}), make(chan struct{})
	l.command(func() { close(isHeld); <-hold })
	<-isHeld
	l.command(func() {
		l.slots.hots, l.slots.colds = append(l.slots.hots, newSlab[hot]()), append(l.slots.colds, new([slabSize]cold))
		panic("injected")
	})
	done := make(chan struct{})
	l.command(func() { close(done) })
	close(hold)
	select {
	case <-done:
	case <-time.After(patience):
		t.Error("a command was lost as its loop was retired")
	}
	if err := d.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
