package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"

	"sluice/balancer"
	"sluice/proxy/reach"
)

// maxProxyHeader bounds a PROXY header: version 2 with what a balancer adds to the addresses.
const maxProxyHeader = 2 << 10

// readProxyHeader reads the PROXY header with which the connection begins, version 1 or 2. The address in it counts as the peer's
// from now on. What comes behind it is put into the client's buffer.
// https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
func (h *handshake) readProxyHeader() error {
	if !h.listener.trusted.Includes(h.from.Peer.Addr()) {
		return fmt.Errorf("%w: PROXY header from %s, which is not trusted", errClientLost, h.from.Peer.Addr())
	}
	// "the receiver MUST NOT try to guess": without a header there is no connection.
	br := bufio.NewReaderSize(h.client, maxProxyHeader)
	header, err := proxyproto.Read(br)
	if err != nil {
		return fmt.Errorf("%w: read PROXY header: %w", errClientLost, err)
	}
	// A LOCAL header is the balancer's own health check: the connection's real peer counts.
	if header.Command.IsProxy() {
		if addr, ok := header.SourceAddr.(*net.TCPAddr); ok {
			h.from = reach.NewClient(netip.AddrPortFrom(addr.AddrPort().Addr().Unmap(), addr.AddrPort().Port()))
			h.from.Local = header.DestinationAddr
		}
	}
	behind, err := br.Peek(br.Buffered())
	if err != nil || copy(h.memory.FromClient.Free(), behind) < len(behind) {
		return errors.Join(errClientLost, err)
	}
	h.memory.FromClient.Grow(len(behind))
	return nil
}

// probeOpening returns what a probe of a pool's backend begins with; nil: nothing.
func probeOpening(pool *balancer.Pool) []byte {
	if !pool.SendsProxy() {
		return nil
	}
	return reach.OwnProxyHeader()
}
