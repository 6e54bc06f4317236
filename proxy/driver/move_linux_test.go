package driver

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sys/unix"

	"sluice/internal/recovery"
	"sluice/proxy/relay"
)

// movable are the kinds whose sessions move.
func movable() (ks []*kind) {
	for _, k := range kinds {
		switch k.name {
		case "loop over TCP", "loop over Unix sockets", "loop over TLS 1.3 of clients", "loop over TLS 1.3 of backends", "loop over TLS 1.3 of both":
			ks = append(ks, k)
		}
	}
	return ks
}

func eachMovable(t *testing.T, test func(*testing.T, *kind)) {
	t.Parallel()
	for _, k := range movable() {
		t.Run(k.name, func(t *testing.T) { t.Parallel(); test(t, k) })
	}
}

// twoDrivers opens two drivers with one clock, as two processes would have.
func twoDrivers(t testing.TB, h recovery.Handler) (a, b *tested) {
	t.Helper()
	var both [2]*tested
	for i := range both {
		both[i] = openTested(t, &kind{open: func(t testing.TB) Driver {
			var d Driver
			var err error
			if i == 0 {
				d, err = New("loop", 2, h)
			} else {
				d, err = NewAt("loop", 2, h, both[0].loops().Clock())
			}
			if err != nil {
				t.Fatal(err)
			}
			return d
		}})
	}
	return both[0], both[1]
}

func (d *tested) loops() *Loops { return d.Driver.(*Loops) }

// freeze freezes the session, which has to be movable.
func (x *exchange) freeze(t testing.TB) Frozen {
	t.Helper()
	f := x.driver.loops().Freeze([]*Handle{x.handle})[0]
	if f.State == nil {
		t.Fatalf("the session can't move: %s", f.Why)
	}
	return f
}

func (x *exchange) thaw() { x.driver.loops().Thaw([]*Handle{x.handle}) }

// prepare has another driver take a frozen session over. The descriptors are duplicated, as they are by sendmsg.
func (x *exchange) prepare(t testing.TB, f Frozen, to *tested) (start, cancel func()) {
	t.Helper()
	var fds [2]int
	for side, fd := range f.FDs {
		var err error
		if fds[side], err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			t.Fatal(err)
		}
	}
	told, err := cbor.Marshal(f.State)
	if err != nil {
		t.Fatal(err)
	}
	st := &State{}
	if err := cbor.Unmarshal(told, st); err != nil {
		t.Fatal(err)
	}
	h := &Handle{}
	begin, cancel, err := to.loops().Adopt(Params{Config: x.config, Owner: x.owner, Handle: h}, st, fds)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		x.driver.loops().Forget([]*Handle{x.handle})
		x.driver, x.handle = to, h
		begin()
	}, cancel
}

// move moves the session to another driver.
func (x *exchange) move(t testing.TB, to *tested) (st *State) {
	t.Helper()
	f := x.freeze(t)
	start, _ := x.prepare(t, f, to)
	start()
	return f.State
}

// Sessions of each kind with random traffic both ways go back and forth between two drivers, some of them refused: nothing is lost, doubled,
// reordered or altered, and nothing is left at the end.
func TestSessionsMoveUnderTrafficAndNotAByteIsLost(t *testing.T) {
	const sessions = 2 // of each kind
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	checkBaseline := baseline(t)
	noise := newNoise(seed)
	t.Run("traffic", func(t *testing.T) {
		r := rand.New(rand.NewPCG(seed, 0))
		var both [2]*tested
		both[0], both[1] = twoDrivers(t, nil)
		var all []*tortured
		stop, end := make(chan struct{}), time.Now().Add(5*time.Minute)
		var wg sync.WaitGroup
		for _, k := range movable() {
			for range sessions {
				x := newTortured(t, both[0], k, split(r), noise)
				all = append(all, x)
				for side := range x.sent {
					x.sent[side].stop = stop
					x.got[side].stop = stop
					wg.Go(func() { x.sent[side].run(end) })
					wg.Go(func() { x.got[side].run(end) })
				}
			}
		}
		moved, refused, bytes := 0, 0, 0
		for round := range rounds {
			for i, from := range both {
				var some []*tortured
				var handles []*Handle
				for _, x := range all {
					if x.driver == from && r.IntN(4) > 0 {
						some, handles = append(some, x), append(handles, x.handle)
					}
				}
				starts := make([]func(), len(some))
				for j, f := range from.loops().Freeze(handles) {
					if f.State == nil {
						t.Fatalf("a session can't move: %s", f.Why)
					}
					bytes += len(f.State.Sides[0].Queue) + len(f.State.Sides[1].Queue)
					start, cancel := some[j].prepare(t, f, both[1-i])
					if r.IntN(8) == 0 {
						cancel()
						starts[j] = some[j].thaw
						refused++
						continue
					}
					starts[j] = start
					moved++
				}
				if round%2 == 0 { // what is sent meanwhile waits in the kernel
					time.Sleep(time.Duration(r.IntN(10)) * time.Millisecond)
				}
				for _, start := range starts {
					start()
				}
			}
		}
		close(stop)
		t.Logf("%d moves with %d bytes that waited, %d that were refused", moved, bytes, refused)
		wg.Wait()
		for _, x := range all {
			x.check(t)
		}
	})
	checkBaseline()
}

func TestWhatCannotMoveGoesOn(t *testing.T) {
	for _, k := range kinds {
		var why string
		switch k.name {
		case "loop over TLS 1.3 of clients and 1.2 of backends", "loop over TLS 1.3 by crypto/tls":
			why = WhyTLS12
		case "goroutine over memory":
			why = WhyGoroutine
		default:
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			own := *k
			if why == WhyGoroutine {
				own.open = openLoops
			}
			x := begin(t, &own, setup{})
			x.wantEcho(t, "before")
			if f := x.driver.loops().Freeze([]*Handle{x.handle})[0]; f.State != nil || f.Why != why {
				t.Errorf("Freeze = %+v; want %q", f, why)
			}
			x.wantEcho(t, "after")
		})
	}
}

func TestASessionThatHasBegunToEndDoesNotMove(t *testing.T) {
	eachMovable(t, func(t *testing.T, k *kind) {
		d := openTested(t, k)
		wantClosing := func(x *exchange, what string) {
			t.Helper()
			if f := d.loops().Freeze([]*Handle{x.handle})[0]; f.State != nil || f.Why != WhyClosing {
				t.Errorf("Freeze = %+v of a session %s; want %q", f, what, WhyClosing)
			}
		}
		x, other := join(t, d, k, setup{}), join(t, d, k, setup{})
		x.client.write(x.client.closing(1000, "bye"))
		x.backend.wantClose("the client's close", 1000, "bye")
		wantClosing(x, "whose client has sent a close")
		x.backend.write(x.backend.closing(1000, "bye"))
		x.client.wantClose("the answer", 1000, "bye")
		x.client.close()
		x.backend.close()
		x.wantResult(t)
		wantClosing(x, "that is over")

		other.handle.CloseBoth(1012, relay.ReasonDrain)
		wantClosing(other, "that the gateway closes")
		other.client.wantClose("the drain", 1012, "*")
	})
}

// wantSilence checks that a peer is sent nothing, as far as the driver has got by now.
func (p *peer) wantSilence(what string) {
	p.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if n, err := p.conn.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		p.Fatalf("%s: the %s gets %d bytes, %v; want nothing", what, p.side, n, err)
	}
}

func TestAFrozenSessionDoesNothingUntilItIsThawed(t *testing.T) {
	k := &kind{open: openLoops, pair: tcpPair} // TLS doesn't survive a read that times out
	x := begin(t, k, setup{config: relay.Config{PingInterval: both(20 * time.Millisecond)}})
	x.freeze(t)
	if f := x.driver.loops().Freeze([]*Handle{x.handle})[0]; f.State != nil {
		t.Error("a session was frozen twice")
	}
	x.client.write(x.client.text("there"))
	x.backend.wantSilence("frozen")
	x.handle.CloseBoth(1012, relay.ReasonDrain)
	x.handle.CloseBoth(1001, relay.ReasonIdle)
	if st, isLive := x.handle.Stats(); !isLive || st.Counts[relay.Client].Bytes != 0 {
		t.Errorf("Stats = %+v, %t of a frozen session; want zeros", st, isLive)
	}
	x.client.wantSilence("closes wait")
	x.thaw()
	x.backend.want("what was sent meanwhile", x.client.text("there"))
	x.client.wantClose("the first request", 1012, "*")
}

func TestACloseAskedForMeanwhileIsDroppedWithTheForgottenSession(t *testing.T) {
	a, b := twoDrivers(t, nil)
	x := join(t, a, &kind{pair: tcpPair}, setup{})
	f := x.freeze(t)
	old := x.handle
	start, _ := x.prepare(t, f, b)
	old.CloseBoth(1012, relay.ReasonDrain)
	start()
	old.CloseBoth(1012, relay.ReasonDrain)
	x.wantEcho(t, "after the move")
}

// The session moves while half of a large frame is in a pipe, with half of the next header behind.
func TestWhatIsInAPipeMovesWithItsSession(t *testing.T) {
	a, b := twoDrivers(t, nil)
	x := join(t, a, &kind{pair: tcpPair}, setup{isSmall: [2]bool{true, true}})
	hasPipe := func() (is bool) {
		l := x.handle.controller.(*loop)
		l.do(func() {
			s, isLive := l.slots.find(x.handle.id)
			is = isLive && s.pending != nil && s.pending.pipe[relay.Backend] != nil
		})
		return is
	}
	noise := newNoise(1)
	data := x.client.frame(isFin|opBinary, noise[:4<<20])
	done := x.client.writeAll(slices.Concat(data, x.client.text("next")))
	eventually(t, "payload waits in a pipe", hasPipe)
	f := x.freeze(t)
	if hasPipe() {
		t.Error("a frozen session has a pipe")
	}
	waiting := a.QueuedBytes()
	if n := int64(len(f.State.Sides[relay.Backend].Queue)); n == 0 || n != waiting {
		t.Errorf("%d bytes wait, the state has %d", waiting, n)
	}
	_, cancel := x.prepare(t, f, b)
	if n := b.QueuedBytes(); n != 0 {
		t.Errorf("%d bytes wait in a session that hasn't started", n)
	}
	cancel()
	x.thaw() // it isn't taken the first time
	f = x.freeze(t)
	start, _ := x.prepare(t, f, b)
	start()
	if n := a.QueuedBytes(); n != 0 {
		t.Errorf("%d bytes wait in a driver without sessions", n)
	}
	x.backend.want("the frame", data)
	<-done
	x.backend.want("the next frame", x.client.text("next"))
	x.wantEcho(t, "after the move")
	x.client.write(x.client.closing(1000, ""))
	x.backend.wantClose("the close", 1000, "")
	x.backend.close()
	x.client.close()
	c := x.wantResult(t).Counts[relay.Client]
	if want := uint64(4<<20 + len("next") + len("there")); c.Bytes != want || c.Frames != 3 {
		t.Errorf("counts %+v; want %d bytes in 3 frames", c, want)
	}
	at, bt := a.Totals(), b.Totals()
	if sum := at.Bytes[relay.Client] + bt.Bytes[relay.Client]; sum != c.Bytes || bt.Bytes[relay.Client] == 0 {
		t.Errorf("the drivers have relayed %d and %d bytes; want %d together", at.Bytes[relay.Client], bt.Bytes[relay.Client], c.Bytes)
	}
}

func TestPartsOfRecordsAndPongsMove(t *testing.T) {
	a, b := twoDrivers(t, nil)
	x, _ := tapped(t, func(testing.TB) Driver { return a.Driver }, true)
	x.driver = a
	message := x.client.frame(isFin|opBinary, bytes.Repeat([]byte("slow "), 200))
	half := x.backend.text("half a frame, and pongs that wait for its end")
	x.backend.write(half[:9])
	x.client.want("half a frame", half[:9])
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 3 {
			x.client.write(x.client.ping("held"), message) // byte by byte
		}
	}()
	var hasPart, hasHeld bool
	for isOver := false; !isOver; {
		select {
		case <-done:
			isOver = true
		default:
		}
		to := a
		if x.driver == a {
			to = b
		}
		client := &x.move(t, to).Sides[relay.Client]
		hasPart, hasHeld = hasPart || len(client.Part) > 0, hasHeld || len(client.Held) > 0
	}
	for range 3 {
		x.backend.want("data", message)
	}
	x.backend.write(half[9:])
	x.client.want("the rest", half[9:])
	for range 3 {
		x.client.wantFrame("the pong", isFin|opPong, "held")
	}
	x.wantEcho(t, "after the moves")
	if !hasPart || !hasHeld {
		t.Errorf("a part of a record moved: %t, pongs: %t", hasPart, hasHeld)
	}
	x.client.close()
	x.backend.close()
	x.wantResult(t)
}

func TestTheStateOfASessionIsTheSameAfterAMove(t *testing.T) {
	a, b := twoDrivers(t, nil)
	x, conns := rekeyed(t, func(testing.TB) Driver { return a.Driver }, false)
	x.driver = a
	x.wantEcho(t, "before")
	for range 3 {
		rekey(t, conns[relay.Client], 1, x.client.text("under new keys"))
		x.backend.want("data", x.client.text("under new keys"))
	}
	x.backend.write(x.backend.text("answer"))
	x.client.want("the answer, under new keys too", x.backend.text("answer"))
	half := x.backend.header(isFin|opBinary, 100)
	x.backend.write(half, []byte("a part"))
	x.client.want("a part of a frame", append(half, "a part"...))
	header := x.client.header(isFin|opBinary, 100)
	x.client.write(x.client.ping("held"), header[:5])
	eventually(t, "a part of a header has come", func() bool {
		f := x.freeze(t)
		x.thaw()
		return len(f.State.Sides[relay.Client].Carry) == 5
	})
	before := x.move(t, b)
	after := x.move(t, a)
	if !reflect.DeepEqual(before, after) {
		t.Errorf("the state was %+v; after a move it is %+v", before, after)
	}
	if c := before.Sides[relay.Client]; c.KeysDueAt == 0 || c.KeysEarned == 0 || c.TLS.In.Seq == 0 || len(c.Held) == 0 {
		t.Errorf("the state is %+v; want key changes, keys and a pong in it", c)
	}
	x.client.close()
	x.backend.close()
	x.wantResult(t)
}

// A timer that began anew with each move would never expire in a session that moves all the time.
func TestTimersGoOnAfterMoves(t *testing.T) {
	const timeout = 500 * time.Millisecond
	for _, s := range []struct {
		name   string
		config relay.Config
		begin  func(*exchange) (done chan struct{}) // what the timer waits for; done is closed when the peers may go
		reason relay.Reason
	}{
		{"idle", relay.Config{IdleTimeout: timeout}, func(*exchange) chan struct{} { return nil }, relay.ReasonIdle},
		{"no pong", relay.Config{PingInterval: both(timeout / 2), PongTimeout: both(timeout / 2)}, func(*exchange) chan struct{} { return nil },
			relay.ReasonPongTimeout},
		{"half a frame", relay.Config{WriteTimeout: timeout}, func(x *exchange) chan struct{} {
			x.client.write(x.client.text("half a frame")[:8])
			return nil
		}, relay.ReasonFrameTimeout},
		{"a full queue", relay.Config{WriteTimeout: timeout}, func(x *exchange) chan struct{} {
			done := x.client.writeAll(x.client.frame(isFin|opBinary, make([]byte, 1<<20)))
			eventually(t, "bytes wait", func() bool { return x.driver.QueuedBytes() > 0 })
			return done
		}, relay.ReasonWriteTimeout},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			a, b := twoDrivers(t, nil)
			x := join(t, a, &kind{pair: tcpPair}, setup{config: s.config, isSmall: [2]bool{true, true}})
			start := time.Now()
			done := s.begin(x)
			eventually(t, "a session that moves all the time ends", func() bool {
				to := a
				if x.driver == a {
					to = b
				}
				f := x.driver.loops().Freeze([]*Handle{x.handle})[0]
				if f.State == nil {
					return true
				}
				start, _ := x.prepare(t, f, to)
				start()
				return false
			})
			if passed := time.Since(start); passed < timeout {
				t.Errorf("it ends after %v; want %v", passed, timeout)
			}
			x.client.close()
			x.backend.close()
			if done != nil {
				<-done
			}
			if v := x.wantResult(t).Verdict; v.Reason != s.reason {
				t.Errorf("verdict %v; want %v", v.Reason, s.reason)
			}
		})
	}
}

func TestAClockGoesOnInAnotherDriver(t *testing.T) {
	a, b := twoDrivers(t, nil)
	before := a.loops().clock.now()
	between := b.loops().clock.now()
	after := a.loops().clock.now()
	const most = 10 * time.Millisecond
	if between < before.Add(-most) || between > after.Add(most) {
		t.Errorf("the clocks are apart: %d, %d, %d", before, between, after)
	}
	_, present := monotonic()
	old, err := NewAt("loop", 1, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close(t.Context())
	if now := old.(*Loops).clock.now(); now < relay.Instant(present) {
		t.Errorf("a clock that began with the system's says %d at %d", now, present)
	}
	for _, clock := range []int64{-1, present + int64(time.Hour)} {
		if _, err := NewAt("loop", 1, nil, clock); err == nil {
			t.Errorf("a clock that began at %d is taken at %d", clock, present)
		}
	}
}

func TestASocketThatWasWidenedIsKnownToBe(t *testing.T) {
	a, b := twoDrivers(t, nil)
	x := join(t, a, &kind{pair: tcpPair}, setup{isSmall: [2]bool{true, false}})
	data := x.backend.frame(isFin|opBinary, make([]byte, wideAfter+1<<20))
	done := x.backend.writeAll(data)
	x.client.want("the data", data)
	<-done
	st := x.move(t, b)
	if !st.Sides[relay.Client].IsWide || st.Sides[relay.Backend].IsWide {
		t.Errorf("wide: %t, %t; want the client alone", st.Sides[relay.Client].IsWide, st.Sides[relay.Backend].IsWide)
	}
	x.wantEcho(t, "after the move")
	if st := x.freeze(t).State; !st.Sides[relay.Client].IsWide {
		t.Error("the next driver doesn't know")
	}
	x.thaw()
}

// A socket that lingers for no time is reset when its last owner closes it, which drops what its peer has yet to take.
func TestAMoveLeavesNoOptionBehindThatWouldCutTheConnection(t *testing.T) {
	eachMovable(t, func(t *testing.T, k *kind) {
		a, b := twoDrivers(t, nil)
		x := join(t, a, k, setup{})
		x.move(t, b)
		for side, fd := range x.freeze(t).FDs {
			if isSet, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_LINGER); isSet != 0 || err != nil {
				t.Errorf("SO_LINGER of side %d is %d, %v; want 0", side, isSet, err)
			}
		}
		x.thaw()
		x.wantEcho(t, "after the move")
	})
}

func TestWhatCameWhileASessionWasFrozenCountsBeforeATimerDoes(t *testing.T) {
	const timeout = time.Second
	a, b := twoDrivers(t, nil)
	var both [2]*exchange
	var goOn [2]func()
	for i := range both {
		x := join(t, a, &kind{pair: tcpPair}, setup{config: relay.Config{IdleTimeout: timeout}})
		f := x.freeze(t)
		both[i], goOn[i] = x, x.thaw
		if i == 1 {
			goOn[i], _ = x.prepare(t, f, b)
		}
		x.client.write(x.client.text("in time"))
	}
	time.Sleep(2 * timeout)
	for i, x := range both {
		goOn[i]()
		x.backend.want("what came", x.client.text("in time"))
		x.client.wantClose("idle only now", 1001, "*")
		x.client.close()
		x.backend.close()
		x.wantVerdict(t, relay.Gateway, 1001, relay.ReasonIdle)
	}
}

// A driver that ends, or a loop that is retired, leaves frozen sessions to those who froze them.
func TestFrozenSessionsOutliveTheirLoop(t *testing.T) {
	end := map[string]func(*testing.T, *tested, *loop){
		"closed": func(t *testing.T, d *tested, _ *loop) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := d.Close(ctx); err != nil {
				t.Fatal(err)
			}
		},
		"retired": func(_ *testing.T, _ *tested, l *loop) {
			l.do(func() { l.slots.free = l.slots.free[:len(l.slots.free)-1]; panic("injected") })
			<-l.ended
		},
	}
	for name, end := range end {
		for _, k := range movable() {
			t.Run(name+"/"+k.name, func(t *testing.T) {
				a, b := twoDrivers(t, new(panics).handle)
				thawed, forgotten := join(t, a, k, setup{}), join(t, a, k, setup{})
				for _, x := range []*exchange{thawed, forgotten} {
					x.wantEcho(t, "before the end")
				}
				thawed.freeze(t)
				start, _ := forgotten.prepare(t, forgotten.freeze(t), b)
				end(t, a, thawed.handle.controller.(*loop))
				if name == "retired" {
					end(t, a, forgotten.handle.controller.(*loop))
				}
				if n := thawed.count.Load() + forgotten.count.Load(); n != 0 {
					t.Fatalf("%d frozen sessions have ended with their loop", n)
				}
				thawed.thaw()
				start()
				thawed.wantResult(t)
				thawed.client.wantCut("thawed")
				thawed.backend.wantCut("thawed")
				forgotten.wantEcho(t, "in the other driver")
			})
		}
	}
}

func TestAPanicOverAnotherSessionLeavesFrozenOnesAlone(t *testing.T) {
	p := new(panics)
	d := openTested(t, &kind{open: func(t testing.TB) Driver {
		d, err := NewLoops(1, p.handle)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}})
	k := &kind{pair: tcpPair}
	frozen, broken := join(t, d, k, setup{}), join(t, d, k, setup{})
	frozen.wantEcho(t, "before")
	broken.wantEcho(t, "before")
	frozen.freeze(t)
	forgetConfig(broken.handle)
	broken.client.write(broken.client.text("hello"))
	broken.wantVerdict(t, relay.Gateway, 1011, relay.ReasonInternal)
	frozen.thaw()
	frozen.wantEcho(t, "thawed")
	p.want(t, "nil pointer", "nil pointer")
}

func TestASessionThatPanicsAsItIsFrozenIsEnded(t *testing.T) {
	p := new(panics)
	d := openTested(t, &kind{open: func(t testing.TB) Driver { return openRecovering(t, &kind{open: openLoops}, p.handle) }})
	x, other := join(t, d, &kind{pair: tcpPair}, setup{}), join(t, d, &kind{pair: tcpPair}, setup{})
	x.wantEcho(t, "before")
	l := x.handle.controller.(*loop)
	l.do(func() {
		l.slots.at(uint32(x.handle.id)).pending = &pending{part: [2]*recordBuffer{}, carry: [2]carry{{n: 255}}}
	})
	frozen := d.loops().Freeze([]*Handle{x.handle, other.handle})
	if frozen[0].State != nil || frozen[0].Why != WhyClosing || frozen[1].State == nil {
		t.Errorf("Freeze = %+v; want the second session alone", frozen)
	}
	x.client.wantClose("the panic", 1011, "internal error of the gateway")
	other.thaw()
	other.wantEcho(t, "thawed")
	p.want(t, "out of range")
}

// What waited for the backend is lost: a close after it would stand inside a frame.
func TestASessionThatPanicsAsItStartsIsCut(t *testing.T) {
	p := new(panics)
	a, b := twoDrivers(t, p.handle)
	x := join(t, a, &kind{pair: tcpPair}, setup{})
	f := x.freeze(t)
	f.State.Sides[relay.Backend].Queue = x.client.text("half a frame")[:9]
	start, _ := x.prepare(t, f, b)
	b.loops().pools.pendings.New = func() any { panic("injected") }
	start()
	x.wantVerdict(t, relay.Gateway, 1011, relay.ReasonInternal)
	x.backend.wantCut("the panic")
	x.client.wantCut("the panic")
	p.want(t, "injected")
}

func TestStatesThatAreImpossibleAreRefused(t *testing.T) {
	a, b := twoDrivers(t, nil)
	k := &kind{pair: tcpPair, tls: security{client: tls.VersionTLS13}}
	x := join(t, a, k, setup{})
	x.wantEcho(t, "before")
	pipe := make([]int, 2)
	if err := unix.Pipe2(pipe, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	for name, damage := range map[string]func(st *State, fds *[2]int){
		"a relay state":           func(st *State, _ *[2]int) { st.Relay.Sides[0].Left = -1 },
		"a huge queue":            func(st *State, _ *[2]int) { st.Sides[1].Queue = make([]byte, maxMovedQueue+1) },
		"pongs at a boundary":     func(st *State, _ *[2]int) { st.Sides[0].Held = []byte{0x8a, 0} },
		"many pongs":              func(st *State, _ *[2]int) { st.Sides[0].Held = make([]byte, MaxQueued+1) },
		"a long header":           func(st *State, _ *[2]int) { st.Sides[0].Carry = make([]byte, relay.MaxCarry+1) },
		"a part of no record":     func(st *State, _ *[2]int) { st.Sides[1].Part = []byte{23} },
		"a whole record":          func(st *State, _ *[2]int) { st.Sides[0].Part = []byte{23, 3, 3, 0, 1, 0} },
		"a record of cleartext":   func(st *State, _ *[2]int) { st.Sides[0].Part = []byte{22} },
		"a record that is large":  func(st *State, _ *[2]int) { st.Sides[0].Part = []byte{23, 3, 3, 255, 255} },
		"an unknown suite":        func(st *State, _ *[2]int) { st.Sides[0].TLS.Suite = 1 },
		"TLS that has ended":      func(st *State, _ *[2]int) { st.Sides[0].TLS.HasEnded = true },
		"keys before the clock":   func(st *State, _ *[2]int) { st.Sides[0].KeysDueAt = -1 },
		"keys that nobody earns":  func(st *State, _ *[2]int) { st.Sides[0].KeysEarned = mostEarned + 1 },
		"no descriptor":           func(_ *State, fds *[2]int) { fds[0] = -1 },
		"a pipe":                  func(_ *State, fds *[2]int) { fds[1] = pipe[0] },
		"a listening socket":      func(_ *State, fds *[2]int) { fds[1] = int(file.Fd()) },
		"one socket of two sides": func(_ *State, fds *[2]int) { fds[1] = fds[0] },
	} {
		f := x.freeze(t)
		damage(f.State, &f.FDs)
		if _, _, err := b.loops().Adopt(Params{Config: x.config, Owner: x.owner, Handle: &Handle{}}, f.State, f.FDs); err == nil {
			t.Errorf("%s is taken", name)
		}
		x.thaw()
		x.wantEcho(t, "refused: "+name)
	}
}

// Another build may have other marks.
func TestASideThatWasPausedForFewBytesIsReadAgainOnceTheyAreGone(t *testing.T) {
	a, b := twoDrivers(t, nil)
	x := join(t, a, &kind{pair: tcpPair}, setup{})
	f := x.freeze(t)
	f.State.Relay.Sides[relay.Client].IsPaused = true
	waiting := x.client.text("waits")
	f.State.Sides[relay.Backend].Queue = waiting
	start, _ := x.prepare(t, f, b)
	start()
	x.backend.want("what waits", waiting)
	x.wantEcho(t, "after the move")
}

func TestASessionWhoseDriverHasClosedBeforeItsStartIsCut(t *testing.T) {
	a, b := twoDrivers(t, nil)
	x := join(t, a, &kind{pair: tcpPair}, setup{})
	start, _ := x.prepare(t, x.freeze(t), b)
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	start()
	x.wantResult(t)
	x.client.wantCut("no driver")
}
