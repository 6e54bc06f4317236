package relay

import "time"

// Totals are counts over many sessions. Owned by the caller, which passes them with each call in Env. A loop has its own,
// so that counting a frame touches no cache line that another CPU writes.
type Totals struct {
	Frames [2][16]uint64       // by sending side and opcode; control frames too
	Bytes  [2]uint64           // payload of data frames, by sending side
	Rules  [2][NumRules]uint64 // faults, by offending side
	RTT    [2]Histogram        // by pinged side
}

// Add adds o to t.
func (t *Totals) Add(o *Totals) {
	for side := range 2 {
		for i, n := range o.Frames[side] {
			t.Frames[side][i] += n
		}
		t.Bytes[side] += o.Bytes[side]
		for i, n := range o.Rules[side] {
			t.Rules[side][i] += n
		}
		for i, n := range o.RTT[side].Buckets {
			t.RTT[side].Buckets[i] += n
		}
		t.RTT[side].Sum += o.RTT[side].Sum
	}
}

// Bounds are the upper bounds of a Histogram's buckets; the last bucket has none.
var Bounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second,
}

// Histogram counts durations by Bounds.
type Histogram struct {
	Buckets [len(Bounds) + 1]uint64
	Sum     time.Duration
}

func (h *Histogram) observe(d time.Duration) {
	i := 0
	for i < len(Bounds) && d > Bounds[i] {
		i++
	}
	h.Buckets[i]++
	h.Sum += d
}
