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

// A Client is what the gateway knows of the client of a request.
type Client struct {
	Peer        netip.AddrPort // of the TCP connection, or of its PROXY header; zero at a Unix socket
	Addr        netip.AddrPort // of the client itself, as far back as trusted proxies name it; the port may be 0
	Local       net.Addr       // the address that the peer connected to
	Certificate string         // subject of the verified certificate; "" if the client has shown none
	IsTrusted   bool           // the peer is a trusted proxy
	Proto       string         // "http" or "https"
	RequestID   string
}

// NewClient returns what is known of a client before its request head is complete.
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

// ParsePrefix reads a prefix, or an address as the prefix that has only this address.
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

// Includes reports whether the gateway believes what that peer says of its client.
func (t Trust) Includes(peer netip.Addr) bool {
	for _, p := range t {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}

// Identify completes a client with what the head of its request says. X-Forwarded-For is believed from its end back to the first address
// that isn't a trusted proxy's: anyone can have written the addresses before that one.
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

// Forward returns what changes in the head of a request on its way to a backend.
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

// FormatID formats the id of a session or request, as in logs, traces and X-Request-Id.
func FormatID(id uint64) string { return fmt.Sprintf("%016x", id) }

// FormatClient formats a client's address. It returns "unix" for a client at a Unix socket, which has no address.
func FormatClient(a netip.AddrPort) string {
	if !a.IsValid() {
		return "unix"
	}
	return a.String()
}
