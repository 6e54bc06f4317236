package route

import (
	"net/netip"

	"sluice/internal/units"
)

// Admits reports whether the route's allow and deny let a client use it. The zero Addr is that of a client at a Unix socket, which no prefix
// includes.
func (r *Route) Admits(client netip.Addr) bool {
	return !r.deny.Includes(client) && (len(r.allow) == 0 || r.allow.Includes(client))
}

// ExampleClient returns an address that allow and deny let use the route, or the zero Addr if allow is empty or there is no such address.
func (r *Route) ExampleClient() netip.Addr {
	if len(r.allow) == 0 {
		return netip.Addr{}
	}
	// The lowest of these addresses is the first one of allow, or comes after what deny includes.
	for _, p := range r.allow {
		if r.Admits(p.Addr()) {
			return p.Addr()
		}
	}
	for _, p := range r.deny {
		if next := last(p).Next(); r.Admits(next) {
			return next
		}
	}
	return netip.Addr{}
}

// last returns the last address of a prefix.
func last(p netip.Prefix) netip.Addr {
	octets := p.Addr().AsSlice()
	for i := p.Bits(); i < p.Addr().BitLen(); i++ {
		octets[i/8] |= 0x80 >> (i % 8)
	}
	addr, _ := netip.AddrFromSlice(octets)
	return addr
}

// checkAccess reports what is wrong with allow and deny.
func (c *Config) checkAccess(report units.Report) {
	denied := checkPrefixes(report, "deny", c.Deny)
	for i, p := range checkPrefixes(report, "allow", c.Allow) {
		for j, d := range denied {
			if p.IsValid() && d.IsValid() && d.Bits() <= p.Bits() && d.Contains(p.Addr()) {
				report(units.Indexed("allow", i), "without effect: "+units.Indexed("deny", j)+" includes it", c.Allow[i], "what deny doesn't include")
				break
			}
		}
	}
}

// checkPrefixes returns the prefixes of a list. In the place of one that is none, which it reports, is the zero Prefix.
func checkPrefixes(report units.Report, key string, all []string) Prefixes {
	list := make(Prefixes, len(all))
	for i, s := range all {
		var err error
		if list[i], err = ParsePrefix(s); err != nil {
			report(units.Indexed(key, i), "not an address or prefix", s, "such as \"10.0.0.0/8\" or \"::1\"")
		}
	}
	return list
}
