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
func (c *connection) readProxyHeader() error {
	peer := c.core.Client.Peer
	if !c.listener.trusted.Includes(peer.Addr()) {
		return fmt.Errorf("PROXY header from %s, which is not trusted", peer.Addr())
	}
	// "the receiver MUST NOT try to guess": without a header there is no connection.
	br := bufio.NewReaderSize(c.client, maxProxyHeader)
	header, err := proxyproto.Read(br)
	if err != nil {
		return fmt.Errorf("read PROXY header: %w", err)
	}
	// A LOCAL header is the balancer's own health check: the connection's real peer counts.
	if header.Command.IsProxy() {
		if addr, ok := header.SourceAddr.(*net.TCPAddr); ok {
			c.core.Client = reach.NewClient(netip.AddrPortFrom(addr.AddrPort().Addr().Unmap(), addr.AddrPort().Port()))
			c.core.Client.Local = header.DestinationAddr
		}
	}
	behind, err := br.Peek(br.Buffered())
	if err == nil && copy(c.core.Memory.FromClient.Free(), behind) < len(behind) {
		err = errors.New("more behind the PROXY header than a head may have")
	}
	if err != nil {
		return err
	}
	c.core.Memory.FromClient.Grow(len(behind))
	return nil
}

// probeOpening returns what a probe of a pool's backend begins with; nil: nothing.
func probeOpening(pool *balancer.Pool) []byte {
	if !pool.SendsProxy() {
		return nil
	}
	return reach.OwnProxyHeader()
}
