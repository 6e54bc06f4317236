package http1

import (
	"errors"
	"fmt"
	"strings"

	"sluice/proxy/h2"
	"sluice/upgrade"
)

// ErrMalformed means that a client's head is malformed (RFC 9113 section 8.1.1): its stream is reset with PROTOCOL_ERROR.
var ErrMalformed = errors.New("malformed request")

func malformed(text string) error { return fmt.Errorf("%w: %s", ErrMalformed, text) }

// ErrProtocol refuses an extended CONNECT for another protocol. RFC 9220 section 3: "If a server receives an Extended CONNECT request with a
// :protocol value that is unknown or is not supported, the server SHOULD respond to the request with a 501 (Not Implemented) status code".
var ErrProtocol = &upgrade.Rejection{Status: 501, Reason: "connect_protocol", Text: "the only :protocol is websocket"}

const webSocket = "websocket" // the :protocol of RFC 8441

// IsWebSocket reports whether a client's head asks for WebSocket (RFC 8441 section 5).
func IsWebSocket(head *h2.Head) bool { return head.Method == "CONNECT" && head.Protocol == webSocket }

// AppendRequest appends the head of HTTP/1.1 that says the same as a client's head of HTTP/2, and returns dst. isEnd means that the stream
// has ended with the head. A request for WebSocket becomes one of RFC 6455 with that key, of 24 octets.
//
// The error is a *upgrade.Rejection if the client gets an answer, and wraps ErrMalformed otherwise. What only package upgrade can judge, such
// as the path and Host, passes.
func AppendRequest(dst []byte, head *h2.Head, isEnd bool, key []byte) ([]byte, error) {
	if head.Protocol != "" && !IsWebSocket(head) {
		return dst, ErrProtocol
	}
	host, err := hostOf(head)
	if err != nil {
		return dst, err
	}
	b, err := appendRequestLine(dst, head)
	if err != nil {
		return dst, err
	}
	if host != "" {
		b = appendLine(b, "Host", host)
	}
	hasVersion, hasLength, hasCookie := false, false, false
	for i, f := range head.Fields {
		if err := checkField(f); err != nil {
			return dst, err
		}
		switch f.Name {
		case "host", "te":
			continue
		case "cookie":
			if !hasCookie {
				b = appendCookies(b, head.Fields[i:])
			}
			hasCookie = true
			continue
		case "content-length":
			hasLength = true
		case "sec-websocket-version":
			hasVersion = true
		case "sec-websocket-key", "sec-websocket-accept":
			// RFC 8441 section 5 has no use for them; HAProxy 2.6 sends the key of its client.
			if IsWebSocket(head) {
				continue
			}
		}
		b = appendLine(b, f.Name, f.Value)
	}
	switch {
	case IsWebSocket(head):
		b = append(b, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: "...)
		b = append(b, key...)
		b = append(b, "\r\n"...)
		if !hasVersion {
			b = append(b, "Sec-WebSocket-Version: 13\r\n"...)
		}
	case !isEnd && !hasLength:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	b = append(b, "\r\n"...)
	if len(b)-len(dst) > upgrade.MaxHeadBytes {
		return dst, upgrade.ErrHeadTooLarge
	}
	return b, nil
}

// hostOf returns the value for Host. RFC 9113 section 8.3.1: "A server SHOULD treat a request as malformed if it contains a Host header field
// that identifies an entity that differs from the entity in the ":authority" pseudo-header field."
func hostOf(head *h2.Head) (host string, err error) {
	count := 0
	for _, f := range head.Fields {
		if f.Name == "host" {
			host = f.Value
			count++
		}
	}
	switch {
	case count > 1:
		return "", malformed("host twice")
	case head.Authority == "":
		return host, nil
	case count > 0 && !strings.EqualFold(host, head.Authority):
		return "", malformed("host differs from :authority")
	case !isValue(head.Authority):
		return "", malformed(":authority has a control byte")
	default:
		return head.Authority, nil
	}
}

func appendRequestLine(b []byte, head *h2.Head) ([]byte, error) {
	method, target := head.Method, head.Path
	switch {
	case IsWebSocket(head):
		method = "GET"
	case method == "CONNECT":
		target = head.Authority // RFC 9112 section 3.2.3
	}
	switch {
	case !isToken(method):
		return nil, malformed(":method is not a token")
	case !isTarget(target):
		return nil, malformed(":path is empty or has a space or a control byte")
	case method != "CONNECT" && target[0] != '/' && (method != "OPTIONS" || target != "*"):
		// RFC 9113 section 8.3.1 has no absolute form.
		return nil, malformed(":path does not begin with a slash")
	}
	b = append(b, method...)
	b = append(b, ' ')
	b = append(b, target...)
	return append(b, " HTTP/1.1\r\n"...), nil
}

// checkField returns an error if a field of a request would change what the other lines say. RFC 9113 section 8.2.2: "Any message containing
// connection-specific header fields MUST be treated as malformed".
func checkField(f h2.Field) error {
	switch {
	case !isToken(f.Name) || hasUpper(f.Name):
		return malformed("the name of a field is not a token in lower case")
	case !isValue(f.Value):
		return malformed("a value has CR, LF or NUL")
	case isConnectionSpecific(f.Name):
		return malformed("a connection-specific field")
	case f.Name == "te" && !strings.EqualFold(f.Value, "trailers"):
		return malformed("te is not trailers")
	default:
		return nil
	}
}

// appendCookies writes the cookies of all fields as one. RFC 9113 section 8.2.3: "If there are multiple Cookie header fields after
// decompression, these MUST be concatenated into a single octet string using the two-octet delimiter of 0x3b, 0x20".
func appendCookies(b []byte, fields []h2.Field) []byte {
	separator := "cookie: "
	for _, f := range fields {
		if f.Name == "cookie" {
			b = append(b, separator...)
			b = append(b, f.Value...)
			separator = "; "
		}
	}
	return append(b, "\r\n"...)
}
