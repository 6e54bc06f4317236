package upgrade

// deflateName is the only extension that passes. Its case matters: RFC 7692
// registers it in lower case, and clients send it so.
const deflateName = "permessage-deflate"

// cutElement returns the first element of a comma-separated list, without the
// space around it, and the rest. Empty elements are skipped, RFC 9110 section
// 5.6.1.2; at the end of the list the element is empty. A comma in a quoted string
// does not separate.
func cutElement(list []byte) (element, rest []byte) {
	for len(list) > 0 && len(element) == 0 {
		n := elementLength(list)
		element = trimSpace(list[:n])
		list = list[min(n+1, len(list)):]
	}
	return element, list
}

// elementLength returns the length up to the comma. It ignores escapes: a quoted
// string in the lists here holds a token, which has no quote to escape.
func elementLength(list []byte) int {
	isQuoted := false
	for i := 0; i < len(list); i++ {
		switch list[i] {
		case '"':
			isQuoted = !isQuoted
		case ',':
			if !isQuoted {
				return i
			}
		}
	}
	return len(list)
}

// extensionName returns the name of one element of Sec-WebSocket-Extensions,
// RFC 6455 section 9.1, nil if the element is malformed:
//
//	extension       = extension-token *( ";" extension-param )
//	extension-param = token [ "=" (token | quoted-string) ]
func extensionName(element []byte) []byte {
	n := spanOf(element, tokenOctet)
	if n == 0 {
		return nil
	}
	name, rest := element[:n], trimSpace(element[n:])
	for len(rest) > 0 {
		if rest[0] != ';' {
			return nil
		}
		rest = trimSpace(rest[1:])
		n := parameterLength(rest)
		if n == 0 {
			return nil
		}
		rest = trimSpace(rest[n:])
	}
	return name
}

// parameterLength returns the length of the extension-param at the start of p, 0
// if there is none.
func parameterLength(p []byte) int {
	n := spanOf(p, tokenOctet)
	if n == 0 || n == len(p) || p[n] != '=' {
		return n
	}
	n++
	if n < len(p) && p[n] == '"' {
		m := quotedTokenLength(p[n:])
		if m == 0 {
			return 0
		}
		return n + m
	}
	m := spanOf(p[n:], tokenOctet)
	if m == 0 {
		return 0
	}
	return n + m
}

// quotedTokenLength returns the length of the quoted string at the start of p, 0
// if there is none that holds a token. RFC 6455 section 9.1: "When using the
// quoted-string syntax variant, the value after quoted-string unescaping MUST
// conform to the 'token' ABNF."
func quotedTokenLength(p []byte) int {
	octetCount := 0
	for i := 1; i < len(p); i++ {
		switch c := p[i]; {
		case c == '"':
			if octetCount == 0 {
				return 0
			}
			return i + 1
		case c == '\\' && i+1 < len(p) && octets[p[i+1]]&tokenOctet != 0:
			i++
			octetCount++
		case octets[c]&tokenOctet != 0:
			octetCount++
		default:
			return 0
		}
	}
	return 0
}

// connection reads the Connection lists of a head and marks the fields that they
// nominate. It reports whether they hold "upgrade".
func (s *scanner) connection(head []byte) (hasUpgrade bool, _ *Rejection) {
	count := 0
	for i := range s.all() {
		if s.fields[i].kind != kindConnection {
			continue
		}
		element, rest := cutElement(s.fields[i].value.of(head))
		for ; len(element) > 0; element, rest = cutElement(rest) {
			count++
			if count > maxNominated || !isAll(element, tokenOctet) {
				return false, ErrBadConnection
			}
			if equalFold(element, "upgrade") {
				hasUpgrade = true
				continue
			}
			if rej := s.nominate(head, element); rej != nil {
				return false, rej
			}
		}
	}
	return hasUpgrade, nil
}

func (s *scanner) nominate(head, name []byte) *Rejection {
	if isEndToEnd(name) {
		return ErrNominated
	}
	for i := range s.all() {
		if f := &s.fields[i]; equalFold(f.name.of(head), name) {
			f.isNominated = true
		}
	}
	return nil
}

// isEndToEnd reports whether a sender must not remove the field of that name at
// this hop, since the gateway or the backend decides by it.
func isEndToEnd(name []byte) bool {
	const handshake = "sec-websocket-"
	switch kindOf(name) {
	case kindHost, kindOrigin, kindCookie, kindContentLength, kindTransferEncoding:
		return true
	default:
		return equalFold(name, "authorization") ||
			len(name) >= len(handshake) && equalFold(name[:len(handshake)], handshake)
	}
}

// upgrade reads the Upgrade lists, RFC 9110 section 7.8: elements are a token or
// token "/" token. It reports whether one of them is "websocket", in any case,
// whether there are others, and whether all are well formed.
func (s *scanner) upgrade(head []byte) (hasWebSocket, hasOthers, isWellFormed bool) {
	isWellFormed = true
	for i := range s.all() {
		if s.fields[i].kind != kindUpgrade {
			continue
		}
		element, rest := cutElement(s.fields[i].value.of(head))
		for ; len(element) > 0; element, rest = cutElement(rest) {
			if equalFold(element, "websocket") && !hasWebSocket {
				hasWebSocket = true
				continue
			}
			hasOthers = true
			n := spanOf(element, tokenOctet)
			if n == 0 || n < len(element) && (element[n] != '/' || !isAll(element[n+1:], tokenOctet)) {
				isWellFormed = false
			}
		}
	}
	return hasWebSocket, hasOthers, isWellFormed
}
