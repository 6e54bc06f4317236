package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"

	"sluice/balancer"
)

// maxProxyHeader bounds a PROXY header: version 2 with what a balancer adds to the addresses.
const maxProxyHeader = 2 << 10

// readProxyHeader reads the PROXY header with which the connection begins, version 1 or 2. The address in it counts as the peer's
// from now on. What comes behind it is put into the client's buffer.
// https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
func (h *handshake) readProxyHeader() error {
	if !h.listener.trusts(h.peer.Addr()) {
		return fmt.Errorf("%w: PROXY header from %s, which is not trusted", errClientLost, h.peer.Addr())
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
			h.peer = netip.AddrPortFrom(addr.AddrPort().Addr().Unmap(), addr.AddrPort().Port())
			h.local = header.DestinationAddr
		}
	}
	behind, err := br.Peek(br.Buffered())
	if err != nil || copy(h.memory.FromClient.Free(), behind) < len(behind) {
		return errors.Join(errClientLost, err)
	}
	h.memory.FromClient.Grow(len(behind))
	return nil
}

// proxyHeader returns the PROXY header, version 2, that tells a backend of the client: the peer, and where that connected to. A client
// at a Unix socket has no address: LOCAL.
func (h *handshake) proxyHeader() []byte {
	header := &proxyproto.Header{Version: 2, Command: proxyproto.LOCAL}
	if h.peer.IsValid() {
		local := h.local
		if local == nil {
			local = h.client.LocalAddr()
		}
		header = proxyproto.HeaderProxyFromAddrs(2, net.TCPAddrFromAddrPort(h.peer), local)
	}
	text, err := header.Format()
	if err != nil {
		panic("BUG: PROXY header: " + err.Error()) // all of it is ours
	}
	return text
}

// probeOpening returns what a probe of a pool's backend begins with: the PROXY header of a connection that is nobody's but the
// gateway's own, where the pool's backends want one.
func probeOpening(pool *balancer.Pool) []byte {
	if !pool.SendsProxy() {
		return nil
	}
	header, err := (&proxyproto.Header{Version: 2, Command: proxyproto.LOCAL}).Format()
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return header
}
