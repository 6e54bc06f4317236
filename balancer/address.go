package balancer

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"sluice/internal/units"
)

// An address is where a backend listens. Immutable.
type address struct {
	text       string // as configured or discovered: the backend's name
	network    string // "tcp" or "unix"
	dial       string // "host:port" or a path
	tls        bool
	serverName string // of the certificate; empty without TLS
	authority  string // as Host, with the name by which the address was configured
}

// id identifies the address: backends with the same one share their sessions, counters and health.
func (a address) id() string {
	if a.tls {
		return "tls+" + a.network + "!" + a.dial + "!" + a.serverName
	}
	return a.network + "!" + a.dial
}

// isName reports whether a is resolved before it is dialed.
func (a address) isName() bool {
	if a.network != "tcp" {
		return false
	}
	_, err := netip.ParseAddr(a.host())
	return err != nil
}

func (a address) host() string {
	host, _, err := net.SplitHostPort(a.dial)
	if err != nil {
		return a.dial
	}
	return host
}

func (a address) port() string {
	_, port, _ := net.SplitHostPort(a.dial)
	return port
}

// parseAddress parses the text of an address. A name without a port is legal only if a source finds the
// port.
func parseAddress(text string, isPortFound bool) (address, error) {
	a := address{text: text, network: "tcp"}
	rest := text
	switch scheme, after, _ := strings.Cut(text, ":"); {
	case scheme == "unix":
		if err := units.CheckUnixPath(after); err != nil {
			return a, err
		}
		a.network, a.dial, a.authority = "unix", after, "localhost"
		return a, nil
	case strings.HasPrefix(text, "ws://"):
		rest = strings.TrimSuffix(strings.TrimPrefix(text, "ws://"), "/")
	case strings.HasPrefix(text, "wss://"):
		rest, a.tls = strings.TrimSuffix(strings.TrimPrefix(text, "wss://"), "/"), true
	}
	if strings.ContainsAny(rest, "/?# \t") {
		return a, errors.New("more than a host and a port")
	}
	host, port, err := net.SplitHostPort(rest)
	switch {
	case err != nil && isPortFound && rest != "" && !strings.Contains(rest, ":"):
		if strings.IndexFunc(rest, isNoHostRune) >= 0 {
			return a, errors.New("not a host")
		}
		a.dial = strings.ToLower(rest)
		return a, nil
	case err != nil:
		return a, errors.New("no port")
	case host == "":
		return a, errors.New("no host")
	}
	ip, notIP := netip.ParseAddr(host)
	if notIP != nil && strings.IndexFunc(host, isNoHostRune) >= 0 {
		return a, errors.New("not a host")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return a, errors.New("no port from 1 to 65535")
	}
	// Each address has one spelling, so that two equal ones are recognized.
	host = strings.ToLower(host)
	if notIP == nil {
		host = ip.Unmap().String()
	}
	a.dial = net.JoinHostPort(host, port)
	a.authority = authorityOf(host, port, a.tls)
	if a.tls {
		a.serverName = strings.TrimSuffix(host, ".")
	}
	return a, nil
}

// isNoHostRune reports whether a name of a host can't have r: names become the Host of requests.
func isNoHostRune(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._", r))
}

// authorityOf returns the Host of a URL with that host and port: without the default port of its scheme, without the dot that may end a
// name, and without the zone of an IPv6 address, which has a meaning on this machine only.
func authorityOf(host, port string, isTLS bool) string {
	host, _, _ = strings.Cut(strings.TrimSuffix(host, "."), "%")
	if isTLS && port == "443" || !isTLS && port == "80" {
		return strings.TrimSuffix(net.JoinHostPort(host, ""), ":")
	}
	return net.JoinHostPort(host, port)
}
