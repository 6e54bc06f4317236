package gateway

import (
	"os"
	"runtime"
	"runtime/debug"
)

// setProcs returns the number of event loops, and lets the program use one CPU more than that, so that saturated loops don't starve
// everything else; unless the environment has decided.
func setProcs(workers int) int {
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0) // the CPUs that the process may use
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(workers + 1)
	}
	return workers
}

// setGC keeps the heap small: sessions live for hours. An idle session was measured to take a quarter less memory, for a few more
// collections while many handshakes run. The environment may decide otherwise.
func setGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

// maxSessions returns the limit of live sessions: the configured one, or as many as the limit of descriptors holds. The runtime has
// raised the soft limit to the hard one.
func maxSessions(configured int) int {
	if configured > 0 {
		return configured
	}
	limit, isKnown := descriptorLimit()
	if !isKnown {
		return defaultMaxSessions
	}
	const most = 1 << 22 // sessions: above that memory is the limit
	descriptors := int(min(limit, 2*most))
	// A session has two descriptors. A quarter of a small limit, 1,024 of a large one, is for handshakes, probes, the admin listener and
	// files.
	return max((descriptors-min(descriptors/4, 1024))/2, 1)
}

// defaultMaxSessions is for a system without a known limit of descriptors.
const defaultMaxSessions = 10_000
