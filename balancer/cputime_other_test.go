//go:build !unix

package balancer

import (
	"testing"
	"time"
)

// cpuTime skips the benchmark: there is no getrusage.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	b.Skip("the CPU time of a process is read on Unix only")
	return 0
}
