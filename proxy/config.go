package proxy

import (
	"crypto/tls"
	"net/http"
	"slices"
	"strings"

	"sluice/balancer"
	"sluice/internal/units"
	"sluice/proxy/route"
)

// A Listener is a listener of a Proxy.
type Listener struct {
	ListenerConfig
	TLS TLSServer // nil if the listener's connections are not secured
}

// A Pool is a pool of backends of a Proxy.
type Pool struct {
	balancer.Config
	// TLS returns the configuration for a backend with that host name. If it is nil, backends that speak TLS must show a certificate that
	// the system trusts.
	TLS func(host string) *tls.Config
	// TLSOf is what TLS is made of, a comparable value: a reload that changes it has new connections made for further sessions and requests.
	TLSOf any
}

// ListenerConfig is one [[listener]] of the configuration.
type ListenerConfig struct {
	// Name is the listener's name, unique in a configuration: routes and logs refer to it.
	Name string `toml:"name"`
	// Address is "host:port", or "unix:/path" for a Unix socket.
	Address string `toml:"address"`
	// UnixAccess says who may connect to a Unix socket.
	UnixAccess
	// HeadTimeout is the time allowed from accept until the request head is complete.
	HeadTimeout units.Duration `toml:"head_timeout" default:"10s"`
	// ProxyProtocol requires every connection to begin with a PROXY header, version 1 or 2, from one of ProxyProtocolFrom.
	ProxyProtocol bool `toml:"proxy_protocol" default:"false"`
	// ProxyProtocolFrom are addresses and prefixes that may send a PROXY header; empty means TrustedProxies.
	ProxyProtocolFrom []string `toml:"proxy_protocol_from"`
	// TrustedProxies are addresses and prefixes whose X-Forwarded-* fields are believed.
	TrustedProxies []string `toml:"trusted_proxies"`
	// HTTP2 says what clients may speak HTTP/2 for, which is chosen by ALPN with TLS, and without by prior knowledge: HTTP2Off, HTTP2Requests
	// or HTTP2WebSocket.
	HTTP2 string `toml:"http2" default:"off"`
	// TrustedClientCertificate means that X-Client-Cert-Subject of TrustedProxies is believed; it is dropped otherwise.
	TrustedClientCertificate bool `toml:"trusted_client_certificate" default:"false"`
	// RedirectHTTPS answers every request with a redirection to https, except those below the paths of RedirectExcept.
	RedirectHTTPS  bool     `toml:"redirect_https" default:"false"`
	RedirectExcept []string `toml:"redirect_except"`
	// RedirectStatus is the status of a redirection: 301, 302, 307 or 308.
	RedirectStatus int `toml:"redirect_status" default:"308"`
	// RedirectPort is the port of the addresses to which clients are redirected. 0 means that of the first listener with TLS for a client
	// that names a port in Host, and 443 for others.
	RedirectPort int `toml:"redirect_port" default:"0"`

	// MaxSessions bounds the listener's live sessions; 0 means that only the gateway's limit applies.
	MaxSessions int `toml:"max_sessions" default:"0"`
	// MaxConnections bounds the listener's open connections; 0 means as many as descriptors hold.
	MaxConnections int `toml:"max_connections" default:"0"`
	// MaxHandshakes bounds the listener's handshakes under way and its idle connections of plain requests, and four times as many plain
	// requests under way; 0 means no limit.
	MaxHandshakes int `toml:"max_handshakes" default:"4096"`
	// MaxSessionsPerIP bounds the live sessions of one client address (IPv6: of one /64); 0 means no limit.
	MaxSessionsPerIP int `toml:"max_sessions_per_ip" default:"0"`
	// HandshakeRate is how many handshakes a second one client address (IPv6: one /64) may begin; 0 means no limit.
	HandshakeRate int `toml:"handshake_rate" default:"0"`
	// HandshakeBurst is how many it may begin at once; 0 means as many as HandshakeRate.
	HandshakeBurst int `toml:"handshake_burst" default:"0"`
}

// The values of ListenerConfig.HTTP2. "" is HTTP2Off.
const (
	HTTP2Off       = "off"
	HTTP2Requests  = "http"      // requests that aren't WebSocket
	HTTP2WebSocket = "websocket" // and WebSocket (RFC 8441)
)

// SpeaksHTTP2 reports whether clients may speak HTTP/2.
func (c *ListenerConfig) SpeaksHTTP2() bool {
	return c.HTTP2 == HTTP2Requests || c.HTTP2 == HTTP2WebSocket
}

// Check reports every problem of the section.
func (c *ListenerConfig) Check(report units.Report) {
	if c.Name == "" {
		report("name", "missing", nil, "a name")
	}
	checkAddress(report, c.Address)
	c.UnixAccess.check(report, c.Address)
	if c.HeadTimeout <= 0 {
		report("head_timeout", "not positive", c.HeadTimeout, "a duration such as \"10s\"")
	}
	switch c.HTTP2 {
	case HTTP2Off, HTTP2Requests, HTTP2WebSocket:
	default:
		report("http2", "unknown", c.HTTP2, `"off", "http" for requests without WebSocket, or "websocket" for all`)
	}
	if c.ProxyProtocol && len(c.headerSenders()) == 0 {
		report("proxy_protocol", "no address may send the header", c.ProxyProtocol, "the senders' addresses in proxy_protocol_from or trusted_proxies")
	}
	if !c.ProxyProtocol && len(c.ProxyProtocolFrom) > 0 {
		report("proxy_protocol_from", "no connection begins with a PROXY header", c.ProxyProtocolFrom, "proxy_protocol = true beside it")
	}
	if c.TrustedClientCertificate && len(c.TrustedProxies) == 0 {
		report("trusted_client_certificate", "no proxy is trusted", c.TrustedClientCertificate, "the proxies' addresses in trusted_proxies")
	}
	for i, path := range c.RedirectExcept {
		if !strings.HasPrefix(path, "/") || !route.IsReachable(path) {
			report(units.Indexed("redirect_except", i), "not a path", path, "such as \"/.well-known/acme-challenge/\": decoded, without \".\", \"..\" and empty segments")
		}
	}
	if !slices.Contains([]int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect}, c.RedirectStatus) {
		report("redirect_status", "not a redirection", c.RedirectStatus, "301, 302, 307 or 308")
	}
	if c.RedirectPort < 0 || c.RedirectPort > 65535 {
		report("redirect_port", "not a port", c.RedirectPort, "1 to 65535, or 0")
	}
	for _, d := range []struct {
		key   string
		value int
	}{
		{"max_sessions", c.MaxSessions},
		{"max_connections", c.MaxConnections},
		{"max_handshakes", c.MaxHandshakes},
		{"max_sessions_per_ip", c.MaxSessionsPerIP},
		{"handshake_rate", c.HandshakeRate},
		{"handshake_burst", c.HandshakeBurst},
	} {
		if d.value < 0 {
			report(d.key, "negative", d.value, "a number, or 0 for no limit")
		}
	}
	for _, list := range []struct {
		key  string
		list []string
	}{{"trusted_proxies", c.TrustedProxies}, {"proxy_protocol_from", c.ProxyProtocolFrom}} {
		for i, s := range list.list {
			if _, err := route.ParsePrefix(s); err != nil {
				report(units.Indexed(list.key, i), "not an address or prefix", s, "such as \"10.0.0.0/8\" or \"::1\"")
			}
		}
	}
}

// headerSenders returns the addresses that may send a PROXY header.
func (c *ListenerConfig) headerSenders() []string {
	if len(c.ProxyProtocolFrom) > 0 {
		return c.ProxyProtocolFrom
	}
	return c.TrustedProxies
}
