package driver

import (
	"flag"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/proxy/relay"
)

var (
	churnTime     = flag.Duration("churn", 3*time.Second, "how long TestChurn opens sessions")
	churnSessions = flag.Int64("churn.sessions", 200, "how many sessions TestChurn opens at least")
)

// churnedAtOnce is how many sessions each kind has.
const churnedAtOnce = 16

// Sessions that come and go at random leave nothing behind, however they end.
func TestChurn(t *testing.T) {
	checkBaseline := baseline(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var count atomic.Int64
	t.Run("sessions", func(t *testing.T) {
		end := time.Now().Add(*churnTime)
		var wg sync.WaitGroup
		for i, k := range kinds {
			if k.isShared {
				continue // its peer would be taken for a flood
			}
			d := openTested(t, k)
			for j := range churnedAtOnce {
				r := rand.New(rand.NewPCG(seed, uint64(i*churnedAtOnce+j)))
				wg.Go(func() {
					for time.Now().Before(end) && !t.Failed() {
						churn(t, d, k, r)
						count.Add(1)
					}
				})
			}
			t.Cleanup(func() {
				if n := d.QueuedBytes(); n != 0 {
					t.Errorf("%s: QueuedBytes = %d after the last session; want 0", k.name, n)
				}
			})
		}
		wg.Wait()
	})
	checkBaseline()
	t.Logf("%d sessions", count.Load())
	if n := count.Load(); n < *churnSessions {
		t.Errorf("%d sessions; want %d at least", n, *churnSessions)
	}
}

// ends are the ways in which a churned session ends; p is one side of it.
var ends = map[string]func(x *exchange, p, other *peer){
	"close frames": func(_ *exchange, p, other *peer) {
		_, _ = p.conn.Write(p.closing(1000, ""))
		_, _ = other.conn.Write(other.closing(1001, ""))
	},
	"a close without an answer": func(_ *exchange, p, _ *peer) { _, _ = p.conn.Write(p.closing(1000, "")) },
	"a reset":                   func(_ *exchange, p, _ *peer) { p.reset() },
	"two resets":                func(_ *exchange, p, other *peer) { p.reset(); other.reset() },
	"half-closed":               func(_ *exchange, p, _ *peer) { p.shut() },
	"cut inside a frame": func(_ *exchange, p, _ *peer) {
		_, _ = p.conn.Write(p.text("never ends")[:9])
		p.close()
	},
	"cut inside a header": func(_ *exchange, p, _ *peer) {
		_, _ = p.conn.Write(p.text("never ends")[:1])
		p.close()
	},
	"a fault":   func(_ *exchange, p, other *peer) { _, _ = p.conn.Write(other.text("masked wrongly")) },
	"CloseBoth": func(x *exchange, _, _ *peer) { x.handle.CloseBoth(1012, relay.ReasonDrain) },
	"CloseBoth and a reset": func(x *exchange, p, _ *peer) {
		x.handle.CloseBoth(1012, relay.ReasonDrain)
		p.reset()
	},
}

var endNames = slices.Sorted(maps.Keys(ends))

// churn plays one session: some traffic that may be under way still, an end, and sometimes what a peer does about it.
func churn(t *testing.T, d Driver, k *kind, r *rand.Rand) {
	x := &exchange{owner: newOwner(), handle: &Handle{}, kind: k}
	var gateway [2]net.Conn
	peers := [2]*peer{}
	for side := range peers {
		conn, g := k.connect(t, relay.Side(side), r.IntN(4) == 0)
		gateway[side] = g
		peers[side] = &peer{t, relay.Side(side), conn}
		_ = conn.SetDeadline(time.Now().Add(patience))
	}
	s := setup{config: relay.Config{
		CloseTimeout: 20 * time.Millisecond, WriteTimeout: 50 * time.Millisecond,
		PingInterval: both(10 * time.Millisecond), PongTimeout: both(30 * time.Millisecond),
	}}
	d.Relay(Params{Config: s.filled(), Owner: x.owner, Handle: x.handle}, gateway[0], gateway[1])
	side := r.IntN(2)
	p, other := peers[side], peers[1-side]
	frame := p.frame(isFin|opBinary, make([]byte, r.IntN(300<<10)))
	done := p.writeAll(append(frame, p.ping("p")...))
	var readers sync.WaitGroup
	if r.IntN(3) > 0 {
		readers.Go(func() { _, _ = io.CopyN(io.Discard, other.conn, r.Int64N(int64(len(frame)+1))) })
		readers.Wait()
	}
	how := endNames[r.IntN(len(endNames))]
	ends[how](x, p, other)
	if r.IntN(2) == 0 {
		// The peers see it to its end; else they are gone at once.
		for _, p := range peers {
			readers.Go(func() { _, _ = io.Copy(io.Discard, p.conn); p.close() })
		}
		readers.Wait()
	}
	p.close()
	other.close()
	<-done
	select {
	case <-x.results:
	case <-time.After(patience):
		t.Errorf("%s: a session doesn't end after: %s", k.name, how)
		return
	}
	if n := x.count.Load(); n != 1 {
		t.Errorf("%s: SessionEnded was called %d times after: %s", k.name, n, how)
	}
}
