package upgrade

import "strings"

// Subprotocols that are credentials: browsers can set no other field of a WebSocket request.

// ProtocolWith returns what follows prefix in the first subprotocol that begins with it; nil if there is none.
func (r *Request) ProtocolWith(prefix string) []byte {
	for i := range r.all() {
		if r.fields[i].kind != kindProtocol {
			continue
		}
		element, rest := cutElement(r.fields[i].value.of(r.head))
		for ; len(element) > 0; element, rest = cutElement(rest) {
			if len(element) > len(prefix) && string(element[:len(prefix)]) == prefix {
				return element[len(prefix):]
			}
		}
	}
	return nil
}

// HideProtocols makes the request one that offers no subprotocol which begins with one of the prefixes: the backend doesn't get those, and must
// not choose one. A request that is not for WebSocket then offers none at all.
func (r *Request) HideProtocols(prefixes []string) { r.hiddenProtocols = prefixes }

func (r *Request) isHidden(protocol []byte) bool {
	for _, prefix := range r.hiddenProtocols {
		if strings.HasPrefix(string(protocol), prefix) {
			return true
		}
	}
	return false
}

// appendProtocols writes the subprotocols that are not hidden, if some may be.
func (r *Request) appendProtocols(b []byte, f *Forward) []byte {
	const name = "Sec-WebSocket-Protocol"
	if len(r.hiddenProtocols) == 0 || replaces(f.SetHeaders, f.RemoveHeaders, name) {
		return b
	}
	separator := name + ": "
	for i := range r.all() {
		if r.fields[i].kind != kindProtocol {
			continue
		}
		element, rest := cutElement(r.fields[i].value.of(r.head))
		for ; len(element) > 0; element, rest = cutElement(rest) {
			if !r.isHidden(element) {
				b = append(append(b, separator...), element...)
				separator = ", "
			}
		}
	}
	if separator == ", " {
		b = append(b, "\r\n"...)
	}
	return b
}

// IsToken reports whether text is a token of RFC 9110 section 5.6.2.
func IsToken(text string) bool { return isAll(text, tokenOctet) }
