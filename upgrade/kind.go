package upgrade

import "bytes"

// ClientCertHeader carries the subject of the client's verified certificate to
// the backend.
const ClientCertHeader = "X-Client-Cert-Subject"

// kind is the meaning of a field's name to the gateway.
type kind uint8

const (
	kindOther kind = iota // passes as it came
	kindHost
	kindConnection
	kindUpgrade
	kindContentLength
	kindTransferEncoding
	kindExpect
	kindOrigin
	kindCookie
	kindKey
	kindVersion
	kindProtocol
	kindExtensions
	kindAccept
	kindTrailer
	kindHop // ends at this hop, RFC 9110 section 7.6.1; also a list of the handshake that is empty
	// X-Forwarded-For. From here on a field may only come from a trusted peer, and is dropped from a request of any other: Forwarded,
	// X-Real-IP, X-Forwarded-*, X-Request-Id, ClientCertHeader, and their spellings with underscores.
	kindForwardedFor
	kindForwardedProto
	kindForwardedHost
	kindForwarded // the rest of that family
	kindRequestID
	kindClientCert
	// kindUnderscore is one of that family spelled with underscores. CGI-like backends
	// can't distinguish it from the proper name, and no proxy writes it: it is always
	// removed.
	kindUnderscore
)

func kindOf[T []byte | string](name T) kind {
	const longest = len("sec-websocket-extensions")
	var folded [longest]byte
	n := min(len(name), longest)
	hasUnderscore := false
	for i := 0; i < n; i++ {
		if name[i] == '_' {
			hasUnderscore = true
			folded[i] = '-'
			continue
		}
		folded[i] = lower(name[i])
	}
	if bytes.HasPrefix(folded[:n], []byte("x-forwarded-")) {
		return kindOfForwarded(folded[:n], hasUnderscore || n < len(name) && hasByte(name[n:], '_'))
	}
	if n < len(name) {
		return kindOther
	}
	k := kindOfFolded(folded[:n])
	if hasUnderscore {
		if k < kindForwardedFor {
			return kindOther
		}
		return kindUnderscore
	}
	return k
}

func kindOfForwarded(folded []byte, hasUnderscore bool) kind {
	if hasUnderscore {
		return kindUnderscore
	}
	switch string(folded) {
	case "x-forwarded-for":
		return kindForwardedFor
	case "x-forwarded-proto":
		return kindForwardedProto
	case "x-forwarded-host":
		return kindForwardedHost
	default:
		return kindForwarded
	}
}

func kindOfFolded(folded []byte) kind {
	switch string(folded) {
	case "host":
		return kindHost
	case "connection":
		return kindConnection
	case "upgrade":
		return kindUpgrade
	case "content-length":
		return kindContentLength
	case "transfer-encoding":
		return kindTransferEncoding
	case "expect":
		return kindExpect
	case "origin":
		return kindOrigin
	case "cookie":
		return kindCookie
	case "sec-websocket-key":
		return kindKey
	case "sec-websocket-version":
		return kindVersion
	case "sec-websocket-protocol":
		return kindProtocol
	case "sec-websocket-extensions":
		return kindExtensions
	case "sec-websocket-accept":
		return kindAccept
	case "trailer":
		return kindTrailer
	case "keep-alive", "proxy-connection", "te", "http2-settings", "proxy-authorization", "proxy-authenticate":
		return kindHop
	case "forwarded", "x-real-ip":
		return kindForwarded
	case "x-request-id":
		return kindRequestID
	case "x-client-cert-subject":
		return kindClientCert
	default:
		return kindOther
	}
}

func hasByte[T []byte | string](p T, c byte) bool {
	for i := 0; i < len(p); i++ {
		if p[i] == c {
			return true
		}
	}
	return false
}
