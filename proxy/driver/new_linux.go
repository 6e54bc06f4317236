package driver

import (
	"fmt"

	"sluice/internal/recovery"
)

// New returns the driver of that name: "loop" (Linux), "goroutine", or "auto", the better one of those that the system has.
// workers is the number of loops. The driver reports each panic that it recovers to panics.
func New(name string, workers int, panics recovery.Handler) (Driver, error) {
	return newWith(name, workers, panics, newClock())
}

// NewAt is New for a process that is to adopt sessions: clock is the Loops.Clock of the process that has them.
func NewAt(name string, workers int, panics recovery.Handler, clock int64) (Driver, error) {
	c, err := clockSince(clock)
	if err != nil {
		return nil, err
	}
	return newWith(name, workers, panics, c)
}

func newWith(name string, workers int, panics recovery.Handler, c clock) (Driver, error) {
	switch name {
	case "auto", "loop":
		return newLoops(workers, panics, c)
	case "goroutine":
		return NewGoroutine(panics), nil
	}
	return nil, fmt.Errorf("no driver %q", name)
}
