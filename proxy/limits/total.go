package limits

import (
	"math"
	"sync/atomic"
)

// Totals are the places of all listeners together, by kind. The zero value has no limits.
type Totals [NumKinds]Total

// A Total counts the places of one kind. Its methods may be called from any goroutine.
type Total struct{ limit, held atomic.Int64 }

// SetLimit sets the limit; 0 means none.
func (t *Total) SetLimit(n int64) { t.limit.Store(n) }

// Limit returns the limit; 0 means that there is none.
func (t *Total) Limit() int64 { return t.limit.Load() }

// Held returns how many places are occupied.
func (t *Total) Held() int64 { return t.held.Load() }

// Free returns how many places are left.
func (t *Total) Free() int64 {
	if limit := t.limit.Load(); limit > 0 {
		return limit - t.held.Load()
	}
	return math.MaxInt64
}

// Short returns how many places would have to be released for an eighth of them to be free, and one at least. It is not positive as long as
// they are free.
func (t *Total) Short() int64 { return wanted(t.Limit()) - t.Free() }

// wanted returns how many places of a limited number should be free.
func wanted(limit int64) int64 { return max(limit/8, 1) }

func (t *Total) acquire() bool {
	if held, limit := t.held.Add(1), t.limit.Load(); limit > 0 && held > limit {
		t.held.Add(-1)
		return false
	}
	return true
}

func (t *Total) release() { t.held.Add(-1) }
