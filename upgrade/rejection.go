package upgrade

import "strconv"

// Field is one header field line that the gateway adds.
type Field struct{ Name, Value string }

// Rejection is an error that is also the answer that the client gets instead of a
// session. Immutable; the ones below are shared.
type Rejection struct {
	Status int
	Reason string  // the label of metrics and logs
	Text   string  // the body
	Header []Field // beyond Content-Length and Connection, and Content-Type of a Line
	Form   Form
}

// A Form is how the Text of a Rejection is sent.
type Form uint8

const (
	Line       Form = iota // one line of text/plain, to which the LF is added
	Whole                  // as it stands: the answer of a route that answers by itself
	LengthOnly             // a Whole in answer to HEAD: only its length is sent
)

// HasBody reports whether an answer of that status may have a body: RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5.
func HasBody(status int) bool { return status != 204 && status != 205 && status != 304 }

func (rej *Rejection) Error() string {
	return strconv.Itoa(rej.Status) + " " + rej.Reason + ": " + rej.Text
}

// Is reports whether target is a Rejection with the same status and reason, so
// that errors.Is matches the ones below in spite of With and of another text.
func (rej *Rejection) Is(target error) bool {
	other, ok := target.(*Rejection)
	return ok && other.Status == rej.Status && other.Reason == rej.Reason
}

// With returns a copy of rej with more header fields.
func (rej *Rejection) With(fields ...Field) *Rejection {
	other := *rej
	other.Header = append(append([]Field(nil), rej.Header...), fields...)
	return &other
}

// RetryAfter returns a copy of rej that asks the client to wait.
func (rej *Rejection) RetryAfter(seconds int) *Rejection {
	return rej.With(Field{"Retry-After", strconv.Itoa(seconds)})
}

// Faults of a head's lines: RFC 9112 sections 2.2 and 5.
var (
	ErrHeadTooLarge     = badRequest("head_too_large", "the request's head is longer than 16 KiB")
	ErrTooManyLines     = badRequest("too_many_lines", "the request's head has more than 100 lines")
	ErrBareLF           = badRequest("bare_lf", "a line ends with LF alone")
	ErrBareCR           = badRequest("bare_cr", "a line has a CR that no LF follows")
	ErrControlByte      = badRequest("control_byte", "a line has a control byte")
	ErrFold             = badRequest("folded_line", "a header line begins with white space")
	ErrSpaceBeforeColon = badRequest("space_before_colon", "a header line has white space before its colon")
	ErrBadFieldName     = badRequest("bad_field_name", "the name of a header line is not a token")
)

// Faults of any request.
var (
	ErrBadRequestLine  = badRequest("bad_request_line", "the first line is not METHOD TARGET HTTP/1.1")
	ErrBadVersion      = badRequest("bad_http_version", "the protocol is neither HTTP/1.1 nor HTTP/1.0")
	ErrBadTarget       = badRequest("bad_target", "the target is neither a path nor a URL of this host")
	ErrDotSegment      = badRequest("dot_segment", "the path has a segment of dots")
	ErrEncodedSlash    = badRequest("encoded_slash", "the path has a slash or backslash in percent-encoding, which could lead elsewhere")
	ErrPathParameter   = badRequest("path_parameter", "the path has a parameter, without which it would lead elsewhere")
	ErrMatchCost       = badRequest("match_cost", "the request is too long for the regular expressions of the routes")
	ErrNoHost          = badRequest("no_host", "the request has no Host")
	ErrBadHost         = badRequest("bad_host", "Host is not a name or an address with a port or without")
	ErrDuplicate       = badRequest("duplicate_field", "a header field that may occur once occurs twice")
	ErrBadConnection   = badRequest("bad_connection", "Connection is not a short list of tokens")
	ErrNominated       = badRequest("nominated_field", "Connection names a header field that must not be removed")
	ErrBadLength       = badRequest("bad_content_length", "Content-Length is not one decimal number")
	ErrBadCoding       = badRequest("bad_transfer_encoding", "Transfer-Encoding is not only chunked, or not in HTTP/1.1")
	ErrLengthAndCoding = badRequest("length_and_coding", "the request has Content-Length and Transfer-Encoding")
)

// Faults of a WebSocket request: RFC 6455 section 4.2.1.
var (
	ErrNotWebSocket = refusal(426, "not_websocket", "this address speaks WebSocket only", upgradeFields...)
	ErrBadMethod    = refusal(405, "bad_method", "a WebSocket request is a GET", Field{"Allow", "GET"})
	ErrOldHTTP      = badRequest("old_http", "a WebSocket request needs HTTP/1.1")
	ErrBadUpgrade   = badRequest("bad_upgrade", "Upgrade is not a list of protocols")
	ErrNoUpgrade    = badRequest("no_connection_upgrade", "Connection does not name Upgrade")
	ErrBody         = badRequest("body", "a WebSocket request has no body: no Content-Length but 0, no Transfer-Encoding")
	ErrExpect       = badRequest("expect", "a WebSocket request has no Expect")
	ErrNoVersion    = badRequest("no_version", "the request has no Sec-WebSocket-Version")
	ErrVersion      = refusal(426, "bad_version", "the only Sec-WebSocket-Version is 13", upgradeFields...)
	ErrBadKey       = badRequest("bad_key", "Sec-WebSocket-Key is not 16 bytes in base64")
	ErrBadProtocol  = badRequest("bad_protocol", "Sec-WebSocket-Protocol is not a list of tokens")
	ErrBadExtension = badRequest("bad_extensions", "Sec-WebSocket-Extensions is not a list of extensions")
)

// Refusals for reasons of the gateway or of a backend.
var (
	ErrPlainHTTP      = badRequest("plain_http", "this address speaks TLS: use https or wss")
	ErrTLS            = badRequest("tls", "this address speaks no TLS: use http or ws")
	ErrRedirect       = refusal(308, "redirect_https", "use https")
	ErrOrigin         = refusal(403, "origin", "connections from this Origin are not allowed")
	ErrAddress        = refusal(403, "address", "clients of this address are not allowed here")
	ErrNoRoute        = refusal(404, "no_route", "nothing is served under this host and path")
	ErrHeadTimeout    = refusal(408, "head_timeout", "the request's head did not arrive in time")
	ErrRate           = refusal(429, "rate", "too many requests of this address in too short a time")
	ErrSessionsPerIP  = refusal(429, "sessions_per_ip", "this address has as many sessions as one may have")
	ErrDial           = refusal(502, "dial", "no backend could be reached")
	ErrBadAnswer      = refusal(502, "bad_answer", "the backend's answer can't be passed on")
	ErrNoConnect      = refusal(502, "bad_answer", "the backend does not offer WebSocket over HTTP/2 (SETTINGS_ENABLE_CONNECT_PROTOCOL)")
	ErrInternal       = refusal(502, "internal_error", "the gateway failed to handle this request")
	ErrNoBackend      = refusal(503, "no_backend", "no backend is available")
	ErrDescriptors    = refusal(503, "descriptors", "the gateway has no descriptors left")
	ErrPorts          = refusal(503, "ports", "the gateway has no ports left for connections to the backend")
	ErrMemory         = refusal(503, "memory", "the gateway's system has no memory left for connections")
	ErrDraining       = refusal(503, "draining", "the gateway is shutting down")
	ErrLoop           = refusal(508, "loop", "the request has passed too many gateways: one of them seems to be its own backend")
	ErrBackendTimeout = refusal(504, "backend_timeout", "no backend answered in time")
)

// Refusals for want of a place: of all of them, or of those that one address may have.
var (
	ErrConnections = refusal(503, "connections", "the gateway has as many connections as it may have")
	ErrHandshakes  = refusal(503, "handshakes", "the gateway has as many handshakes under way as it may have")
	ErrRequests    = refusal(503, "requests", "the gateway has as many plain requests under way as it may have")
	ErrSessions    = refusal(503, "sessions", "the gateway has as many sessions as it may have")
	ErrStreams     = refusal(503, "backend_streams", "the connections to the backend carry as many sessions as they may")
	ErrPoolFull    = refusal(503, "pool_full", "every backend has as many sessions as it may have")

	ErrConnectionsShare = refusal(503, "connections_share", "this address has its share of the gateway's connections")
	ErrHandshakesShare  = refusal(503, "handshakes_share", "this address has its share of the gateway's handshakes under way")
	ErrRequestsShare    = refusal(503, "requests_share", "this address has its share of the gateway's plain requests under way")
	ErrQueueShare       = refusal(503, "queue_share", "this address has its share of the pool's queue")
	ErrSessionsShare    = refusal(503, "sessions_share", "this address has its share of the gateway's sessions")
)

// upgradeFields are the fields of a 426. RFC 9110 section 15.5.22: "The server MUST
// send an Upgrade header field in a 426 response"; section 7.8 requires it to be
// in Connection; RFC 6455 section 4.4 requires the version.
var upgradeFields = []Field{{"Upgrade", "websocket"}, {"Connection", "Upgrade"}, {"Sec-WebSocket-Version", "13"}}

func refusal(status int, reason, text string, header ...Field) *Rejection {
	return &Rejection{Status: status, Reason: reason, Text: text, Header: header}
}

func badRequest(reason, text string) *Rejection { return refusal(400, reason, text) }

// badAnswer returns ErrBadAnswer with a text that states what is wrong.
func badAnswer(text string) *Rejection {
	return refusal(ErrBadAnswer.Status, ErrBadAnswer.Reason, "the backend's answer was refused: "+text)
}

// AppendRejection appends the whole response to dst. The caller closes the
// connection after it.
func AppendRejection(dst []byte, rej *Rejection) []byte {
	text, isLine := rej.Text, rej.Form == Line
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(rej.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, statusText(rej.Status)...)
	dst = append(dst, "\r\n"...)
	if isLine {
		dst = append(dst, "Content-Type: text/plain; charset=utf-8\r\n"...)
		text += "\n"
	}
	if rej.Status != 204 && rej.Status != 304 { // RFC 9110 section 8.6 forbids it on a 204; on a 304 it is the length of another answer
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, int64(len(text)), 10)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, "Connection: close\r\n"...)
	for _, f := range rej.Header {
		dst = appendField(dst, f.Name, f.Value)
	}
	dst = append(dst, "\r\n"...)
	if rej.Form == LengthOnly {
		return dst
	}
	return append(dst, text...)
}

// statusText returns the reason phrase of the statuses above, and of those that a
// route often answers with. RFC 9112 section 4 allows an empty one.
func statusText(status int) string {
	switch status {
	case 200:
		return "OK"
	case 202:
		return "Accepted"
	case 204:
		return "No Content"
	case 301:
		return "Moved Permanently"
	case 302:
		return "Found"
	case 303:
		return "See Other"
	case 304:
		return "Not Modified"
	case 307:
		return "Temporary Redirect"
	case 308:
		return "Permanent Redirect"
	case 400:
		return "Bad Request"
	case 401:
		return "Unauthorized"
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 405:
		return "Method Not Allowed"
	case 408:
		return "Request Timeout"
	case 410:
		return "Gone"
	case 426:
		return "Upgrade Required"
	case 429:
		return "Too Many Requests"
	case 500:
		return "Internal Server Error"
	case 501:
		return "Not Implemented"
	case 502:
		return "Bad Gateway"
	case 503:
		return "Service Unavailable"
	case 504:
		return "Gateway Timeout"
	case 508:
		return "Loop Detected"
	default:
		return ""
	}
}

// appendField appends a header line. Control bytes, which a certificate's subject
// may have, become "?".
func appendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	start := len(dst)
	dst = append(dst, value...)
	Printable(dst[start:])
	return append(dst, "\r\n"...)
}
