package h2

import (
	"strconv"
	"strings"
)

// A listKind is what a list of fields is.
type listKind uint8

const (
	nothing listKind = iota // of a stream that nothing is reported of
	request
	response
	trailers
)

// A pseudo is a set of pseudo-header fields.
type pseudo uint8

const (
	method pseudo = 1 << iota
	scheme
	authority
	path
	protocol
	status
)

// A list becomes a Head as its fields are decoded.
type list struct {
	head   Head
	size   int
	length int64 // of content-length; -1: missing

	cookies []string
	cookie  int // where the first of them is in head.Fields
	host    string

	of          listKind
	seen        pseudo
	hasHost     bool
	isMalformed bool
}

// add adds a field. It returns false if no further one is of interest.
func (l *list) add(name, value string) bool {
	// RFC 9113 section 6.5.2: "the uncompressed size of field lines, including the length of the name and value in units of octets plus an
	// overhead of 32 octets for each field line"
	size := len(name) + len(value) + 32
	if size > MaxFieldBytes-l.size {
		l.head.IsTooLarge = true
		return false
	}
	l.size += size
	isFine := isValue(value)
	if strings.HasPrefix(name, ":") {
		isFine = isFine && len(l.head.Fields) == 0 && !l.hasHost && l.addPseudo(name, value)
	} else {
		isFine = isFine && isName(name) && l.addField(name, value)
	}
	l.isMalformed = !isFine
	return isFine
}

func (l *list) addPseudo(name, value string) bool {
	var p pseudo
	isFine := true
	switch name {
	case ":method":
		p, l.head.Method, isFine = method, value, isToken(value)
	case ":scheme":
		p, l.head.Scheme, isFine = scheme, value, isToken(value)
	case ":authority":
		p, l.head.Authority, isFine = authority, value, isAuthority(value)
	case ":path":
		p, l.head.Path, isFine = path, value, isTarget(value)
	case ":protocol":
		p, l.head.Protocol, isFine = protocol, value, isToken(value)
	case ":status":
		p = status
		l.head.Status, _ = strconv.Atoi(value)
		// RFC 9113 section 8.6: "HTTP/2 removes support for the 101 (Switching Protocols) informational status code"
		isFine = len(value) == 3 && l.head.Status >= 100 && l.head.Status != 101
	}
	isRequest := p&(method|scheme|authority|path|protocol) != 0
	if l.seen&p != 0 || isRequest && l.of != request || p == status && l.of != response {
		return false
	}
	l.seen |= p
	return isFine && p != 0
}

func (l *list) addField(name, value string) bool {
	switch name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		return false // RFC 9113 section 8.2.2
	case "te":
		if value != "trailers" {
			return false
		}
	case "content-length":
		if l.of == trailers {
			break
		}
		n, err := strconv.ParseUint(value, 10, 63)
		if err != nil || l.length >= 0 {
			return false
		}
		l.length = int64(n)
	case "host":
		if l.of != request {
			break
		}
		isFine := !l.hasHost && isAuthority(value)
		l.host, l.hasHost = value, true
		return isFine
	case "cookie":
		if l.of != request {
			break
		}
		if l.cookies = append(l.cookies, value); len(l.cookies) > 1 {
			return true
		}
		l.cookie = len(l.head.Fields)
	}
	l.head.Fields = append(l.head.Fields, Field{name, value})
	return true
}

// finish checks the list as a whole.
func (l *list) finish(config *Config) {
	h := &l.head
	h.IsTrailer = l.of == trailers
	if len(l.cookies) > 1 {
		h.Fields[l.cookie].Value = strings.Join(l.cookies, "; ") // RFC 9113 section 8.2.3
	}
	if l.isMalformed || h.IsTooLarge {
		return
	}
	switch l.of {
	case request:
		l.isMalformed = !l.isRequest(config)
	case response:
		l.isMalformed = l.seen&status == 0
	}
}

// isRequest reports whether the list has the pseudo-header fields that its method asks for (RFC 9113 sections 8.3.1 and 8.5, RFC 8441 section 4).
func (l *list) isRequest(config *Config) bool {
	h := &l.head
	if l.hasHost {
		// RFC 9113 section 8.3.1: "A server SHOULD treat a request as malformed if it contains a Host header field that identifies an entity
		// that differs from the entity in the ":authority" pseudo-header field."
		if l.seen&authority != 0 && !strings.EqualFold(h.Authority, l.host) {
			return false
		}
		if l.seen&authority == 0 {
			h.Authority = l.host
		}
	}
	switch {
	case h.Method != "CONNECT":
		const want = method | scheme | path
		return l.seen&^authority == want && (h.Path[0] == '/' || h.Path == "*" && h.Method == "OPTIONS")
	case l.seen&protocol != 0:
		const want = method | scheme | path | protocol
		return config.Connect && l.seen&^authority == want && h.Path[0] == '/'
	default:
		return l.seen == method|authority
	}
}

// isName reports whether s is a name: a token in lower case (RFC 9113 section 8.2.1).
func isName(s string) bool {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			return false
		}
	}
	return isToken(s)
}

// isValue reports whether s may be a value (RFC 9113 section 8.2.1, RFC 9110 section 5.5): no space at either end, and no control character.
func isValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	isSpace := func(b byte) bool { return b == ' ' || b == '\t' }
	return s == "" || !isSpace(s[0]) && !isSpace(s[len(s)-1])
}

// isToken reports whether s is a token (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		b := s[i]
		isAlpha := b|0x20 >= 'a' && b|0x20 <= 'z'
		if !isAlpha && (b < '0' || b > '9') && !strings.Contains("!#$%&'*+-.^_`|~", s[i:i+1]) {
			return false
		}
	}
	return s != ""
}

// isTarget reports whether s has only what may stand in a request line.
func isTarget(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return s != ""
}

// isAuthority reports whether s may be an authority. RFC 9113 section 8.3.1: it "MUST NOT include the deprecated userinfo subcomponent".
func isAuthority(s string) bool {
	return isTarget(s) && !strings.ContainsAny(s, "@/?#")
}
