package http1

import (
	"bytes"
	"strings"

	"sluice/proxy/h2"
)

// Classes of octets.
const (
	tokenOctet uint8 = 1 << iota // RFC 9110 section 5.6.2: tchar
	valueOctet                   // RFC 9113 section 8.2.1: not NUL, CR, LF
	targetOctet
)

// octets holds the classes of each octet. Immutable.
var octets = classify()

func classify() (table [256]uint8) {
	for i := range table {
		c := byte(i)
		if '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 {
			table[c] |= tokenOctet
		}
		if c != 0 && c != '\r' && c != '\n' {
			table[c] |= valueOctet
		}
		if c > ' ' && c != 0x7f {
			table[c] |= targetOctet
		}
	}
	return table
}

func isAll(s string, class uint8) bool {
	for i := 0; i < len(s); i++ {
		if octets[s[i]]&class == 0 {
			return false
		}
	}
	return true
}

func isToken(s string) bool  { return s != "" && isAll(s, tokenOctet) }
func isTarget(s string) bool { return s != "" && isAll(s, targetOctet) }
func isValue(s string) bool  { return isAll(s, valueOctet) }

func hasUpper(s string) bool {
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			return true
		}
	}
	return false
}

// isConnectionSpecific reports whether HTTP/2 has no field of that name, which is in lower case: RFC 9113 section 8.2.2.
func isConnectionSpecific(name string) bool {
	switch name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		return true
	default:
		return false
	}
}

func appendLine(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// A head is a head of HTTP/1.1 as strings: its first line, and its fields, names in lower case, without those that end at this hop.
type head struct {
	first  string
	fields []h2.Field

	isChunked bool
}

// parseHead parses a head of HTTP/1.1 up to and with its empty line. It overwrites p: the names are in lower case afterwards. It returns
// false if p is none, or could be read in two ways.
func (h *head) parse(p []byte) bool {
	p, isEnded := bytes.CutSuffix(p, []byte("\r\n\r\n"))
	if !isEnded {
		return false
	}
	lowerNames(p)
	first, rest, hasFields := strings.Cut(string(p), "\r\n")
	if h.first = first; !isValue(first) {
		return false
	}
	return !hasFields || h.parseFields(rest)
}

// lowerNames puts the names of all lines after the first into lower case.
func lowerNames(p []byte) {
	isName := false
	for i, c := range p {
		switch {
		case c == '\n':
			isName = true
		case c == ':':
			isName = false
		case isName && 'A' <= c && c <= 'Z':
			p[i] |= 0x20
		}
	}
}

// parseFields parses lines without the CRLF of the last one.
func (h *head) parseFields(lines string) bool {
	var nominated []string // by Connection
	for line := range strings.SplitSeq(lines, "\r\n") {
		name, value, isField := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !isField || !isToken(name) || !isValue(value) {
			return false
		}
		switch name {
		case "connection":
			for element := range strings.SplitSeq(value, ",") {
				nominated = append(nominated, strings.ToLower(strings.Trim(element, " \t")))
			}
		case "transfer-encoding":
			h.isChunked = true
		}
		if !isConnectionSpecific(name) {
			h.fields = append(h.fields, h2.Field{Name: name, Value: value})
		}
	}
	for _, name := range nominated {
		h.drop(name)
	}
	return true
}

// drop removes the fields of that name.
func (h *head) drop(name string) {
	kept := h.fields[:0]
	for _, f := range h.fields {
		if f.Name != name {
			kept = append(kept, f)
		}
	}
	h.fields = kept
}

// value returns the value of the first field of that name, "" if there is none.
func (h *head) value(name string) string {
	for _, f := range h.fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// parseStatus parses
//
//	status-line = HTTP-version SP status-code SP [ reason-phrase ]
//
// RFC 9112 section 4. It returns 0 if the line is none.
func parseStatus(line string) int {
	const code = len("HTTP/1.1 ")
	if len(line) < code+3 || line[:len("HTTP/1.")] != "HTTP/1." || line[code-1] != ' ' || len(line) > code+3 && line[code+3] != ' ' {
		return 0
	}
	status := 0
	for _, c := range []byte(line[code : code+3]) {
		if c < '0' || c > '9' {
			return 0
		}
		status = status*10 + int(c-'0')
	}
	if status < 100 {
		return 0
	}
	return status
}
