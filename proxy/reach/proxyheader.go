package reach

import (
	"net"

	"github.com/pires/go-proxyproto"
)

// ProxyHeader returns the PROXY header, version 2, that tells a backend of the client: its peer, and where that connected to. For a client
// at a Unix socket, which has no address, it is that of a connection of the gateway's own.
// https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
func (c *Client) ProxyHeader() []byte {
	if !c.Peer.IsValid() {
		return OwnProxyHeader()
	}
	return format(proxyproto.HeaderProxyFromAddrs(2, net.TCPAddrFromAddrPort(c.Peer), c.Local))
}

// OwnProxyHeader returns the PROXY header of a connection that is no client's: a probe's.
func OwnProxyHeader() []byte {
	return format(&proxyproto.Header{Version: 2, Command: proxyproto.LOCAL})
}

func format(h *proxyproto.Header) []byte {
	text, err := h.Format()
	if err != nil {
		panic("BUG: PROXY header: " + err.Error()) // all of it is ours
	}
	return text
}
