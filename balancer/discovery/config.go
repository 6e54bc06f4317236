package discovery

import (
	"net"
	"net/netip"

	"sluice/internal/units"
)

// The kinds of DNS records that are looked up, as the configuration names them.
const (
	RecordsA   = "a"
	RecordsSRV = "srv"
)

// A Config is [pool.discovery]: how the names among a pool's backends are resolved.
type Config struct {
	// DNS is a (A and AAAA records), srv, or empty: a name is one backend, resolved by each dial.
	DNS string `toml:"dns"`
	// Interval is the time between two lookups; a failed dial brings the next one forward.
	Interval units.Duration `toml:"interval" default:"30s"`
	Timeout  units.Duration `toml:"timeout" default:"5s"`
	// Server is the DNS server's "address:port". Empty means the system's.
	Server string `toml:"server"`
}

// Check reports every problem of the section.
func (c *Config) Check(report units.Report) {
	switch c.DNS {
	case "":
		return
	case RecordsA, RecordsSRV:
	default:
		report("dns", "unknown", c.DNS, "a, srv or \"\"")
		return
	}
	report.CheckPositive("interval", c.Interval)
	report.CheckPositive("timeout", c.Timeout)
	if c.Server != "" {
		host, _, err := net.SplitHostPort(c.Server)
		if err == nil {
			_, err = netip.ParseAddr(host)
		}
		if err != nil {
			report("server", "not an address with a port", c.Server, "such as \"127.0.0.1:53\"")
		}
	}
}

// IsOn reports whether names are resolved here. If not, a name is one backend.
func (c *Config) IsOn() bool { return c.DNS != "" }

// FindsPorts reports whether the sources find ports, too, so that a name needs none.
func (c *Config) FindsPorts() bool { return c.DNS == RecordsSRV }

// A Name is a configured address whose host is not an IP address.
type Name struct {
	Host string
	Port string // empty if the source finds the ports
	TLS  bool   // the backends speak TLS
}

// Source returns the source of the backends that a name stands for. c is checked and on.
func (c *Config) Source(n Name) Source {
	return newPoller(newDNS(c, n).lookup, c.Interval.Std())
}
