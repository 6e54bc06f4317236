//go:build unix

package systemd

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// monotonic returns CLOCK_MONOTONIC.
func monotonic() (time.Duration, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0, fmt.Errorf("read the monotonic clock: %w", err)
	}
	return time.Duration(now.Nano()), nil
}

// closeOnExec keeps a descriptor from processes that this one starts.
func closeOnExec(fd int) { unix.CloseOnExec(fd) }
