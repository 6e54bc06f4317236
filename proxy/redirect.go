package proxy

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"sluice/proxy/route"
	"sluice/upgrade"
)

// isExempt reports whether the listener serves that path, though it redirects others to https.
func (l *listener) isExempt(path string) bool {
	return slices.ContainsFunc(l.config.RedirectExcept, func(prefix string) bool { return route.HasSegments(path, prefix) })
}

// Redirection returns the answer that sends the client of a request to the same address over TLS. It returns nil if the request is served.
func (l *listener) Redirection(r *upgrade.Request) *upgrade.Rejection {
	if !l.config.RedirectHTTPS || l.isExempt(string(r.Path())) {
		return nil
	}
	host := string(r.Hostname())
	switch {
	case host == "":
		return upgrade.ErrNoHost // HTTP/1.0 allows requests without Host
	case strings.Contains(host, ":"):
		host = "[" + host + "]" // RFC 3986 section 3.2.2
	}
	target := "https://" + host + l.redirectPort(string(r.Host())) + string(r.RawPath())
	if q := r.Query(); len(q) > 0 {
		target += "?" + string(q)
	}
	redirection := upgrade.ErrRedirect.With(upgrade.Field{Name: "Location", Value: target})
	redirection.Status = l.config.RedirectStatus
	return redirection
}

// redirectPort returns the port of the address to which a request for that host is redirected, as ":8443", or "" if it is the scheme's own.
// A client that names no port has come to port 80, whatever the listener's own is, and finds TLS at 443.
func (l *listener) redirectPort(host string) string {
	port := "443"
	_, asked, err := net.SplitHostPort(host)
	switch {
	case l.config.RedirectPort > 0:
		port = strconv.Itoa(l.config.RedirectPort)
	case err == nil && asked != "" && asked != "80":
		port = l.proxy.securePort()
	}
	if port == "443" {
		return ""
	}
	return ":" + port
}

// securePort returns the port of the first listener with TLS, or "443" if there is none.
func (p *Proxy) securePort() string {
	for _, l := range *p.listeners.Load() {
		if a, isTCP := l.ln.Addr().(*net.TCPAddr); isTCP && l.tls != nil {
			return strconv.Itoa(a.Port)
		}
	}
	return "443"
}
