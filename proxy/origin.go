package proxy

import (
	"errors"
	"net/url"
	"strings"
)

// An origin is one of the values of Origin that a route allows.
type origin struct {
	isSame bool   // the Origin's host and port are those of Host
	scheme string // "https"
	host   string // with the port, if it isn't the scheme's; ".example.com" for a wildcard
}

// parseOrigin reads "https://example.com", "https://*.example.com:8443" or "same"; "null", which sandboxed pages send, is no host
// of anybody's and is allowed by an empty list only.
func parseOrigin(s string) (origin, error) {
	if s == "same" {
		return origin{isSame: true}, nil
	}
	u, err := url.Parse(strings.ToLower(s))
	if err != nil {
		return origin{}, err
	}
	if u.Scheme == "" || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return origin{}, errors.New("not scheme://host")
	}
	host := u.Host
	if wildcard, isWildcard := strings.CutPrefix(host, "*"); isWildcard {
		host = wildcard
	}
	if strings.Contains(host, "*") {
		return origin{}, errors.New("a wildcard stands for whole labels at the beginning")
	}
	return origin{scheme: u.Scheme, host: host}, nil
}

// matches tells whether a request's Origin is this one; requestHost is its Host as sent.
func (o *origin) matches(value, requestHost string) bool {
	scheme, host, isURL := strings.Cut(value, "://")
	if !isURL {
		return false
	}
	if o.isSame {
		return strings.EqualFold(host, requestHost)
	}
	if !strings.EqualFold(scheme, o.scheme) {
		return false
	}
	if o.host[0] == '.' {
		n := len(host) - len(o.host)
		return n > 0 && strings.EqualFold(host[n:], o.host)
	}
	return strings.EqualFold(host, o.host)
}

// allowsOrigin tells whether a page of that origin may connect. A request without one comes from no browser, and origins protect
// browsers' users alone (RFC 6455 section 10.2).
func (r *route) allowsOrigin(value, requestHost []byte) bool {
	if len(r.origins) == 0 || value == nil {
		return true
	}
	for i := range r.origins {
		if r.origins[i].matches(string(value), string(requestHost)) {
			return true
		}
	}
	return false
}
