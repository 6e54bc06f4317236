package proxy

import (
	"net/netip"
	"strings"

	"sluice/internal/units"
)

// ListenerConfig is one [[listener]] of the configuration.
type ListenerConfig struct {
	// Name is the listener's name, unique in a configuration: routes and logs refer to it.
	Name string `toml:"name"`
	// Address is "host:port", or "unix:/path" for a Unix socket.
	Address string `toml:"address"`
	// HeadTimeout bounds accept to the end of the request's head, in all.
	HeadTimeout units.Duration `toml:"head_timeout" default:"10s"`
	// TrustedProxies are addresses and prefixes whose X-Forwarded-* fields are believed.
	TrustedProxies []string `toml:"trusted_proxies"`
}

// RouteConfig is one [[route]] of the configuration.
type RouteConfig struct {
	// Listener names the listener that the route belongs to; empty: every listener.
	Listener string `toml:"listener"`
	// Host is an exact host or "*.example.com"; empty: any.
	Host string `toml:"host"`
	// Path is a prefix of whole segments; the longest one wins.
	Path string `toml:"path" default:"/"`
	// Pool names the pool that the route's sessions go to.
	Pool string `toml:"pool"`
	// Origins are the allowed values of Origin; empty: any.
	Origins []string `toml:"origins"`

	// Ping is "answer" (the gateway answers pings itself) or "forward".
	Ping         string         `toml:"ping" default:"answer"`
	PingInterval units.Duration `toml:"ping_interval" default:"30s"` // zero: off
	PongTimeout  units.Duration `toml:"pong_timeout" default:"10s"`
	IdleTimeout  units.Duration `toml:"idle_timeout" default:"0s"` // zero: off
	CloseTimeout units.Duration `toml:"close_timeout" default:"5s"`
	WriteTimeout units.Duration `toml:"write_timeout" default:"60s"`
	CloseCodes   CloseCodes     `toml:"close_codes"`

	ConnectTimeout   units.Duration `toml:"connect_timeout" default:"3s"`    // one dial
	HandshakeTimeout units.Duration `toml:"handshake_timeout" default:"10s"` // dial to 101, all retries

	MaxFrame   units.Bytes `toml:"max_frame" default:"16MiB"`   // zero: no limit
	MaxMessage units.Bytes `toml:"max_message" default:"64MiB"` // zero: no limit
}

// CloseCodes are the codes of the closes that the gateway makes itself.
type CloseCodes struct {
	Drained     int `toml:"drained" default:"1012"`
	BackendLost int `toml:"backend_lost" default:"1011"`
	ClientLost  int `toml:"client_lost" default:"1001"`
}

// Check reports every problem of the section.
func (c *ListenerConfig) Check(report units.Report) {
	if c.Name == "" {
		report("name", "missing", nil, "a name")
	}
	checkAddress(report, c.Address)
	if c.HeadTimeout <= 0 {
		report("head_timeout", "not positive", c.HeadTimeout, "a duration such as \"10s\"")
	}
	for i, s := range c.TrustedProxies {
		if _, err := parsePrefix(s); err != nil {
			report(indexed("trusted_proxies", i), "not an address or prefix", s, "such as \"10.0.0.0/8\" or \"::1\"")
		}
	}
}

// Check reports every problem of the section.
func (c *RouteConfig) Check(report units.Report) {
	if c.Pool == "" {
		report("pool", "missing", nil, "the name of a pool")
	}
	if !strings.HasPrefix(c.Path, "/") {
		report("path", "not a path", c.Path, "a prefix that starts with \"/\"")
	}
	if !isHostPattern(c.Host) {
		report("host", "not a host", c.Host, "\"example.com\", \"*.example.com\" or \"\"")
	}
	if c.Ping != "answer" && c.Ping != "forward" {
		report("ping", "unknown", c.Ping, "\"answer\" or \"forward\"")
	}
	for _, d := range []struct {
		key     string
		value   units.Duration
		canBeNo bool
	}{
		{"ping_interval", c.PingInterval, true},
		{"pong_timeout", c.PongTimeout, false},
		{"idle_timeout", c.IdleTimeout, true},
		{"close_timeout", c.CloseTimeout, false},
		{"write_timeout", c.WriteTimeout, false},
		{"connect_timeout", c.ConnectTimeout, false},
		{"handshake_timeout", c.HandshakeTimeout, false},
	} {
		switch {
		case d.value < 0:
			report(d.key, "negative", d.value, "a duration such as \"30s\"")
		case d.value == 0 && !d.canBeNo:
			report(d.key, "zero", d.value, "a duration over 0s")
		}
	}
	for _, d := range []struct {
		key   string
		value int
	}{
		{"close_codes.drained", c.CloseCodes.Drained},
		{"close_codes.backend_lost", c.CloseCodes.BackendLost},
		{"close_codes.client_lost", c.CloseCodes.ClientLost},
	} {
		if !isCloseCode(d.value) {
			report(d.key, "not a close code that may be sent", d.value, "1000-1003, 1007-1014 or 3000-4999")
		}
	}
	if c.MaxFrame < 0 {
		report("max_frame", "negative", c.MaxFrame, "a size such as \"16MiB\", or 0 for no limit")
	}
	if c.MaxMessage < 0 {
		report("max_message", "negative", c.MaxMessage, "a size such as \"64MiB\", or 0 for no limit")
	}
}

// parsePrefix reads an address ("10.1.2.3", "::1") or a prefix ("10.0.0.0/8").
func parsePrefix(s string) (netip.Prefix, error) {
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
