package reach

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"sluice/proxy/route"
	"sluice/upgrade"
)

// A Client is whose request it is, as far as the gateway knows.
type Client struct {
	Peer        netip.AddrPort // of the TCP connection, or of its PROXY header; zero at a Unix socket
	Addr        netip.AddrPort // of the client itself, as far back as the trusted proxies reach; its port may be 0
	Local       net.Addr       // where it connected to
	Certificate string         // subject of its verified certificate; "": it has shown none
	IsTrusted   bool           // the peer may say whose request it is
	Proto       string         // "http" or "https"
	RequestID   string
}

// NewClient returns what is known of a client before its head has come.
func NewClient(peer netip.AddrPort) Client { return Client{Peer: peer, Addr: peer} }

// Trust is the addresses of proxies whose PROXY headers and X-Forwarded-* fields are believed. Immutable.
type Trust []netip.Prefix

// ParseTrust reads addresses ("10.1.2.3", "::1") and prefixes ("10.0.0.0/8").
func ParseTrust(all []string) (t Trust, err error) {
	for _, s := range all {
		p, err := ParsePrefix(s)
		if err != nil {
			return nil, err
		}
		t = append(t, p)
	}
	return t, nil
}

// ParsePrefix reads an address, which is the prefix of it alone, or a prefix.
func ParsePrefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		return p.Masked(), err
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// Includes reports whether what that peer says of its client is believed.
func (t Trust) Includes(peer netip.Addr) bool {
	for _, p := range t {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}

// Identify completes a client by what the head of its request tells. X-Forwarded-For is believed from its end back to the first address
// that isn't a trusted proxy's: anyone can have written what stands before that.
func (t Trust) Identify(c *Client, r *upgrade.Request) {
	c.Addr, c.IsTrusted = c.Peer, t.Includes(c.Peer.Addr())
	if !c.IsTrusted {
		return
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
				return
			}
			c.Addr = netip.AddrPortFrom(addr.Unmap(), 0)
			if !t.Includes(addr.Unmap()) {
				return
			}
		}
	}
}

// Forward says how a request of the client goes on to a backend.
func (c *Client) Forward(r *route.Route) upgrade.Forward {
	return upgrade.Forward{
		Trusted:   c.IsTrusted,
		Client:    c.Peer.Addr(),
		Proto:     c.Proto,
		RequestID: c.RequestID,

		ClientCert: c.Certificate,

		StripPrefix:   r.StripPrefix,
		SetHeaders:    r.SetHeaders,
		RemoveHeaders: r.RemoveHeaders,
	}
}

// FormatID formats the id of a session or request as logs, traces and X-Request-Id have it.
func FormatID(id uint64) string { return fmt.Sprintf("%016x", id) }

// FormatClient formats a client's address; a client at a Unix socket has none.
func FormatClient(a netip.AddrPort) string {
	if !a.IsValid() {
		return "unix"
	}
	return a.String()
}
