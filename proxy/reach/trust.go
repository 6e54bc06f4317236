package reach

import (
	"bytes"
	"net/netip"
	"strings"

	"sluice/proxy/route"
	"sluice/upgrade"
)

// A Trust says what a listener believes of its peers. Immutable.
type Trust struct {
	Proxies     route.Prefixes // peers whose X-Forwarded-* fields are believed
	Certificate bool           // their X-Client-Cert-Subject is believed as well
}

// Believes reports whether the fields of a client's peer are believed that only a trusted proxy may send, and whether its
// X-Client-Cert-Subject is.
func (t *Trust) Believes(c *Client) (fields, certificate bool) {
	fields = !c.IsUnnamed && t.Proxies.Includes(c.Peer.Addr())
	return fields, fields && t.Certificate
}

// Identify completes a client with what the head of its request says. X-Forwarded-For is believed from its end back to the first address
// that isn't a trusted proxy's: anyone can have written the addresses before that one. What is no address ends it as well: the last trusted
// hop then counts as the client, and isReadable is false.
func (t *Trust) Identify(c *Client, r *upgrade.Request) (isReadable bool) {
	c.Addr = c.Peer
	c.IsTrusted, c.IsCertTrusted = t.Believes(c)
	if !c.IsTrusted {
		return true
	}
	for list := range r.Backward("X-Forwarded-For") {
		for rest := list; len(rest) > 0; {
			last := rest
			if i := bytes.LastIndexByte(rest, ','); i >= 0 {
				rest, last = rest[:i], rest[i+1:]
			} else {
				rest = nil
			}
			last = bytes.Trim(last, " \t")
			if len(last) == 0 {
				continue // RFC 9110 section 5.6.1.2: empty elements don't count
			}
			addr, isAddress := parseHop(string(last))
			if !isAddress {
				return false
			}
			c.Addr = netip.AddrPortFrom(addr, 0)
			if !t.Proxies.Includes(addr) {
				return true
			}
		}
	}
	return true
}

// parseHop reads an element of X-Forwarded-For: an address, with or without a port, one of IPv6 with or without brackets. Azure's gateways
// write "203.0.113.9:41234" and "[2001:db8::1]:443".
func parseHop(s string) (addr netip.Addr, isAddress bool) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		if inner, isOpen := strings.CutPrefix(s, "["); isOpen && strings.HasSuffix(inner, "]") {
			s += ":0"
		}
		var withPort netip.AddrPort
		if withPort, err = netip.ParseAddrPort(s); err != nil {
			return netip.Addr{}, false
		}
		addr = withPort.Addr()
	}
	return addr.Unmap().WithZone(""), true
}
