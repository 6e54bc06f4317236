//go:build !linux

package driver

import (
	"fmt"

	"sluice/internal/recovery"
)

// New returns the driver of that name: "goroutine", or "auto", which is the same here. The driver reports each panic that it recovers to
// panics.
func New(name string, _ int, panics recovery.Handler) (Driver, error) {
	if name == "auto" || name == "goroutine" {
		return NewGoroutine(panics), nil
	}
	return nil, fmt.Errorf("no driver %q on this system", name)
}

// NewAt is New: sessions don't move to another process here.
func NewAt(name string, workers int, panics recovery.Handler, _ int64) (Driver, error) {
	return New(name, workers, panics)
}
