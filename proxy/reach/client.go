package reach

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"

	"sluice/balancer"
	"sluice/proxy/route"
	"sluice/upgrade"
)

// A Client is what the gateway knows of the client of a request.
type Client struct {
	Peer        netip.AddrPort // of the TCP connection, or of its PROXY header; zero at a Unix socket
	Addr        netip.AddrPort // of the client itself, as far back as trusted proxies name it; the port may be 0
	Local       net.Addr       // the address that the peer connected to
	Certificate string         // subject of the verified certificate; "" if the client has shown none
	IsUnnamed   bool           // a PROXY header came that names no client: Peer is what sent it, which speaks for no client
	IsTrusted   bool           // the peer is a trusted proxy
	// IsCertTrusted means that the subject of a certificate that the peer names is believed.
	IsCertTrusted bool
	Proto         string // "http" or "https"
	Port          uint16 // of the listener; 0 for a Unix socket
	TLSVersion    uint16 // of its connection; 0 means no TLS
	ServerName    string // that it has asked for with TLS (SNI); as it was sent, not checked
	RequestID     string
	IsHTTP2       bool // it speaks HTTP/2

	path string // that the backend gets instead of the client's; "" keeps it. Set by Admit
}

// NewClient returns what is known of a client before its request head is complete.
func NewClient(peer netip.AddrPort) Client { return Client{Peer: peer, Addr: peer} }

// Forward returns what changes in the head of a request on its way to a backend of the route. Admit has been called.
func (c *Client) Forward(r *route.Route, req *upgrade.Request, b *balancer.Backend) upgrade.Forward {
	f := upgrade.Forward{
		Trusted:     c.IsTrusted,
		TrustedCert: c.IsCertTrusted,
		Client:      c.Peer.Addr(),
		RealIP:      c.Addr.Addr(),
		Proto:       c.Proto,
		RequestID:   c.RequestID,

		ClientCert: c.Certificate,

		Host:          r.HostHeader,
		Path:          c.path,
		StripPrefix:   r.StripPrefix,
		PathPrefix:    r.PathPrefix,
		SetHeaders:    r.SetHeaders,
		RemoveHeaders: r.RemoveHeaders,
	}
	if r.HostHeader == route.HostOfBackend {
		f.Host = b.Authority()
	}
	if len(r.SetTemplates) > 0 {
		e := expansion{client: c, route: r, request: req, backend: b}
		f.SetHeaders, f.RemoveHeaders = e.fields(r.SetTemplates, r.SetHeaders, r.RemoveHeaders)
	}
	return f
}

// Answer returns what changes in the head of a backend's answer on its way to the client. cookie, unless it is "", is added.
func (c *Client) Answer(r *route.Route, req *upgrade.Request, b *balancer.Backend, cookie string) upgrade.AnswerChange {
	change := c.answerFields(r, req, b)
	if r.RewritesLocation {
		change.Rewrite = newReturnWay(r, req, b).rewrite
	}
	if cookie != "" {
		change.AddHeaders = []upgrade.Field{{Name: "Set-Cookie", Value: cookie}}
	}
	return change
}

// answerFields returns which fields of an answer are replaced and removed. b is nil if the answer is the gateway's own.
func (c *Client) answerFields(r *route.Route, req *upgrade.Request, b *balancer.Backend) upgrade.AnswerChange {
	change := upgrade.AnswerChange{SetHeaders: r.SetResponseHeaders, RemoveHeaders: r.RemoveResponseHeaders}
	if len(r.SetResponseTemplates) > 0 {
		e := expansion{client: c, route: r, request: req, backend: b}
		change.SetHeaders, change.RemoveHeaders = e.fields(r.SetResponseTemplates, r.SetResponseHeaders, r.RemoveResponseHeaders)
	}
	return change
}

// HTTPVersion returns the version of HTTP as in logs, traces and the API.
func HTTPVersion(is2 bool) string {
	if is2 {
		return "2"
	}
	return "1.1"
}

// FormatTLSVersion returns a version of TLS as in the API and in placeholders: "1.2" or "1.3"; "" for no TLS.
func FormatTLSVersion(version uint16) string {
	switch version {
	case tls.VersionTLS12:
		return "1.2"
	case tls.VersionTLS13:
		return "1.3"
	default:
		return ""
	}
}

// FormatID formats the id of a session or request, as in logs, traces and X-Request-Id.
func FormatID(id uint64) string { return fmt.Sprintf("%016x", id) }

// FormatClient formats a client's address. It returns "unix" for a client at a Unix socket, which has no address.
func FormatClient(a netip.AddrPort) string {
	if !a.IsValid() {
		return "unix"
	}
	return a.String()
}
