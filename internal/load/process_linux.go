package load

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// processCPU returns the CPU time, user and system, that a process has used in all its threads. It is the sum of utime and stime in
// /proc/PID/stat, taken from the process's clock because that counts nanoseconds where /proc has ticks of 10 ms.
func processCPU(pid int) (time.Duration, error) {
	const schedClock = 2 // clock_getcpuclockid(3): the clock's id is the complement of the pid, above three bits that select the clock
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &t); err != nil {
		return 0, fmt.Errorf("CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// processRSS returns the resident memory of a process, in bytes. smaps_rollup counts pages; VmRSS of status may be off by some hundred KiB.
func processRSS(pid int) (int64, error) {
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, errors.New("there is no such process")
	}
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(rollup)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "Rss:" {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/smaps_rollup has no Rss", pid)
}
