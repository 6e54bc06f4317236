package nginx

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// A target is what a proxy_pass names.
type target struct {
	scheme     string // http or https
	host       string // the name of an upstream, host[:port], or "unix:/path"
	uri        string // from the first slash on; "": none
	isComputed bool   // it has variables, with which nginx takes the URI for all of the path
}

// parseTarget reads the argument of a proxy_pass. Variables that `set` makes are replaced.
func parseTarget(arg string, l *level) (target, error) {
	t := target{isComputed: strings.Contains(arg, "$")}
	address, uri := cutURI(arg)
	x := &expander{level: l, plain: true}
	address, err := x.expand(address)
	if err != nil {
		return t, fmt.Errorf("the address is computed, and %w: name the backends", err)
	}
	address, ofAddress := cutURI(address) // a variable may hold all of the URL
	t.uri = ofAddress + uri
	scheme, host, hasScheme := strings.Cut(address, "://")
	if !hasScheme || scheme != "http" && scheme != "https" || host == "" {
		return t, errors.New("no http:// or https:// address")
	}
	t.scheme, t.host = scheme, host
	return t, nil
}

// cutURI cuts the argument of a proxy_pass into scheme and host, and the rest.
func cutURI(arg string) (address, uri string) {
	begin := 0
	if at := strings.Index(arg, "://"); at >= 0 {
		begin = at + len("://")
	}
	if rest := arg[begin:]; strings.HasPrefix(rest, "unix:") {
		path, uri, _ := strings.Cut(rest[len("unix:"):], ":")
		return arg[:begin] + "unix:" + path, uri
	}
	at := strings.IndexAny(arg[begin:], "/?")
	for _, whole := range []string{"$request_uri", "$uri"} {
		if i := strings.Index(arg[begin:], whole); i > 0 && (at < 0 || i < at) {
			at = i
		}
	}
	if at < 0 {
		return arg, ""
	}
	return arg[:begin+at], arg[begin+at:]
}

// hostHeader is what nginx sends as Host by default: $proxy_host.
func (t *target) hostHeader() string {
	if strings.HasPrefix(t.host, "unix:") {
		return "localhost"
	}
	return t.host
}

// backendAddress returns the address of a backend as a pool has it.
func backendAddress(host, scheme string) (string, error) {
	if path, isUnix := strings.CutPrefix(host, "unix:"); isUnix {
		if scheme == "https" {
			return "", errors.New("TLS over a Unix socket")
		}
		return "unix:" + path, nil
	}
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.Trim(host, "[]"), "80"
		if scheme == "https" {
			port = "443"
		}
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || name == "" {
		return "", fmt.Errorf("%s is no address", host)
	}
	address := net.JoinHostPort(name, port)
	if scheme == "https" {
		address = "wss://" + address
	}
	return address, nil
}
