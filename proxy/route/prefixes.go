package route

import (
	"net/netip"
	"strings"
)

// Prefixes are addresses of clients or other peers. Immutable.
type Prefixes []netip.Prefix

// ParsePrefixes reads addresses ("10.1.2.3", "::1") and prefixes ("10.0.0.0/8").
func ParsePrefixes(all []string) (list Prefixes, err error) {
	for _, s := range all {
		p, err := ParsePrefix(s)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// ParsePrefix reads a prefix, or an address as the prefix that has only this address. Bits of a prefix after its length are dropped. An IPv4
// address or prefix in the form of IPv6 ("::ffff:10.0.0.0/104") becomes that of IPv4, the form of the addresses in Includes.
func ParsePrefix(s string) (netip.Prefix, error) {
	p, err := parsePrefix(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	const mapped = 96 // bits of ::ffff:0:0, RFC 4291 section 2.5.5.2
	if p.Addr().Is4In6() && p.Bits() >= mapped {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	return p.Masked(), nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		return netip.ParsePrefix(s)
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// Includes reports whether one of the prefixes has that address. A zone does not count: prefixes have none.
func (list Prefixes) Includes(addr netip.Addr) bool {
	addr = addr.WithZone("")
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
