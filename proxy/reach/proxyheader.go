package reach

import (
	"net"

	"github.com/pires/go-proxyproto"
)

// ProxyHeader returns the PROXY header, version 2, for a backend: the client's peer, and the address that the peer connected to. A client at
// a Unix socket has no address, so its header is that of the gateway's own connections.
// https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
func (c *Client) ProxyHeader() []byte {
	if !c.Peer.IsValid() {
		return OwnProxyHeader()
	}
	return format(proxyproto.HeaderProxyFromAddrs(2, net.TCPAddrFromAddrPort(c.Peer), c.Local))
}

// OwnProxyHeader returns the PROXY header of the gateway's own connections, such as those of probes.
func OwnProxyHeader() []byte {
	return format(&proxyproto.Header{Version: 2, Command: proxyproto.LOCAL})
}

func format(h *proxyproto.Header) []byte {
	text, err := h.Format()
	if err != nil {
		panic("BUG: PROXY header: " + err.Error()) // the gateway made every part of it
	}
	return text
}
