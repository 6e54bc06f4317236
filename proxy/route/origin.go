package route

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

// An origin is what an Origin field names: a scheme, a host and a port, and nothing else (RFC 6454 section 4). The zero value is
// "null", which sandboxed pages and files send.
type origin struct {
	scheme string
	host   string // without a trailing dot; an IPv6 address without its brackets; "" for "file://"
	port   uint16 // that of the scheme if the text has none; 0 if the scheme has none either
}

// An OriginRule is one element of a route's origins.
type OriginRule struct {
	origin
	Hosts HostRule
}

// A HostRule says which hosts an OriginRule admits.
type HostRule uint8

const (
	exactHost   HostRule = iota
	belowHost            // "*.example.com": every name below the host
	anyHost              // "*"
	requestHost          // "same": that of the request's Host, whatever the scheme
)

// beyondOrigin has the octets with which path, query, fragment and userinfo begin or end.
const beyondOrigin = `/\?#@`

// The errors of an origin that can't be parsed.
var (
	errNoOrigin       = errors.New("not scheme://host")
	errBeyondOrigin   = errors.New("has more than scheme, host and port")
	errOriginHost     = errors.New("not a host as browsers send it")
	errOriginPort     = errors.New("not a port")
	errOriginBelow    = errors.New("no name after the wildcard")
	errOriginWildcard = errors.New("the wildcard is not whole labels at the beginning of a name")
)

// parseOriginRule reads an element of origins: "same", an origin, or one with a wildcard for the host or for its first labels.
func parseOriginRule(s string) (OriginRule, error) {
	if s == "same" {
		return OriginRule{Hosts: requestHost}, nil
	}
	rule, text := OriginRule{}, s
	scheme, rest, _ := strings.Cut(s, "://")
	switch {
	case rest == "*.", strings.HasPrefix(rest, "*.:"):
		return OriginRule{}, errOriginBelow
	case strings.HasPrefix(rest, "*."):
		rule.Hosts, text = belowHost, scheme+"://"+rest[2:]
	case rest == "*", strings.HasPrefix(rest, "*:"):
		rule.Hosts, text = anyHost, scheme+"://any"+rest[1:]
	case strings.Contains(rest, "*") && !strings.ContainsAny(rest, beyondOrigin):
		return OriginRule{}, errOriginWildcard
	}
	var err error
	if rule.origin, err = parseOrigin(text); err != nil {
		return OriginRule{}, err
	}
	if _, err := netip.ParseAddr(rule.host); err == nil && rule.Hosts == belowHost {
		return OriginRule{}, errOriginWildcard
	}
	return rule, nil
}

// AllowsOrigin reports whether a page of that origin may connect. A request without Origin comes from no browser, and the check protects
// only users of browsers (RFC 6455 section 10.2).
func (r *Route) AllowsOrigin(value, host []byte) bool {
	if len(r.Origins) == 0 || value == nil {
		return true
	}
	sent, err := parseOrigin(string(value))
	if err != nil {
		return false
	}
	own := string(host)
	for i := range r.Origins {
		if r.Origins[i].admits(sent, own) {
			return true
		}
	}
	return false
}

// admits reports whether the rule admits an origin. host is the request's Host as sent.
func (o *OriginRule) admits(sent origin, host string) bool {
	switch o.Hosts {
	case exactHost:
		return strings.EqualFold(sent.host, o.host) && o.isFrom(sent)
	case belowHost:
		n := len(sent.host) - len(o.host) - 1
		return n > 0 && sent.host[n] == '.' && strings.EqualFold(sent.host[n+1:], o.host) && o.isFrom(sent)
	case anyHost:
		return o.isFrom(sent)
	case requestHost:
		own, port, err := splitOriginHost(host, portOfScheme(sent.scheme))
		return err == nil && strings.EqualFold(sent.host, own) && sent.port == port
	default:
		panic("BUG: unknown kind of an origin")
	}
}

// isFrom compares scheme and port.
func (o *OriginRule) isFrom(sent origin) bool {
	return strings.EqualFold(sent.scheme, o.scheme) && sent.port == o.port
}

// Example returns an Origin that the rule admits. own is the origin of the request's host.
func (o *OriginRule) Example(own string) string {
	host := o.host
	switch {
	case o.Hosts == requestHost:
		return own
	case o.scheme == "":
		return "null"
	case o.Hosts == belowHost:
		host = "a." + host
	case o.Hosts == anyHost:
		host = "a"
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	if o.port != portOfScheme(o.scheme) {
		host += ":" + strconv.Itoa(int(o.port))
	}
	return o.scheme + "://" + host
}

// parseOrigin reads an origin as a client sends it: "https://example.com", "https://[2001:db8::1]:8443", "app://-", "file://" or
// "null". No bytes make it panic.
func parseOrigin(s string) (origin, error) {
	if s == "null" {
		return origin{}, nil
	}
	scheme, rest, hasScheme := strings.Cut(s, "://")
	switch {
	case !hasScheme || !isScheme(scheme):
		return origin{}, errNoOrigin
	case strings.ContainsAny(rest, beyondOrigin):
		return origin{}, errBeyondOrigin
	case rest == "" && strings.EqualFold(scheme, "file"):
		return origin{scheme: scheme}, nil
	case rest == "":
		return origin{}, errNoOrigin
	case strings.EqualFold(scheme, "file"):
		return origin{}, errOriginHost
	}
	host, port, err := splitOriginHost(rest, portOfScheme(scheme))
	return origin{scheme, host, port}, err
}

// isScheme reports whether s is a scheme, RFC 3986 section 3.1: ALPHA *( ALPHA / DIGIT / "+" / "-" / "." ).
func isScheme(s string) bool {
	for i, c := range []byte(s) {
		if !isLetter(c) && (i == 0 || !isDigit(c) && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return s != ""
}

// portOfScheme returns the default port of a scheme, or 0.
func portOfScheme(scheme string) uint16 {
	switch {
	case strings.EqualFold(scheme, "https"), strings.EqualFold(scheme, "wss"):
		return 443
	case strings.EqualFold(scheme, "http"), strings.EqualFold(scheme, "ws"):
		return 80
	default:
		return 0
	}
}

// splitOriginHost reads the host and port of an Origin or a Host field. The port is defaultPort if the field has none. The host is in the
// form of upgrade.Request.Hostname, except for its case.
func splitOriginHost(s string, defaultPort uint16) (host string, port uint16, err error) {
	host, port = s, defaultPort
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		n, err := strconv.ParseUint(s[i+1:], 10, 16)
		if err != nil || n == 0 {
			return "", 0, errOriginPort
		}
		host, port = s[:i], uint16(n)
	}
	if address, isBracketed := strings.CutPrefix(host, "["); isBracketed {
		address, isClosed := strings.CutSuffix(address, "]")
		addr, err := netip.ParseAddr(strings.Clone(address)) // its error would move every s to the heap
		if err != nil || !isClosed || !addr.Is6() || addr.Zone() != "" {
			return "", 0, errOriginHost
		}
		return addr.String(), port, nil // the form that browsers send
	}
	if host == "." && defaultPort == 0 {
		return host, port, nil // desktop applications send "app://."
	}
	host = strings.TrimSuffix(host, ".")
	if !isASCII(host) {
		return "", 0, errNotASCII
	}
	if !isOriginHost(host) {
		return "", 0, errOriginHost
	}
	return host, port, nil
}

// isOriginHost reports whether s is a name or an IPv4 address that is allowed in Host.
func isOriginHost(s string) bool {
	for _, c := range []byte(s) {
		if !isLetter(c) && !isDigit(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return s != "" && s[0] != '.' && !strings.Contains(s, "..")
}
