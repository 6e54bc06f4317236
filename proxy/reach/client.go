package reach

import (
	"fmt"
	"net"
	"net/netip"

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
	RequestID     string
	IsHTTP2       bool // it speaks HTTP/2
}

// NewClient returns what is known of a client before its request head is complete.
func NewClient(peer netip.AddrPort) Client { return Client{Peer: peer, Addr: peer} }

// Forward returns what changes in the head of a request on its way to a backend.
func (c *Client) Forward(r *route.Route) upgrade.Forward {
	return upgrade.Forward{
		Trusted:     c.IsTrusted,
		TrustedCert: c.IsCertTrusted,
		Client:      c.Peer.Addr(),
		Proto:       c.Proto,
		RequestID:   c.RequestID,

		ClientCert: c.Certificate,

		StripPrefix:   r.StripPrefix,
		SetHeaders:    r.SetHeaders,
		RemoveHeaders: r.RemoveHeaders,
	}
}

// HTTPVersion returns the version of HTTP as in logs, traces and the API.
func HTTPVersion(is2 bool) string {
	if is2 {
		return "2"
	}
	return "1.1"
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
