package proxy

import (
	"bytes"
	"net/netip"

	"sluice/proxy/route"
	"sluice/upgrade"
)

// clientInfo is who a request comes from. Immutable.
type clientInfo struct {
	peer      netip.AddrPort // of the TCP connection, or of its PROXY header; zero at a Unix socket
	addr      netip.AddrPort // of the client, as far back as the trusted proxies reach; its port may be 0
	isTrusted bool           // the peer may say who its client is
	proto     string         // "http" or "https"
	requestID string
}

// clientOf tells whose a request is. X-Forwarded-For is believed from its end back to the first address that isn't a trusted
// proxy's: what stands before that, anybody can have written.
func (l *listener) clientOf(peer netip.AddrPort, r *upgrade.Request) clientInfo {
	c := clientInfo{peer: peer, addr: peer, isTrusted: l.trusts(peer.Addr()), proto: "http"}
	if l.tls != nil {
		c.proto = "https"
	}
	if !c.isTrusted {
		return c
	}
	for list := range r.Backward("X-Forwarded-For") {
		for rest := list; len(rest) > 0; {
			last := rest
			if i := bytes.LastIndexByte(rest, ','); i >= 0 {
				rest, last = rest[:i], rest[i+1:]
			} else {
				rest = nil
			}
			addr, err := netip.ParseAddr(string(bytes.Trim(last, " \t")))
			if err != nil {
				return c
			}
			c.addr = netip.AddrPortFrom(addr.Unmap(), 0)
			if !l.trusts(addr.Unmap()) {
				return c
			}
		}
	}
	return c
}

// forward says how a request of the client goes on to a backend, on either path. certificate is the subject that it has shown; "": none.
func (c *clientInfo) forward(r *route.Route, certificate string) upgrade.Forward {
	return upgrade.Forward{
		Trusted:   c.isTrusted,
		Client:    c.peer.Addr(),
		Proto:     c.proto,
		RequestID: c.requestID,

		ClientCert: certificate,

		StripPrefix:   r.StripPrefix,
		SetHeaders:    r.SetHeaders,
		RemoveHeaders: r.RemoveHeaders,
	}
}
