package relay

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestMeterAdmitsABurstAndThenTheRate(t *testing.T) {
	for _, s := range []struct {
		rate  Rate
		burst int64
	}{
		{Rate{10, 3}, 3}, {Rate{10, 0}, 10}, {Rate{1, 1}, 1}, {Rate{1000, 1}, 21}, {Rate{1 << 20, 1 << 16}, 1 << 16}, {Rate{7, 5}, 5},
	} {
		var m meter
		now := Instant(time.Hour)
		for n := int64(1); n <= s.burst; n++ {
			if got := m.room(s.rate, now); got < s.burst-n+1 {
				t.Fatalf("%+v: room for %d after %d; want %d", s.rate, got, n-1, s.burst-n+1)
			}
			m.take(s.rate, now, 1)
		}
		if got := m.room(s.rate, now); got > 1+s.burst/1000 { // what was rounded down
			t.Errorf("%+v: room for %d after the burst", s.rate, got)
		}
	}
}

func TestMeterHasRoomWhenItSaysSo(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 0))
	for range 20_000 {
		rate := Rate{1 + r.Int64N(1<<r.IntN(40)), 1 + r.Int64N(1<<r.IntN(40))}
		m, n := meter(r.Int64N(int64(time.Hour))), 1+r.Int64N(1<<r.IntN(20))
		if rate.cost(n) > rate.window() {
			continue
		}
		if at := m.readyAt(rate, n); at > 0 && m.room(rate, at) < n {
			t.Fatalf("%+v: room for %d at the instant at which %d were to be ready", rate, m.room(rate, at), n)
		}
	}
}

// A client that always has more is passed its rate, though each wake-up is late.
func TestLateTimersCostNothingOfTheRate(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 0))
	for _, rate := range []Rate{{10, 1}, {100, 1}, {100, 0}, {1000, 1}, {5000, 50}} {
		var m meter
		begin := Instant(time.Hour)
		now, passed := begin, int64(0)
		for now < begin.Add(10*time.Second) {
			for m.room(rate, now) > 0 {
				m.take(rate, now, 1)
				passed++
			}
			now = max(now, m.readyAt(rate, 1)) + Instant(r.Int64N(int64(8*time.Millisecond)))
		}
		got, want := float64(passed), float64(10*rate.PerSecond)+float64(rate.in(rate.window()))
		if got < want*0.98-1 || got > want*1.02+1 {
			t.Errorf("%+v: %v passed in 10 s; want %v", rate, got, want)
		}
	}
}

func TestRatesOfAnySizeDoNotOverflow(t *testing.T) {
	for _, n := range []int64{1, 2, 1 << 31, math.MaxInt64} {
		for _, burst := range []int64{0, 1, math.MaxInt64} {
			rate := Rate{n, burst}
			m := meter(0)
			for range 3 {
				if room := m.room(rate, 1); room < 0 || rate.window() <= 0 || m.readyAt(rate, 1) < -maxTimeout {
					t.Errorf("%+v: room %d, window %d", rate, room, rate.window())
				}
				m.take(rate, 1, math.MaxInt64)
			}
			if m < 0 {
				t.Errorf("%+v: the meter is at %d", rate, m)
			}
		}
	}
}
