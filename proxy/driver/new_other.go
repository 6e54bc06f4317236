//go:build !linux

package driver

import "fmt"

// New returns the driver of that name: "goroutine", or "auto", which is the same here.
func New(name string, _ int) (Driver, error) {
	if name == "auto" || name == "goroutine" {
		return NewGoroutine(), nil
	}
	return nil, fmt.Errorf("no driver %q on this system", name)
}
