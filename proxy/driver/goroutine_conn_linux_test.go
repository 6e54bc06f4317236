package driver

import (
	"crypto/tls"
	"testing"

	"sluice/proxy/relay"
)

// What is on its way is below TLS, where a client or a backend speaks it.
func TestAGoroutinesConnectionKnowsWhatItsPeerHasNotAcknowledged(t *testing.T) {
	for name, security := range map[string]security{
		"TCP": {},
		"TLS": {tls.VersionTLS13, tls.VersionTLS13},
	} {
		t.Run(name, func(t *testing.T) {
			peer, gateway := tcpPair(t, true)
			theirs, ours := security.secured(t, relay.Client, peer, gateway)
			defer theirs.Close() // or the collector would
			p := newGoroutineConn(ours, newPools())
			eventually(t, "all is acknowledged", func() bool { return p.unacked() == 0 })
			written := make(chan struct{})
			go func() {
				defer close(written)
				_, _ = ours.Write(make([]byte, 1<<20)) // more than the sockets hold
			}()
			eventually(t, "bytes wait for the peer, which reads nothing", func() bool { return p.unacked() > 0 })
			p.cut()
			<-written
		})
	}
}
