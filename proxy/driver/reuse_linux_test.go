package driver

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"sluice/proxy/relay"
)

func init() {
	loops := reuser{
		open:  openOneLoop,
		spoil: func(t testing.TB, d Driver) { spoilLoop(t, d.(*Loops)) },
		keeps: func(d Driver) (fds int) {
			l := d.(*Loops).loops[0].Load()
			l.do(func() { fds = 2 * len(l.pipes) })
			return fds
		},
		wantSame: wantSameSlot,
	}
	reusers["loop"] = loops
	loops.isSpecial = true
	loops.open = func(t testing.TB) Driver {
		d := openOneLoop(t)
		l := d.(*Loops).loops[0].Load()
		l.do(func() { l.lends, l.takesRecords = false, false })
		return d
	}
	reusers["loop that lends nothing"] = loops
	loops.open = func(t testing.TB) Driver {
		d := openOneLoop(t)
		l := d.(*Loops).loops[0].Load()
		l.do(func() { l.takesRecords = false })
		return d
	}
	reusers["loop with crypto/tls"] = loops
}

func openOneLoop(t testing.TB) Driver {
	d, err := NewLoops(1, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// wantSameSlot checks that the second session followed the first one in its slot.
func wantSameSlot(t testing.TB, first, second *Handle) {
	t.Helper()
	if first.controller != second.controller || uint32(first.id) != uint32(second.id) || second.id>>32 != first.id>>32+1 {
		t.Fatalf("slot %d, generation %d after slot %d, generation %d; want the next generation of the same slot",
			uint32(second.id), second.id>>32, uint32(first.id), first.id>>32)
	}
}

// spoilLoop is spoil of a driver with one loop.
func spoilLoop(t testing.TB, d *Loops) {
	t.Helper()
	spoilGoroutine(t, d.other)
	l := d.loops[0].Load()
	l.do(func() {
		if n := l.sessions.Load(); n != 0 {
			t.Errorf("%d sessions; want none", n)
		}
		if len(l.deadlines.entries) != 0 || len(l.tasks) != 0 {
			t.Errorf("%d deadlines and %d tasks without a session; want none", len(l.deadlines.entries), len(l.tasks))
		}
		for _, c := range l.slots.colds {
			for i := range c {
				if c[i] != (cold{}) {
					t.Errorf("slot %d is free and has %+v", i, c[i])
				}
			}
		}
		wantPipesEmpty(t, l)
		wantEngineEmpty(t, &l.engine)
		for _, slab := range tlsOf(l).secureds {
			for i := range slab {
				if slab[i] != (secured{}) {
					t.Errorf("the state %d of TLS is free and has %+v", i, slab[i])
				}
			}
		}
		wantFeedsEmpty(t, l.tls)

		spoilPools(t, d.pools)
		spoilEngine(&l.engine)
		l.env.Totals = &l.totals
		spoil(l.buf)
		spoil(l.tls.records[:])
		l.tls.joined = spoil(make([]byte, 0, 1<<10))
		l.tls.sealed = spoil(make([]byte, 0, 1<<10))
		for side := range l.tls.feed {
			l.tls.feed[side].out = spoil(make([]byte, 0, 1<<10))
		}
	})
}

// wantPipesEmpty checks that no pipe in a loop's list holds bytes, by its own count or by the kernel's.
func wantPipesEmpty(t testing.TB, l *loop) {
	t.Helper()
	if len(l.pipes) > maxPipes {
		t.Errorf("%d pipes are kept; want %d at most", len(l.pipes), maxPipes)
	}
	for _, p := range l.pipes {
		n, err := unix.IoctlGetInt(p.read, unix.TIOCINQ) // another name of FIONREAD
		if n != 0 || p.n != 0 || err != nil {
			t.Errorf("a pipe that is to be lent holds %d bytes, by its own count %d, %v", n, p.n, err)
		}
	}
}

// wantFeedsEmpty checks that nothing waits between a loop and crypto/tls.
func wantFeedsEmpty(t testing.TB, m *tlsMemory) {
	t.Helper()
	if n := len(m.joined) + len(m.sealed); n != 0 {
		t.Errorf("between two sessions %d bytes of a batch are kept", n)
	}
	for side := range m.feed {
		if f := &m.feed[side]; f.in != nil || len(f.out) != 0 {
			t.Errorf("between two sessions the feed of side %d has %d bytes to read and %d written", side, len(f.in), len(f.out))
		}
	}
}

// A session or task finds nothing in its slot that an earlier one left there.
func TestASlotStartsFromZero(t *testing.T) {
	var l loop
	l.deadlines.slots = &l.slots
	first := l.newTask(3)
	id := first.id()
	l.deadlines.remove(first)
	bytesOf := unsafe.Slice((*byte)(unsafe.Pointer(first.hot)), unsafe.Sizeof(hot{}))
	for i := range bytesOf {
		bytesOf[i] = 1
	}
	first.generation = uint32(id >> 32)
	*first.cold = cold{pending: new(pending), conn: [2]*cryptoTLS{new(cryptoTLS), new(cryptoTLS)}, config: new(relay.Config), owner: newOwner()}
	l.slots.release(first)

	second := l.newTask(4)
	if second.index != first.index || second.generation != uint32(id>>32)+1 {
		t.Fatalf("slot %d, generation %d; want the next generation of slot %d", second.index, second.generation, first.index)
	}
	var fresh loop
	fresh.deadlines.slots = &fresh.slots
	want := fresh.newTask(4)
	want.generation = second.generation
	if *second.hot != *want.hot {
		t.Errorf("a slot that was used starts with %+v; want %+v", *second.hot, *want.hot)
	}
	if *second.cold != *want.cold {
		t.Errorf("a slot that was used starts with %+v; want %+v", *second.cold, *want.cold)
	}
}

// Payload of a stalled session waits in a pipe. A loop closes that pipe if the session ends before the payload has gone out.
func TestAPipeThatHoldsBytesIsNotLentAgain(t *testing.T) {
	d := openTested(t, &kind{open: openOneLoop})
	l := d.Driver.(*Loops).loops[0].Load()
	for name, end := range map[string]func(*reused){
		"the receiver resets": func(x *reused) { x.client.reset() },
		"the sender resets":   func(x *reused) { x.backend.reset() },
		"both reset":          func(x *reused) { x.backend.reset(); x.client.reset() },
		"a drain cuts it":     func(x *reused) { x.handle.CloseBoth(1012, relay.ReasonDrain) },
		"it is cut": func(x *reused) {
			l.do(func() {
				s, _ := l.slots.session(x.handle.id)
				l.env.Config = s.config
				s.core.Lost(&l.env, relay.Client)
				s.core.Lost(&l.env, relay.Backend)
				y := l.session(s)
				l.settle(s, &y)
			})
		},
	} {
		x := startStalled(t, d, security{})
		x.isCut = true
		f := x.frame(x.backend, 1<<20)
		x.backend.write(f[:firstPart])
		x.client.want("the beginning", f[:firstPart])
		done := x.backend.writeAll(f[firstPart:])
		var held *pipe
		eventually(t, "a pipe holds bytes for the client", func() bool {
			l.do(func() {
				if s, isLive := l.slots.session(x.handle.id); isLive && s.pending != nil {
					held = s.pending.pipe[relay.Client]
				}
			})
			return held != nil
		})
		end(x)
		x.client.close()
		x.backend.close()
		<-done
		x.wantEnded()
		l.do(func() {
			for _, p := range l.pipes {
				if p == held {
					t.Errorf("%s: the pipe that held payload is lent again", name)
				}
			}
			wantPipesEmpty(t, l)
		})
		y := startReused(t, d, security{}, false, relay.Client)
		y.sendStaged()
		y.endByClose()
		y.wantEnded()
		l.do(func() {
			if len(l.pipes) == 0 {
				t.Errorf("%s: no pipe was given back by a session whose frames have all gone out", name)
			}
			wantPipesEmpty(t, l)
		})
	}
}

// A loop keeps the beginning of a record in memory from a pool, which may hold bytes of another session's record.
func TestAPartOfARecordIsItsSessionsOwn(t *testing.T) {
	for _, name := range []string{"loop", "loop with crypto/tls", "loop that lends nothing"} {
		t.Run(name, func(t *testing.T) {
			r := reusers[name]
			d := openTested(t, &kind{open: r.open})
			l := d.Driver.(*Loops).loops[0].Load()
			r.spoil(t, d.Driver)
			random := rand.New(rand.NewPCG(5, 6))
			for i := range 8 {
				x := startReused(t, d, securities[3+i%2].tls, false, relay.Client)
				for side := relay.Client; side <= relay.Backend; side++ {
					p, other := x.peers(side)
					for range 5 {
						f := x.frame(p, random.IntN(20_000))
						x.taps[side].isInPieces = true
						p.write(f)
						x.taps[side].isInPieces = false
						other.want("a frame whose record came in pieces", f)
					}
				}
				if i%3 == 0 {
					// A part that never becomes whole.
					if _, err := x.taps[relay.Client].Conn.Write([]byte{23, 3, 3, 0x40, 0, spoiled}); err != nil {
						t.Fatal(err)
					}
					if name != "loop that lends nothing" { // there crypto/tls keeps it
						eventually(t, "a part is kept", func() (is bool) {
							l.do(func() {
								s, _ := l.slots.session(x.handle.id)
								is = l.secure(s, relay.Client).partSize > 0 && s.pending.part[relay.Client] != nil
							})
							return is
						})
					}
					x.isCut = true
					x.client.reset()
					x.backend.reset()
				} else {
					x.endByClose()
				}
				x.wantEnded()
				x.checkTaps()
				r.spoil(t, d.Driver)
			}
		})
	}
}

// Alerts, and bytes that crypto/tls refused, stay in their session.
func TestWhatCryptoTLSWroteForASessionIsNotSentToTheNext(t *testing.T) {
	for _, name := range []string{"loop", "loop with crypto/tls", "loop that lends nothing"} {
		t.Run(name, func(t *testing.T) {
			r := reusers[name]
			d := openTested(t, &kind{open: r.open})
			r.spoil(t, d.Driver)
			for side := relay.Client; side <= relay.Backend; side++ {
				for garbage, raw := range map[string][]byte{
					"a record that doesn't open":    append([]byte{23, 3, 3, 0, 64}, make([]byte, 64)...),
					"a record that is too large":    append([]byte{23, 3, 3, 0xff, 0xff}, make([]byte, 100)...),
					"no record":                     bytes.Repeat([]byte("GET / "), 2000), // longer than the length in its header
					"a record and part of the next": append(append([]byte{23, 3, 3, 0, 64}, make([]byte, 64)...), 23, 3, 3, 1),
				} {
					x := startReused(t, d, securities[3].tls, false, side)
					x.sendSmall()
					if _, err := x.taps[side].Conn.Write(raw); err != nil {
						t.Fatal(err)
					}
					p, other := x.peers(side)
					_, _ = p.readOn() // the alert, mostly, and a reset
					p.reset()
					x.answerClose(other)
					x.seeToTheEnd()
					x.wantEnded()
					r.spoil(t, d.Driver)

					y := startReused(t, d, securities[3].tls, false, side)
					wantSameSlot(t, x.handle, y.handle)
					y.sendSmall()
					y.sendLarge()
					y.endByClose()
					y.wantEnded()
					y.checkTaps()
					r.spoil(t, d.Driver)
					if t.Failed() {
						t.Fatalf("after %s of the %s", garbage, side)
					}
				}
			}
		})
	}
}
