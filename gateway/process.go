package gateway

import (
	"os"
	"runtime"

	"sluice/balancer"
	"sluice/internal/config"
	"sluice/proxy"
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

// maxConnections returns the number of clients' connections for which the process has descriptors. 0 means that the limit of descriptors is
// not known. The runtime has raised the soft limit to the hard one.
func maxConnections(n needs) int {
	limit, isKnown := descriptorLimit()
	if !isKnown {
		return 0
	}
	const most = 1 << 22 // connections: above that memory is the limit
	return n.connectionsOf(int(min(limit, 2*most)))
}

// needs are what every session of a configuration has a descriptor for. HTTP/2 lets many share one.
type needs struct {
	client  bool // a connection of its client's: no listener has WebSocket over HTTP/2
	backend bool // a connection to its backend: some pool speaks HTTP/1.1
}

func needsOf(file *config.File) (n needs) {
	n.client = true
	for _, l := range file.Listeners() {
		n.client = n.client && l.HTTP2 != proxy.HTTP2WebSocket
	}
	for _, pool := range file.Pools() {
		n.backend = n.backend || pool.Protocol != balancer.ProtocolHTTP2
	}
	return n
}

// connectionsOf returns how many connections of clients a number of descriptors holds, each with one to a backend if it needs that. A quarter of a
// small number, 1,024 of a large one, is kept for the admin listener, probes, the log and other files, event loops, and clients that are
// refused.
func (n needs) connectionsOf(descriptors int) int {
	left := descriptors - max(min(descriptors/4, 1024), 32)
	if n.backend {
		left /= 2
	}
	return max(left, 1)
}

// maxSessions returns the limit of live sessions: the configured one, or all of the connections but an eighth of a small number, 512 of a
// large one, which are for handshakes and for plain requests. No configured limit is over the number of connections, unless sessions need none;
// 0 means that this is not known.
func (n needs) maxSessions(configured, connections int) int {
	switch {
	case connections == 0 && configured == 0:
		return defaultMaxSessions
	case connections == 0:
		return configured
	case configured == 0:
		return max(connections-min(connections/8, 512), 1)
	case !n.client && !n.backend:
		return configured
	default:
		return min(configured, connections)
	}
}

// defaultMaxSessions is for a system without a known limit of descriptors.
const defaultMaxSessions = 10_000
