package driver

import "time"

// TurnBounds are the upper bounds of the buckets of Turns; the last bucket has none.
var TurnBounds = [...]time.Duration{
	10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond,
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
}

// Turns counts the turns of loops by how long they lasted, from an event to the wait for the next one. This includes the time in which
// the system runs something else: a session has to wait for that too.
type Turns struct {
	Buckets [len(TurnBounds) + 1]uint64
	Sum     time.Duration
}

// Add adds o to t.
func (t *Turns) Add(o *Turns) {
	for i, n := range o.Buckets {
		t.Buckets[i] += n
	}
	t.Sum += o.Sum
}

func (t *Turns) observe(d time.Duration) {
	i := 0
	for i < len(TurnBounds) && d > TurnBounds[i] {
		i++
	}
	t.Buckets[i]++
	t.Sum += d
}

// Turns implements Driver: goroutines have no turns.
func (d *Goroutine) Turns() Turns { return Turns{} }
