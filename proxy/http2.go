package proxy

import (
	"bytes"
	"crypto/tls"
)

// How a client's connection is found to speak HTTP/2: by ALPN with TLS, otherwise by its first bytes.

// preface is what a client of HTTP/2 sends first (RFC 9113 section 3.4). The beginning was chosen so that no other request has it.
var preface = []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

// isPrior reports whether the client speaks HTTP/2 by prior knowledge, as far as its first bytes tell. isPart: it seems so, and more have to
// come.
func (c *connection) isPrior() (is, isPart bool) {
	if c.muxConfig == nil || c.tls != nil || c.hasServed || c.core.Memory == nil {
		return false, false
	}
	got := c.core.Memory.FromClient.Bytes()
	if bytes.HasPrefix(got, preface) {
		return true, false
	}
	return false, len(got) > 0 && bytes.HasPrefix(preface, got)
}

// hasAgreed reports whether the client has agreed to HTTP/2 by ALPN.
func (c *connection) hasAgreed() bool {
	secured, isTLS := c.client.(*tls.Conn)
	return isTLS && c.muxConfig != nil && secured.ConnectionState().NegotiatedProtocol == "h2"
}
