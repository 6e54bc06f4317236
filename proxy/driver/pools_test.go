package driver

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/proxy/relay"
)

// spoiled fills memory before a driver lends it. No test sends it.
const spoiled = 0xaa

var spoiledBytes = bytes.Repeat([]byte{spoiled}, 16<<10)

// spoil overwrites memory up to its capacity.
func spoil(p []byte) []byte {
	for all := p[:cap(p)]; len(all) > 0; {
		all = all[copy(all, spoiledBytes):]
	}
	return p
}

// spoilPools overwrites what is in the pools and what they make later, and checks the state that sessions gave back. The caller has no
// live session.
func spoilPools(t testing.TB, ps *pools) {
	t.Helper()
	spoilPool(&ps.chunks, func(c *chunk) { spoil(c[:]) })
	spoilPool(&ps.buffers, func(b *[readBytes]byte) { spoil(b[:]) })
	spoilPool(&ps.small, func(b *[smallRead]byte) { spoil(b[:]) })
	spoilPool(&ps.records, func(r *recordBuffer) { spoil(r[:]) })
	spoilPool(&ps.pendings, func(r *pending) {
		wantUnused(t, r)
		for side := range r.carry {
			spoil(r.carry[side].b[:])
		}
	})
}

// spoilPool spoils all that is in a pool, and all that its New makes.
func spoilPool[T any](p *sync.Pool, spoil func(*T)) {
	p.New = nil
	var all []*T
	for x := p.Get(); x != nil; x = p.Get() {
		all = append(all, x.(*T))
	}
	p.New = func() any {
		x := new(T)
		spoil(x)
		return x
	}
	for _, x := range all {
		spoil(x)
		p.Put(x)
	}
}

// wantUnused checks that a pending state is as a new one, except for carried bytes that its counts leave out.
func wantUnused(t testing.TB, r *pending) {
	t.Helper()
	for side := range r.queue {
		q := &r.queue[side]
		if r.pipe[side] != nil || r.inFlight[side] != 0 || q.chunks != nil || q.first != 0 || q.n != 0 || r.carry[side].n != 0 || r.held[side] != nil || r.part[side] != nil {
			t.Errorf("a pending state that is to be lent has, for side %d: pipe %v, queue %+v, %d bytes carried, pongs %x, part of a record %t",
				side, r.pipe[side], q, r.carry[side].n, r.held[side], r.part[side] != nil)
		}
	}
}

// wantEngineEmpty checks that an engine has nothing of a session in it.
func wantEngineEmpty(t testing.TB, e *engine) {
	t.Helper()
	for _, s := range e.slices[:cap(e.slices)] {
		if s != nil {
			t.Errorf("between two sessions an engine still points to a queue's memory: %.16x", s)
		}
	}
	for side := range e.out {
		b := &e.out[side]
		if b.n != 0 || len(b.spans) != 0 || len(b.own) != 0 || b.due != 0 {
			t.Errorf("between two sessions the batch for side %d has %d bytes in %d spans, %d of the gateway's own",
				side, b.n, len(b.spans), len(b.own))
		}
		for _, s := range b.spans[:cap(b.spans)] {
			if s != nil {
				t.Errorf("between two sessions the batch for side %d still points to memory that was lent: %.16x", side, s)
			}
		}
	}
}

// spoilEngine overwrites what an engine keeps between two sessions.
func spoilEngine(e *engine) {
	e.env = relay.Env{Config: &relay.Config{MaxFrame: 1, MaxMessage: 1, Pings: relay.ForwardPings}, Totals: &relay.Totals{}, Now: 1}
	for side := range e.out {
		e.out[side].own = spoil(make([]byte, 0, 1<<10))
	}
}

// spoilGoroutine is spoil of a goroutine driver.
func spoilGoroutine(t testing.TB, d *Goroutine) {
	t.Helper()
	d.mu.Lock()
	if n := len(d.sessions); n != 0 {
		t.Errorf("%d sessions in the driver; want none", n)
	}
	d.mu.Unlock()
	spoilPools(t, d.pools)
	spoilPool(&d.engines, func(e *borrowedEngine) {
		wantEngineEmpty(t, &e.engine)
		spoilEngine(&e.engine)
		e.pools, e.queued, e.marks = d.pools, &d.queued, marks{high: highMark, low: lowMark}
	})
}

func TestAPendingStateIsLentAgainOnlyWhenNothingIsInIt(t *testing.T) {
	for _, c := range []struct {
		name string
		fill func(*pending, *pools)
		free func(*pending, *pools)
	}{
		{"a queue", func(r *pending, ps *pools) { r.queue[0].append(ps, []byte("secret")) },
			func(r *pending, ps *pools) { r.queue[0].drop(ps, len("secret")) }},
		{"a queue of several chunks", func(r *pending, ps *pools) { r.queue[1].append(ps, make([]byte, 3*chunkBytes)) },
			func(r *pending, ps *pools) { r.queue[1].drop(ps, chunkBytes+1); r.queue[1].drop(ps, 2*chunkBytes-1) }},
		{"a carry", func(r *pending, _ *pools) { r.carry[1].n = uint8(copy(r.carry[1].b[:], "secret")) },
			func(r *pending, _ *pools) { r.carry[1].n = 0 }},
		{"a held pong", func(r *pending, _ *pools) { r.held[0] = []byte("secret") },
			func(r *pending, _ *pools) { r.held[0] = nil }},
		{"a part of a record", func(r *pending, ps *pools) { r.part[1] = new(recordBuffer) },
			func(r *pending, _ *pools) { r.part[1] = nil }},
		{"bytes in flight", func(r *pending, _ *pools) { r.inFlight[1] = 6 },
			func(r *pending, _ *pools) { r.inFlight[1] = 0 }},
		{"a pipe", func(r *pending, _ *pools) { r.pipe[1] = &pipe{n: 6} },
			func(r *pending, _ *pools) { r.pipe[1] = nil }},
		{"an empty pipe", func(r *pending, _ *pools) { r.pipe[0] = &pipe{} },
			func(r *pending, _ *pools) { r.pipe[0] = nil }},
	} {
		e := newEngine(newPools(), new(atomic.Int64))
		var held *pending
		s := &session{pending: &held}
		r := e.acquirePending(s)
		c.fill(r, e.pools)
		if e.releasePending(s); held != r {
			t.Errorf("a pending state with %s was given back", c.name)
			continue
		}
		c.free(r, e.pools)
		if e.releasePending(s); held != nil {
			t.Errorf("an empty pending state, which had %s, was kept", c.name)
		}
		wantUnused(t, r)
	}
}

// What is discarded at a session's end isn't in what the next session is lent.
func TestADiscardedPendingStateHasNothingOfItsSession(t *testing.T) {
	queued := new(atomic.Int64)
	e := newEngine(newPools(), queued)
	var held *pending
	s := &session{pending: &held}
	r := e.acquirePending(s)
	for side := relay.Client; side <= relay.Backend; side++ {
		r.queue[side].append(e.pools, make([]byte, 2*chunkBytes+1))
		r.queue[side].drop(e.pools, 1)
		r.held[side] = []byte("secret")
		before := queued.Load()
		e.discard(s, side)
		if n := before - queued.Load(); n != 2*chunkBytes {
			t.Errorf("%d bytes discarded; want %d", n, 2*chunkBytes)
		}
	}
	if e.releasePending(s); held != nil {
		t.Error("what was discarded is kept")
	}
	wantUnused(t, r)
}

func TestAQueueShowsOnlyWhatWasPutIntoIt(t *testing.T) {
	ps := newPools()
	spoilPools(t, ps)
	r := rand.New(rand.NewPCG(1, 2))
	noise := newNoise(1)[:4*chunkBytes]
	for range 200 {
		var q queue
		var want []byte
		for range 20 {
			if r.IntN(2) == 0 {
				p := noise[:r.IntN(len(noise))]
				q.append(ps, p)
				want = append(want, p...)
			} else {
				k := r.IntN(len(want) + 1)
				q.drop(ps, k)
				want = want[k:]
			}
			if got := slices.Concat(q.slices(nil, len(q.chunks))...); q.n != len(want) || !bytes.Equal(got, want) {
				t.Fatalf("a queue of %d bytes shows %d; want %d, and each as it was put", q.n, len(got), len(want))
			}
		}
		q.drop(ps, q.n)
		if q.chunks != nil || q.first != 0 {
			t.Fatalf("an empty queue has %d chunks, its bytes at %d", len(q.chunks), q.first)
		}
	}
}

// A chunk that were given back twice would be in the queues of two sessions.
func TestNoChunkIsInTwoQueues(t *testing.T) {
	ps := newPools()
	r := rand.New(rand.NewPCG(3, 4))
	var queues [8]queue
	p := make([]byte, 3*chunkBytes)
	for range 5_000 {
		q := &queues[r.IntN(len(queues))]
		if r.IntN(2) == 0 {
			q.append(ps, p[:r.IntN(len(p))])
		} else {
			q.drop(ps, r.IntN(q.n+1))
		}
		seen := map[*chunk]bool{}
		for i := range queues {
			for _, c := range queues[i].chunks {
				if seen[c] {
					t.Fatal("one chunk is in use twice")
				}
				seen[c] = true
			}
		}
	}
}

func TestALentBufferShowsOnlyWhatWasRead(t *testing.T) {
	memory := func(testing.TB, bool) (a, b net.Conn) { return memoryPair() }
	for name, pair := range map[string]func(testing.TB, bool) (a, b net.Conn){"TCP": tcpPair, "memory": memory} {
		t.Run(name, func(t *testing.T) {
			ps := newPools()
			peer, gateway := pair(t, false)
			defer peer.Close()
			defer gateway.Close()
			p := newGoroutineConn(gateway, ps)
			for _, n := range []int{2000, 1, 100, 7} {
				spoilPools(t, ps)
				want := bytes.Repeat([]byte{byte(n)}, n)
				if _, err := peer.Write(want); err != nil {
					t.Fatal(err)
				}
				for len(want) > 0 {
					l := p.read(ps)
					if l.err != nil || l.n == 0 || l.n > len(want) || !bytes.Equal(l.bytes(0), want[:l.n]) {
						t.Fatalf("read %d bytes, %v: %.16x; want %.16x", l.n, l.err, l.bytes(0), want)
					}
					want = want[l.n:]
					l.release(ps)
					if l.buf != nil {
						t.Error("a buffer that was given back is still held")
					}
					l.release(ps) // does nothing: another session may have the buffer
				}
			}
		})
	}
}

// The driver keeps the beginning of a header until the next read, which may use another buffer.
func TestACarryStandsInFrontOfTheNextReadWhateverTheBufferHeld(t *testing.T) {
	for name, r := range reusers {
		t.Run(name, func(t *testing.T) {
			d := openTested(t, &kind{open: r.open})
			r.spoil(t, d.Driver)
			for range 3 {
				x := startReused(t, d, security{}, false, relay.Client)
				for side := relay.Client; side <= relay.Backend; side++ {
					p, other := x.peers(side)
					f := x.frame(p, 200)
					for i := range 12 {
						p.write(f[i : i+1])
						time.Sleep(50 * time.Microsecond) // so that they arrive one by one, mostly
					}
					p.write(f[12:])
					other.want("a frame whose header came byte by byte", f)
				}
				x.endByClose()
				x.wantEnded()
				r.spoil(t, d.Driver)
			}
		})
	}
}

// The driver builds pongs, and keeps them until a boundary, in memory that it reuses.
func TestPongsOfASessionAreItsOwn(t *testing.T) {
	for name, r := range reusers {
		t.Run(name, func(t *testing.T) {
			d := openTested(t, &kind{open: r.open})
			r.spoil(t, d.Driver)
			for i := range 6 {
				c := securities[i%len(securities)].tls
				x := startReused(t, d, c, false, relay.Client)
				text := fmt.Sprintf("of session %d", i)
				half := x.frame(x.backend, 1000)
				x.backend.write(half[:500])
				x.client.want("half a frame", half[:500])
				x.client.write(x.client.ping(text), x.client.ping(text+" too"), x.client.text("mark"))
				x.backend.want("data after the pings", x.client.text("mark"))
				if i%2 == 0 {
					x.backend.write(half[500:])
					x.client.want("the rest", half[500:])
					x.client.wantFrame("the pong", isFin|opPong, text)
					x.client.wantFrame("the other pong", isFin|opPong, text+" too")
					x.endByClose()
				} else {
					x.isCut = true // the pongs never go out
					x.client.reset()
					x.seeToTheEnd()
				}
				x.wantEnded()
				x.checkTaps()
				r.spoil(t, d.Driver)
			}
		})
	}
}

// The driver discards what waits for a client when the session ends. The next session's queue has only its own bytes.
func TestWhatWasQueuedForASessionIsNotSentToTheNext(t *testing.T) {
	for name, r := range reusers {
		t.Run(name, func(t *testing.T) {
			d := openTested(t, &kind{open: r.open})
			r.spoil(t, d.Driver)
			for i, c := range securities {
				x := startStalled(t, d, c.tls)
				done := x.backend.writeAll(x.frame(x.backend, largeFrame))
				eventually(t, "bytes wait for the client", func() bool { return d.QueuedBytes() > 0 })
				if i%2 == 0 {
					x.client.reset()
				} else {
					x.backend.reset()
				}
				x.client.close()
				x.backend.close()
				<-done
				x.wantEnded()
				r.spoil(t, d.Driver)

				y := startStalled(t, d, c.tls)
				f := y.frame(y.backend, largeFrame)
				done = y.backend.writeAll(f)
				eventually(t, "bytes wait for the client", func() bool { return d.QueuedBytes() > 0 })
				y.client.want("what waited", f)
				<-done
				y.endByClose()
				y.wantEnded()
				y.checkTaps()
				r.spoil(t, d.Driver)
			}
		})
	}
}

// A goroutine borrows an engine that worked on another session before.
func TestAnEngineWorksOnlyOnTheSessionThatLocksIt(t *testing.T) {
	d := NewGoroutine(nil)
	spoilGoroutine(t, d)
	g := &goroutineSession{driver: d, config: &relay.Config{}, pending: &pending{inFlight: [2]int{1, 2}}}
	g.cond.L = &g.mu
	a, b := memoryPair()
	g.conn = [2]*goroutineConn{newGoroutineConn(a, d.pools), newGoroutineConn(b, d.pools)}
	var held *borrowedEngine
	e := g.lock(&held)
	defer g.unlock(&held, 0)
	s := g.session()
	ahead := [2]int{e.ahead(&s, relay.Client), e.ahead(&s, relay.Backend)}
	if e.env.Config != g.config || e.env.Totals != &g.totals || ahead != g.pending.inFlight {
		t.Errorf("an engine has %+v and %v bytes ahead; want those of its session, %v", e.env, ahead, g.pending.inFlight)
	}
	if now := d.clock.now(); e.env.Now <= 1 || e.env.Now > now {
		t.Errorf("an engine's time is %d; want that of its driver, %d", e.env.Now, now)
	}
	wantEngineEmpty(t, &e.engine)
}
