package upgrade

import "bytes"

// ClientCertHeader carries the subject of the client's verified certificate to
// the backend.
const ClientCertHeader = "X-Client-Cert-Subject"

// hopsHeader counts the gateways that a request has passed.
const hopsHeader = "X-Sluice-Hops"

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
	// X-Forwarded-For. From here to kindRequestID a field may only come from a trusted peer, and is dropped from a request of any other:
	// Forwarded, X-Real-IP, X-Forwarded-*, X-Request-Id.
	kindForwardedFor
	kindForwardedProto
	kindForwardedHost
	kindRealIP
	kindForwarded // the rest of that family
	kindRequestID
	kindClientCert
	kindHops
	// kindVariant is a name that a backend may not distinguish from one of the above: it has other octets for the hyphens, as in
	// X_Forwarded_For and Content.Length. CGI and what is modeled on it turn such octets into "_". No proxy writes them: they are always
	// removed.
	kindVariant
)

// IsBelieved reports whether a field of that name counts, as Request.Believe says.
func IsBelieved(name string, fields, certificate bool) bool {
	return kindOf(name).isBelieved(fields, certificate)
}

// isBelieved reports whether a field of that kind counts: only trusted peers may send some of them.
func (k kind) isBelieved(isTrusted, isCertTrusted bool) bool {
	switch k {
	case kindForwardedFor, kindForwardedProto, kindForwardedHost, kindRealIP, kindForwarded, kindRequestID:
		return isTrusted
	case kindClientCert:
		return isCertTrusted
	case kindVariant:
		return false
	default:
		return true
	}
}

func kindOf[T []byte | string](name T) kind {
	const longest = len("sec-websocket-extensions")
	var buf [longest]byte
	n := min(len(name), longest)
	isVariant := false
	for i := 0; i < len(name); i++ {
		c := fold(name[i])
		isVariant = isVariant || c == '-' && name[i] != '-'
		if i < n {
			buf[i] = c
		}
	}
	folded, k := buf[:n], kindOther
	switch {
	case bytes.HasPrefix(folded, []byte("x-forwarded-")):
		k = kindOfForwarded(folded)
	case n == len(name):
		k = kindOfFolded(folded)
	}
	if isVariant && k != kindOther {
		return kindVariant
	}
	return k
}

// fold returns an octet of a field's name as a backend may treat it: letters in lower case, and every octet that is neither a letter nor a
// digit as a hyphen.
func fold(c byte) byte {
	if octets[c]&alnumOctet == 0 {
		return '-'
	}
	return lower(c)
}

func kindOfForwarded(folded []byte) kind {
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
	case "x-real-ip":
		return kindRealIP
	case "forwarded":
		return kindForwarded
	case "x-request-id":
		return kindRequestID
	case "x-client-cert-subject":
		return kindClientCert
	case "x-sluice-hops":
		return kindHops
	default:
		return kindOther
	}
}
