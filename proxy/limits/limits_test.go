package limits

import (
	"fmt"
	"math"
	"net/netip"
	"sync"
	"testing"
	"time"

	"sluice/internal/share"
)

func keyOf(i int) share.Key {
	return share.KeyOf(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
}

// fill acquires places for an address until it gets no more, and returns how many it got.
func fill(p *Places, k Kind, of share.Key) (n int64, why Refusal) {
	for {
		if why := p.Acquire(k, of); why != Granted {
			return n, why
		}
		n++
	}
}

// Faults B1.
func TestOneAddressLeavesPlacesForOthers(t *testing.T) {
	const places = 4096
	for k := range NumKinds {
		for name, p := range map[string]*Places{
			"the listener": NewPlaces(new(Totals), limitsOf(k, places)),
			"the gateway":  NewPlaces(totalOf(k, places), Limits{}),
			"both":         NewPlaces(totalOf(k, places), limitsOf(k, 2*places)),
		} {
			want := int64(places*weights[k]/(1+weights[k])) + 1
			if n, why := fill(p, k, keyOf(1)); n != want || why != Share {
				t.Errorf("limit of %s: one address gets %d places of kind %d, then %d; want %d, %d", name, n, k, why, want, Share)
			}
			for i := range 200 {
				if why := p.Acquire(k, keyOf(i+2)); why != Granted {
					t.Fatalf("limit of %s: address %d gets no place of kind %d: %d", name, i+2, k, why)
				}
			}
			for range want {
				p.Release(k, keyOf(1))
			}
			if n, _ := p.Held(k); n != 200 || p.Acquire(k, keyOf(1)) != Granted {
				t.Errorf("limit of %s: %d places of kind %d are occupied after a release, want 200", name, n, k)
			}
		}
	}
}

func limitsOf(k Kind, limit int64) (l Limits) {
	l.Places[k] = limit
	return l
}

func totalOf(k Kind, limit int64) *Totals {
	totals := new(Totals)
	totals[k].SetLimit(limit)
	return totals
}

func TestAClientWithoutAnAddressMayHaveAllPlaces(t *testing.T) {
	p := NewPlaces(totalOf(Connections, 10), Limits{})
	if n, why := fill(p, Connections, share.Key{}); n != 10 || why != Full {
		t.Errorf("%d places, then %d; want 10, %d", n, why, Full)
	}
}

func TestEachKindIsCountedByItself(t *testing.T) {
	p := NewPlaces(new(Totals), Limits{Places: [NumKinds]int64{1, 1, 1, 1}})
	for k := range NumKinds {
		if p.Acquire(k, keyOf(1)) != Granted || p.Acquire(k, keyOf(2)) != Full {
			t.Errorf("kind %d has not one place of its own", k)
		}
	}
}

func TestSessionsOfOneAddressHaveALimit(t *testing.T) {
	p := NewPlaces(new(Totals), Limits{PerClient: 2})
	if n, why := fill(p, Sessions, keyOf(1)); n != 2 || why != PerClient {
		t.Errorf("%d sessions, then %d; want 2, %d", n, why, PerClient)
	}
	p.Release(Sessions, keyOf(1))
	if p.Acquire(Sessions, keyOf(1)) != Granted || p.Acquire(Sessions, keyOf(2)) != Granted {
		t.Error("no place after a release, or for another address")
	}
}

func TestAPlaceMovesToAnotherAddress(t *testing.T) {
	p := NewPlaces(new(Totals), Limits{Places: [NumKinds]int64{Connections: 3}})
	for i := range 2 {
		if p.Acquire(Connections, share.Key{}) != Granted {
			t.Fatal("no place")
		}
		p.Move(Connections, share.Key{}, keyOf(1))
		if n, _ := p.Held(Connections); n != int64(i+1) {
			t.Errorf("%d places, want %d", n, i+1)
		}
	}
	for range 2 {
		p.Release(Connections, keyOf(1))
	}
	if n, _ := p.Held(Connections); n != 0 || p.Known() != 0 {
		t.Errorf("%d places of %d addresses after the release", n, p.Known())
	}
}

func TestNewLimitsApplyToWhatIsHeld(t *testing.T) {
	p := NewPlaces(new(Totals), Limits{PerClient: 2})
	fill(p, Sessions, keyOf(1))
	p = p.With(Limits{PerClient: 3})
	if n, why := fill(p, Sessions, keyOf(1)); n != 1 || why != PerClient {
		t.Errorf("%d more sessions, then %d; want 1, %d", n, why, PerClient)
	}
}

func TestShortIsWhatLacksToAnEighth(t *testing.T) {
	p := NewPlaces(totalOf(Connections, 80), Limits{Places: [NumKinds]int64{Connections: 40}})
	for held, want := range map[int]int64{0: 5 - 40, 35: 0, 36: 1, 40: 5} {
		for n, _ := p.Held(Connections); n < int64(held); n++ {
			p.Acquire(Connections, share.Key{})
		}
		if got := p.Short(Connections); got != want {
			t.Errorf("with %d of 40 places occupied %d lack, want %d", held, got, want)
		}
		for range held {
			p.Release(Connections, share.Key{})
		}
	}
}

func TestTheRateOfAnAddressFillsAgain(t *testing.T) {
	p := NewPlaces(new(Totals), Limits{Rate: 10, Burst: 3})
	now := time.Now()
	take := func(of share.Key) (n int) {
		for p.Request(of, now) {
			n++
		}
		return n
	}
	if n := take(keyOf(1)); n != 3 {
		t.Errorf("%d at once, want a burst of 3", n)
	}
	if n := take(keyOf(2)); n != 3 {
		t.Errorf("%d of another address at once, want a burst of 3", n)
	}
	now = now.Add(100 * time.Millisecond)
	if n := take(keyOf(1)); n != 1 {
		t.Errorf("%d after 100 ms at 10 a second, want 1", n)
	}
	now = now.Add(time.Hour)
	if n := take(keyOf(1)); n != 3 {
		t.Errorf("%d an hour later, want a burst of 3", n)
	}
}

func TestHugeLimitsAreNoLimits(t *testing.T) {
	p := NewPlaces(new(Totals), Limits{Places: [NumKinds]int64{Sessions: math.MaxInt64}, PerClient: math.MaxInt64, Rate: 1, Burst: math.MaxInt})
	for range 1000 {
		if !p.Request(keyOf(1), time.Now()) || p.Acquire(Sessions, keyOf(1)) != Granted {
			t.Fatal("a client is refused")
		}
	}
}

// Addresses cost an attacker nothing, so the table keeps only addresses that still count for a limit.
func TestTheTableOfClientsDoesNotGrowWithAddressesThatAreGone(t *testing.T) {
	p := NewPlaces(new(Totals), Limits{Rate: 1_000_000, PerClient: 1})
	for i := range 100_000 {
		p.Request(keyOf(i), time.Now())
		p.Acquire(Sessions, keyOf(i))
		p.Release(Sessions, keyOf(i))
		if p.Known() > 2*minSweep {
			t.Fatalf("%d clients are known, of which none has a session", p.Known())
		}
	}
}

func TestListenersDoNotExceedTheGatewaysLimitTogether(t *testing.T) {
	const limit = 1000
	totals := totalOf(Sessions, limit)
	var all sync.WaitGroup
	for l := range 4 {
		p := NewPlaces(totals, Limits{})
		for g := range 4 {
			all.Go(func() {
				for i := range 500 {
					if p.Acquire(Sessions, keyOf(i)) == Granted && (i+g+l)%2 == 0 {
						p.Release(Sessions, keyOf(i))
					}
					if n := totals[Sessions].Held(); n > limit+16 { // each goroutine may be about to find that it's one too many
						panic(fmt.Sprint(n, " sessions"))
					}
				}
			})
		}
	}
	all.Wait()
	if n := totals[Sessions].Held(); n > limit || totals[Sessions].Free() != limit-n {
		t.Errorf("%d sessions, limit %d", n, limit)
	}
}

// What the counts of one connection cost that becomes a session: accept, its request, the session, and its end.
func BenchmarkPlacesOfASession(b *testing.B) {
	p := NewPlaces(totalOf(Sessions, 1<<20), Limits{Places: [NumKinds]int64{1 << 20, 4096, 16384, 0}})
	for i := 0; b.Loop(); i++ {
		of := keyOf(i & 0xffff)
		p.Acquire(Connections, of)
		p.Acquire(Handshakes, of)
		p.Request(of, time.Time{})
		p.Acquire(Sessions, of)
		p.Release(Handshakes, of)
		p.Release(Sessions, of)
		p.Release(Connections, of)
	}
}

func TestPlacesOfAnotherProcessCountWhateverTheLimits(t *testing.T) {
	p := NewPlaces(totalOf(Sessions, 4), Limits{Places: [NumKinds]int64{Sessions: 3}, PerClient: 1})
	for range 5 {
		p.Occupy(Sessions, keyOf(1))
	}
	if n, _ := p.Held(Sessions); n != 5 || p.totals[Sessions].Held() != 5 || p.Known() != 1 {
		t.Errorf("%d places of the listener, %d of all, %d addresses; want 5, 5, 1", n, p.totals[Sessions].Held(), p.Known())
	}
	for _, released := range []struct {
		n    int
		want Refusal
	}{{0, Full}, {3, PerClient}, {2, Granted}} {
		for range released.n {
			p.Release(Sessions, keyOf(1))
		}
		if why := p.Acquire(Sessions, keyOf(1)); why != released.want {
			t.Errorf("after %d releases: %d; want %d", released.n, why, released.want)
		}
	}
}
