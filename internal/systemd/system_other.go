//go:build !unix

package systemd

import (
	"errors"
	"time"
)

// monotonic fails: the system has no CLOCK_MONOTONIC.
func monotonic() (time.Duration, error) { return 0, errors.ErrUnsupported }

// closeOnExec does nothing: the system hands no descriptors on.
func closeOnExec(int) {}
