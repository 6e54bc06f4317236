package route

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"unicode/utf8"

	"sluice/internal/units"
	"sluice/proxy/relay"
	"sluice/upgrade"
)

// Config is one [[route]] of the configuration.
type Config struct {
	// Listener names the listener that the route belongs to; empty means every listener.
	Listener string `toml:"listener"`
	// Host is an exact host or "*.example.com"; empty means any host.
	Host string `toml:"host"`
	// Path is a prefix of whole segments. The longest one wins.
	Path string `toml:"path" default:"/"`
	// Pool names the pool that the route's sessions go to.
	Pool string `toml:"pool"`
	// Origins are the allowed values of Origin, each an origin (scheme, host and port), one with a wildcard for the host or its first
	// labels ("https://*.example.com", "https://*:8443"), "null", or "same": the Origin's host and port are those of Host. Empty means any.
	Origins []string `toml:"origins"`

	// HTTP passes requests that are not WebSocket to the pool as well; without it they are refused with 426.
	HTTP bool `toml:"http" default:"true"`
	// StripPrefix is removed from the path that the backend gets: Path, or whole segments at its beginning.
	StripPrefix string `toml:"strip_prefix"`
	// RequestHeader has fields that the backend gets instead of the client's fields of these names.
	RequestHeader map[string]string `toml:"request_header"`
	// RemoveHeader names fields that the backend doesn't get.
	RemoveHeader []string `toml:"remove_header"`
	// EncodedSlashes says what happens to a request whose path has %2f or %5c: "auto" refuses it only if the decoded path leads to another
	// route; "refuse"; "pass".
	EncodedSlashes string `toml:"encoded_slashes" default:"auto"`
	// PathParameters says the same of a path with ";": "auto" refuses it only if the path without parameters leads to another route; "pass".
	PathParameters string `toml:"path_parameters" default:"auto"`

	// Ping is "mirror" (the gateway answers pings itself, and pings the other side with the same payload), "answer" (it answers them
	// alone) or "forward".
	Ping string `toml:"ping" default:"mirror"`

	PingInterval        units.Duration         `toml:"ping_interval" default:"20s"`        // of clients; 0 means off
	BackendPingInterval units.OptionalDuration `toml:"backend_ping_interval" default:""`   // open means as PingInterval
	PongTimeout         units.Duration         `toml:"pong_timeout" default:"10s"`         // of clients
	BackendPongTimeout  units.OptionalDuration `toml:"backend_pong_timeout" default:"60s"` // open means as PongTimeout

	IdleTimeout  units.Duration `toml:"idle_timeout" default:"0s"` // 0 means off
	CloseTimeout units.Duration `toml:"close_timeout" default:"5s"`
	WriteTimeout units.Duration `toml:"write_timeout" default:"60s"`
	CloseCodes   CloseCodes     `toml:"close_codes"`

	ConnectTimeout   units.Duration `toml:"connect_timeout" default:"3s"`    // of one dial
	HandshakeTimeout units.Duration `toml:"handshake_timeout" default:"10s"` // from dial to 101, with all retries

	// ResponseTimeout bounds the time until a backend begins its answer to a plain request.
	ResponseTimeout units.Duration `toml:"response_timeout" default:"60s"`

	// RequestBody bounds the body of a plain request; 0 means no limit.
	RequestBody units.Bytes `toml:"request_body" default:"64MiB"`

	MaxFrame   units.Bytes `toml:"max_frame" default:"256MiB"`   // 0 means no limit
	MaxMessage units.Bytes `toml:"max_message" default:"256MiB"` // 0 means no limit
}

// CloseCodes are the codes of the closes that the gateway sends on its own; 0 means that it sends none, and the stream ends.
type CloseCodes struct {
	Drained     int `toml:"drained" default:"1012"`
	BackendLost int `toml:"backend_lost" default:"1012"`
	ClientLost  int `toml:"client_lost" default:"1001"`
}

// Check reports every problem of the section.
func (c *Config) Check(report units.Report) {
	if c.Pool == "" {
		report("pool", "missing", nil, "the name of a pool")
	}
	switch {
	case !strings.HasPrefix(c.Path, "/"):
		report("path", "not a path", c.Path, "a prefix that starts with \"/\"")
	case strings.ContainsAny(c.Path, "?#"):
		report("path", "more than a path", c.Path, "no query and no fragment: routes don't look at them")
	case !IsReachable(c.Path):
		report("path", "no request's path", c.Path, "it decoded, but for %2f and %5c, and without \".\", \"..\" and empty segments")
	}
	if err := checkHostPattern(c.Host); err != nil {
		report("host", err.Error(), c.Host, "\"example.com\", \"*.example.com\" or \"\"")
	}
	for i, s := range c.Origins {
		if _, err := parseOriginRule(s); err != nil {
			report(units.Indexed("origins", i), err.Error(), s, `"https://example.com", "https://*.example.com", "https://*", "same", "null" or the like`)
		}
	}
	if c.StripPrefix != "" && !HasSegments(c.Path, c.StripPrefix) {
		report("strip_prefix", "not the beginning of path", c.StripPrefix, fmt.Sprintf("%q, or whole segments at its beginning", c.Path))
	}
	names := slices.Sorted(maps.Keys(c.RequestHeader))
	for i, name := range names {
		if err := (upgrade.Field{Name: name, Value: c.RequestHeader[name]}).Check(); err != nil {
			report("request_header."+name, err.Error(), c.RequestHeader[name], "a field that the handshake doesn't need")
		}
		if earlier := indexOfField(names, name); earlier < i {
			report("request_header."+name, "the same field as "+names[earlier], c.RequestHeader[name], "each field once: case does not count, and \"_\" is \"-\"")
		}
	}
	for i, name := range c.RemoveHeader {
		if err := upgrade.CheckFieldName(name); err != nil {
			report(units.Indexed("remove_header", i), err.Error(), name, "a field that the handshake doesn't need")
		}
		if indexOfField(names, name) >= 0 {
			report(units.Indexed("remove_header", i), "set by request_header", name, "each field in one of the two")
		}
	}
	if c.EncodedSlashes != "auto" && c.EncodedSlashes != "refuse" && c.EncodedSlashes != "pass" {
		report("encoded_slashes", "unknown", c.EncodedSlashes, "\"auto\", \"refuse\" or \"pass\"")
	}
	if c.PathParameters != "auto" && c.PathParameters != "pass" {
		report("path_parameters", "unknown", c.PathParameters, "\"auto\" or \"pass\"")
	}
	if _, isKnown := pingModes[c.Ping]; !isKnown {
		report("ping", "unknown", c.Ping, "\"mirror\", \"answer\" or \"forward\"")
	}
	for _, d := range []struct {
		key     string
		value   units.Duration
		canBeNo bool
	}{
		{"ping_interval", c.PingInterval, true},
		{"backend_ping_interval", c.BackendPingInterval.Or(0), true},
		{"pong_timeout", c.PongTimeout, false},
		{"backend_pong_timeout", c.BackendPongTimeout.Or(c.PongTimeout), false},
		{"idle_timeout", c.IdleTimeout, true},
		{"close_timeout", c.CloseTimeout, false},
		{"write_timeout", c.WriteTimeout, false},
		{"connect_timeout", c.ConnectTimeout, false},
		{"handshake_timeout", c.HandshakeTimeout, false},
		{"response_timeout", c.ResponseTimeout, false},
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
		if d.value != 0 && !relay.IsCloseCode(d.value) {
			report(d.key, "not a close code that may be sent", d.value, "1000-1003, 1007-1014 or 3000-4999, or 0 for no close")
		}
	}
	if c.RequestBody < 0 {
		report("request_body", "negative", c.RequestBody, "a size such as \"64MiB\", or 0 for no limit")
	}
	if c.MaxFrame < 0 {
		report("max_frame", "negative", c.MaxFrame, "a size such as \"256MiB\", or 0 for no limit")
	}
	if c.MaxMessage < 0 {
		report("max_message", "negative", c.MaxMessage, "a size such as \"256MiB\", or 0 for no limit")
	}
}

// Warn reports what the section may have and its operator may not want.
func (c *Config) Warn(report units.Report) {
	if c.ConnectTimeout > c.HandshakeTimeout {
		report("connect_timeout", "over handshake_timeout, which ends a dial earlier", c.ConnectTimeout, "at most "+c.HandshakeTimeout.String())
	}
}

// pingModes are the values of ping.
var pingModes = map[string]relay.PingMode{"mirror": relay.MirrorPings, "answer": relay.AnswerPings, "forward": relay.ForwardPings}

// indexOfField returns which of the names is the first that means the same field; -1: none does.
func indexOfField(names []string, name string) int {
	return slices.IndexFunc(names, func(other string) bool { return upgrade.IsSameField(name, other) })
}

// What is wrong with a host.
var (
	errHost         = errors.New("not a host")
	errHostWildcard = errors.New("a wildcard before an address")
	errNotASCII     = errors.New("not ASCII: browsers send the name in Punycode (xn--…)")
)

// checkHostPattern returns what keeps s from being a host, a wildcard host, or empty.
func checkHostPattern(s string) error {
	if s == "" {
		return nil
	}
	host, isWildcard := strings.CutPrefix(s, "*.")
	if isAddress(host) {
		if isWildcard {
			return errHostWildcard
		}
		return nil
	}
	if len(host) > 253 || strings.HasSuffix(host, ".") {
		return errHost
	}
	if !isASCII(host) {
		return errNotASCII
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 {
			return errHost
		}
		for _, c := range []byte(label) {
			if !isLetter(c) && !isDigit(c) && c != '-' && c != '_' {
				return errHost
			}
		}
	}
	return nil
}

// isAddress reports whether s is an IP address; one of IPv6 may be in brackets.
func isAddress(s string) bool {
	if inner, isBracketed := strings.CutPrefix(s, "["); isBracketed {
		inner, isClosed := strings.CutSuffix(inner, "]")
		return isClosed && strings.Contains(inner, ":") && net.ParseIP(inner) != nil
	}
	return net.ParseIP(s) != nil
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c >= utf8.RuneSelf })
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
