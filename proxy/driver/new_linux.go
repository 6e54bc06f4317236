package driver

import (
	"fmt"

	"sluice/internal/recovery"
)

// New returns the driver of that name: "loop" (Linux), "goroutine", or "auto", the better one of those that the system has.
// workers is the number of loops. The driver reports each panic that it recovers to panics.
func New(name string, workers int, panics recovery.Handler) (Driver, error) {
	switch name {
	case "auto", "loop":
		return NewLoops(workers, panics)
	case "goroutine":
		return NewGoroutine(panics), nil
	}
	return nil, fmt.Errorf("no driver %q", name)
}
