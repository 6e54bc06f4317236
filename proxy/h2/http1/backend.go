package http1

import (
	"bytes"
	"strconv"
	"strings"

	"sluice/proxy/h2"
	"sluice/upgrade"
)

// ConnectFields appends the fields of an extended CONNECT (RFC 8441) for a request for WebSocket in HTTP/1.1, whose head is the slices of
// lines that package upgrade has written. The scheme is that of the connection: "http" or "https".
func ConnectFields(dst []h2.Field, lines [][]byte, scheme string) ([]h2.Field, error) {
	var h head
	target := ""
	if h.parse(bytes.Join(lines, nil)) {
		target = targetOf(h.first)
	}
	authority := h.value("host")
	if target == "" || authority == "" {
		return dst, malformed("not the head of a request of HTTP/1.1")
	}
	dst = append(dst,
		h2.Field{Name: ":method", Value: "CONNECT"},
		h2.Field{Name: ":protocol", Value: webSocket},
		h2.Field{Name: ":scheme", Value: scheme},
		h2.Field{Name: ":path", Value: target},
		h2.Field{Name: ":authority", Value: authority})
	for _, f := range h.fields {
		switch f.Name {
		case "host", "te", "http2-settings", "content-length", "sec-websocket-key", "sec-websocket-accept":
		default:
			dst = append(dst, f)
		}
	}
	return dst, nil
}

// targetOf returns the target of the first line of a GET, "" if it is none.
func targetOf(line string) string {
	target, isGet := strings.CutPrefix(line, "GET ")
	target, isHTTP := strings.CutSuffix(target, " HTTP/1.1")
	if !isGet || !isHTTP || !isTarget(target) {
		return ""
	}
	return target
}

// SwitchFields appends the fields of the response to an extended CONNECT for a 101, whose head is the slices of lines that package upgrade has
// written for a client. RFC 8441 section 5: a 200, without the fields that show that HTTP/1.1 has switched.
func SwitchFields(dst []h2.Field, lines [][]byte) ([]h2.Field, error) {
	var h head
	if !h.parse(bytes.Join(lines, nil)) || parseStatus(h.first) != 101 {
		return dst, badAnswer("not the head of a 101")
	}
	return h.appendSwitch(dst), nil
}

func (h *head) appendSwitch(dst []h2.Field) []h2.Field {
	dst = append(dst, h2.Field{Name: ":status", Value: "200"})
	for _, f := range h.fields {
		switch f.Name {
		case "sec-websocket-accept", "content-length", "http2-settings":
		default:
			dst = append(dst, f)
		}
	}
	return dst
}

// AppendAnswer appends the head of HTTP/1.1 for a backend's response to an extended CONNECT, and returns dst. isEnd means that the stream has
// ended with the head. A 2xx becomes a 101 that accepts the key of the request; others stay as they are, interim ones too, and AnswerBody
// frames their body. The error is a *upgrade.Rejection that equals upgrade.ErrBadAnswer.
func AppendAnswer(dst []byte, response *h2.Head, isEnd bool, key []byte) ([]byte, error) {
	status := response.Status
	isSwitch := isSuccess(status)
	if status < 100 || status > 599 || status == 101 { // RFC 9113 section 8.6: HTTP/2 has no 101
		return dst, badAnswer("its status is not a number from 100 to 599, or is 101")
	}
	if isSwitch {
		status = 101
	}
	b := append(dst, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, " \r\n"...)
	for _, f := range response.Fields {
		switch {
		case !isToken(f.Name) || !isValue(f.Value):
			return dst, badAnswer("a field is malformed")
		case isConnectionSpecific(f.Name):
			return dst, badAnswer("a connection-specific field")
		case isSwitch && (f.Name == "sec-websocket-accept" || f.Name == "content-length"):
			// RFC 9110 section 9.3.6: "A client MUST ignore any Content-Length or Transfer-Encoding header fields received in a successful
			// response to CONNECT."
		default:
			b = appendLine(b, f.Name, f.Value)
		}
	}
	switch body := AnswerBody(response, isEnd); {
	case isSwitch:
		accept := upgrade.Accept(key)
		b = append(b, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "...)
		b = append(b, accept[:]...)
		b = append(b, "\r\n"...)
	case body.framing == chunkedBody:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case isEnd && hasBody(status) && lengthOf(response.Fields) == "":
		b = append(b, "Content-Length: 0\r\n"...)
	}
	return append(b, "\r\n"...), nil
}

// isSuccess reports whether a response accepts a CONNECT.
func isSuccess(status int) bool { return status >= 200 && status < 300 }

// hasBody reports whether a response of that status to anything but HEAD may have a body: RFC 9110 section 6.4.1.
func hasBody(status int) bool { return status >= 200 && status != 204 && status != 304 }

// lengthOf returns the value of Content-Length, "" if there is none.
func lengthOf(fields []h2.Field) string {
	for _, f := range fields {
		if f.Name == "content-length" {
			return f.Value
		}
	}
	return ""
}

func badAnswer(text string) error {
	return &upgrade.Rejection{Status: upgrade.ErrBadAnswer.Status, Reason: upgrade.ErrBadAnswer.Reason, Text: "the backend's answer was refused: " + text}
}
