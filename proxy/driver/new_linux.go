package driver

import "fmt"

// New returns the driver of that name: "loop" (Linux), "goroutine", or "auto", the better one of those that the system has.
// workers is how many loops there are.
func New(name string, workers int) (Driver, error) {
	switch name {
	case "auto", "loop":
		return NewLoops(workers)
	case "goroutine":
		return NewGoroutine(), nil
	}
	return nil, fmt.Errorf("no driver %q", name)
}
