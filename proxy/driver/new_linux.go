package driver

import (
	"fmt"

	"sluice/internal/recovery"
)

// New returns the driver of that name: "loop" (Linux), "goroutine", or "auto", the better one of those that the system has.
// workers is how many loops there are. panics is told of what a panic of the driver has ended.
func New(name string, workers int, panics recovery.Handler) (Driver, error) {
	switch name {
	case "auto", "loop":
		return NewLoops(workers, panics)
	case "goroutine":
		return NewGoroutine(panics), nil
	}
	return nil, fmt.Errorf("no driver %q", name)
}
