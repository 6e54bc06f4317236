package gateway

import (
	"os"
	"runtime"
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

// maxConnections returns the number of clients' connections for which the process has descriptors, two for each: the client's, and one to a
// backend. 0 means that the limit of descriptors is not known. The runtime has raised the soft limit to the hard one.
func maxConnections() int {
	limit, isKnown := descriptorLimit()
	if !isKnown {
		return 0
	}
	const most = 1 << 22 // connections: above that memory is the limit
	return connectionsOf(int(min(limit, 2*most)))
}

// connectionsOf returns how many connections a number of descriptors holds. A quarter of a small number, 1,024 of a large one, is kept for
// the admin listener, probes, the log and other files, event loops, and clients that are refused.
func connectionsOf(descriptors int) int {
	kept := max(min(descriptors/4, 1024), 32)
	return max((descriptors-kept)/2, 1)
}

// maxSessions returns the limit of live sessions: the configured one, or all of the connections but an eighth of a small number, 512 of a
// large one, which are for handshakes and for plain requests. No configured limit is over the number of connections; 0 means that this is
// not known.
func maxSessions(configured, connections int) int {
	switch {
	case connections == 0 && configured == 0:
		return defaultMaxSessions
	case connections == 0:
		return configured
	case configured == 0:
		return max(connections-min(connections/8, 512), 1)
	default:
		return min(configured, connections)
	}
}

// defaultMaxSessions is for a system without a known limit of descriptors.
const defaultMaxSessions = 10_000
