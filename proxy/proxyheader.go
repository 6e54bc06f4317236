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

// maxProxyHeader bounds a PROXY header in bytes: version 2, with the fields that a balancer adds to the addresses.
const maxProxyHeader = 2 << 10

// readProxyHeader reads the PROXY header, version 1 or 2, at the beginning of the connection. From then on the address in it counts as the
// peer's. Bytes that were read after the header are put into the client's buffer.
// https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
func (c *connection) readProxyHeader() error {
	peer := c.core.Client.Peer
	if !c.listener.headerSenders.Includes(peer.Addr()) {
		return fmt.Errorf("PROXY header from %s, which may send none", peer.Addr())
	}
	// "the receiver MUST NOT try to guess": without a header there is no connection.
	br := bufio.NewReaderSize(c.client, maxProxyHeader)
	header, err := proxyproto.Read(br)
	if err != nil {
		return fmt.Errorf("read PROXY header: %w", err)
	}
	if addr, isTCP := header.SourceAddr.(*net.TCPAddr); isTCP && header.Command.IsProxy() {
		c.core.Client = reach.NewClient(netip.AddrPortFrom(addr.AddrPort().Addr().Unmap(), addr.AddrPort().Port()))
		c.core.Client.Local = header.DestinationAddr
	} else {
		// LOCAL is the balancer's own health check, UNKNOWN a client that it can't name, as those over UDP and Unix sockets: the connection's
		// real peer counts, but its fields may be the client's.
		c.core.Client.IsUnnamed = true
	}
	rest, err := br.Peek(br.Buffered())
	if err == nil && copy(c.core.Memory.FromClient.Free(), rest) < len(rest) {
		err = errors.New("more bytes after the PROXY header than a head may have")
	}
	if err != nil {
		return err
	}
	c.core.Memory.FromClient.Grow(len(rest))
	return nil
}

// probeOpening returns the bytes with which a probe of a pool's backend begins, or nil.
func probeOpening(pool *balancer.Pool) []byte {
	if !pool.SendsProxy() {
		return nil
	}
	return reach.OwnProxyHeader()
}
