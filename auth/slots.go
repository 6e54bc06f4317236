package auth

import (
	"context"
	"runtime"
	"time"
)

// slots bound computations that take milliseconds of CPU, such as bcrypt: half of the CPUs make them, so that the live sessions have the rest.
// There is an element for each that runs.
type slots chan struct{}

// slotTimeout is how long a request waits for a slot.
const slotTimeout = 5 * time.Second

func newSlots() slots { return make(slots, max(1, runtime.GOMAXPROCS(0)/2)) }

// acquire waits for a slot. It returns false if there is none in time, or ctx ends before.
func (s slots) acquire(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, slotTimeout)
	defer cancel()
	select {
	case s <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s slots) release() { <-s }

// noSlot is the decision about a request that got no slot.
func noSlot() Decision { return unavailable("no CPU for the check in time") }
