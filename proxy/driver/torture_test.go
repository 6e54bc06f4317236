package driver

import (
	"flag"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice/proxy/relay"
)

var (
	tortureTime = flag.Duration("torture", 10*time.Second, "how long TestTorture sends (3s with -short)")
	tortureSeed = flag.Uint64("torture.seed", 0, "seed of TestTorture's traffic; 0: a new one")
)

// torturedAtOnce is how many sessions each kind has.
const torturedAtOnce = 10

// Both drivers in one process, every kind of connection, random traffic both ways: nothing is lost, reordered or altered, what
// waits is bounded, and nothing is left at the end.
func TestTorture(t *testing.T) {
	d := *tortureTime
	if testing.Short() {
		d = 3 * time.Second
	}
	seed := *tortureSeed
	for seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-torture.seed=%d", seed)
	checkBaseline := baseline(t)
	noise := newNoise(seed)
	t.Run("traffic", func(t *testing.T) {
		var all []*tortured
		for i, k := range kinds {
			d := openTested(t, k)
			stop := watchQueues(d, torturedAtOnce)
			t.Cleanup(func() { t.Logf("%s: %d bytes waited at most, %d MB passed", k.name, stop(t), megabytesOf(d)) })
			for j := range torturedAtOnce {
				all = append(all, newTortured(t, d, k, rand.New(rand.NewPCG(seed, uint64(i*torturedAtOnce+j))), noise))
			}
		}
		// Not before all handshakes of TLS are done: the traffic would leave them little of the processor, and them all of the time.
		var wg sync.WaitGroup
		end := time.Now().Add(d)
		for _, x := range all {
			for side := range x.sent {
				wg.Go(func() { x.sent[side].run(end) })
				wg.Go(func() { x.got[side].run(end) })
			}
		}
		wg.Wait()
		for _, x := range all {
			x.check(t)
		}
	})
	checkBaseline()
}

func megabytesOf(d Driver) uint64 {
	totals := d.Totals()
	return (totals.Bytes[0] + totals.Bytes[1]) / 1e6
}

// tortured is a session with random traffic both ways until its close.
type tortured struct {
	*exchange
	sent [2]sender   // by the side that sends
	got  [2]receiver // by the side that sends
}

func newTortured(t *testing.T, d *tested, k *kind, r *rand.Rand, noise []byte) *tortured {
	pings := pingModes[r.IntN(len(pingModes))]
	isForwarding := pings == relay.ForwardPings
	x := &tortured{exchange: join(t, d, k, setup{
		config: relay.Config{
			Pings: pings, PingInterval: both(100 * time.Millisecond),
			// A slow reader on a busy machine isn't dead.
			PongTimeout: both(time.Minute), CloseTimeout: time.Minute, WriteTimeout: 2 * time.Minute,
		},
		isSmall: [2]bool{r.IntN(2) == 0, r.IntN(2) == 0},
	})}
	for side := relay.Client; side <= relay.Backend; side++ {
		p, other := x.peers(side)
		pongs := make(chan []byte, 16)
		x.sent[side] = sender{peer: p, r: split(r), noise: noise, pongs: pongs, isForwarding: isForwarding}
		x.got[side] = receiver{peer: other, r: split(r), isForwarding: isForwarding}
		x.got[side.Other()].pongs = pongs
	}
	return x
}

// check ends the session and compares what was sent with what arrived.
func (x *tortured) check(t *testing.T) {
	x.client.close()
	x.backend.close()
	result := x.wantResult(t)
	if v := result.Verdict; v.Reason != relay.ReasonClose {
		t.Errorf("%s: verdict %+v (%v); want a close", x.kind.name, v, v.Reason)
	}
	for side := relay.Client; side <= relay.Backend; side++ {
		s, g, c := &x.sent[side], &x.got[side], result.Counts[side]
		if s.err != nil || g.err != nil {
			t.Errorf("%s, from the %s: sent: %v; received: %v", x.kind.name, side, s.err, g.err)
		}
		if s.sum != g.sum || s.bytes != g.bytes {
			t.Errorf("%s, from the %s: %d bytes with checksum %08x were sent; %d with %08x arrived",
				x.kind.name, side, s.bytes, s.sum, g.bytes, g.sum)
		}
		if c.Bytes != s.payload || c.Frames != s.frames || c.Messages != s.messages {
			t.Errorf("%s, from the %s: counts %+v; want %d frames, %d messages, %d bytes",
				x.kind.name, side, c, s.frames, s.messages, s.payload)
		}
	}
}

func split(r *rand.Rand) *rand.Rand { return rand.New(rand.NewPCG(r.Uint64(), r.Uint64())) }

// newNoise returns bytes to take payload from.
func newNoise(seed uint64) []byte {
	b := make([]byte, 8<<20)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	_, _ = r.Read(b)
	return b
}

// watchQueues samples what waits in a driver with that many sessions; the function that it returns ends that, and returns the most.
func watchQueues(d Driver, sessions int64) (stop func(*testing.T) int64) {
	var most atomic.Int64
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				most.Store(max(most.Load(), d.QueuedBytes()))
			case <-done:
				return
			}
		}
	}()
	return func(t *testing.T) int64 {
		close(done)
		<-ended
		if n := most.Load(); n > sessions*2*MaxQueued {
			t.Errorf("%d bytes waited; want %d at most", n, sessions*2*MaxQueued)
		}
		return most.Load()
	}
}
