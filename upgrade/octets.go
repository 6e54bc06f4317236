package upgrade

import (
	"strings"

	"github.com/gobwas/httphead"
)

// Classes of octets.
const (
	tokenOctet  uint8 = 1 << iota // RFC 9110 section 5.6.2: tchar
	valueOctet                    // RFC 9110 section 5.5: HTAB, SP, VCHAR and obs-text
	targetOctet                   // VCHAR without '#' (a fragment is never sent, RFC 9112 section 3.2), and raw UTF-8, which many clients send
	hostOctet                     // octets of a DNS name or an IPv4 address, and '_'
	digitOctet
	alnumOctet // a letter or a digit
	hexOctet
	urlOctet // RFC 3986 section 2: unreserved, sub-delims, ":", "@", "/", "?" and "%"; what a path or query may have
)

// octets holds the classes of each octet. Immutable.
var octets = classify()

func classify() (table [256]uint8) {
	for i := range table {
		c := byte(i)
		isDigit := '0' <= c && c <= '9'
		isLetter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if httphead.OctetTypes[c].IsToken() {
			table[c] |= tokenOctet
		}
		if c == '\t' || c >= ' ' && c != 0x7f {
			table[c] |= valueOctet
		}
		if c >= '!' && c != 0x7f && c != '#' {
			table[c] |= targetOctet
		}
		if isDigit || isLetter || c == '-' || c == '.' || c == '_' {
			table[c] |= hostOctet
		}
		if isDigit {
			table[c] |= digitOctet
		}
		if isDigit || isLetter {
			table[c] |= alnumOctet
		}
		if isDigit || 'a' <= c|0x20 && c|0x20 <= 'f' {
			table[c] |= hexOctet
		}
		if isDigit || isLetter || strings.IndexByte("-._~!$&'()*+,;=:@/?%", c) >= 0 {
			table[c] |= urlOctet
		}
	}
	return table
}

// spanOf returns how many leading octets of p are of class.
func spanOf[T []byte | string](p T, class uint8) int {
	for i := 0; i < len(p); i++ {
		if octets[p[i]]&class == 0 {
			return i
		}
	}
	return len(p)
}

// isAll reports whether p is not empty and all of class.
func isAll[T []byte | string](p T, class uint8) bool {
	return len(p) > 0 && spanOf(p, class) == len(p)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// equalFold reports whether a and b are equal without regard to ASCII case. Names
// of fields, tokens and hosts have no other case: Unicode folding would treat
// U+212A as a "k".
func equalFold[A, B []byte | string](a A, b B) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// unhex returns the value of a hexOctet.
func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

func trimSpace(p []byte) []byte {
	for len(p) > 0 && isSpace(p[0]) {
		p = p[1:]
	}
	for len(p) > 0 && isSpace(p[len(p)-1]) {
		p = p[:len(p)-1]
	}
	return p
}

// isSpace reports whether c is an octet of OWS, RFC 9110 section 5.6.3.
func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// IsURLOctet reports whether an octet may stand in the path or the query of a URL.
func IsURLOctet(c byte) bool { return octets[c]&urlOctet != 0 }

// AppendURL appends text with all octets in percent-encoding that the path or the query of a URL may not have. A triplet of a percent-encoding
// stays as it is.
func AppendURL[T []byte | string](b []byte, text T) []byte {
	for i := 0; i < len(text); i++ {
		c := text[i]
		isTriplet := c == '%' && i+2 < len(text) && octets[text[i+1]]&octets[text[i+2]]&hexOctet != 0
		if IsURLOctet(c) && (c != '%' || isTriplet) {
			b = append(b, c)
		} else {
			b = appendEncoded(b, c)
		}
	}
	return b
}

// AppendURLComponent appends text with all octets in percent-encoding that aren't unreserved (RFC 3986 section 2.3): whatever it is, it is one
// part of a URL.
func AppendURLComponent(b []byte, text []byte) []byte {
	for _, c := range text {
		if octets[c]&alnumOctet != 0 || strings.IndexByte("-._~", c) >= 0 {
			b = append(b, c)
		} else {
			b = appendEncoded(b, c)
		}
	}
	return b
}

func appendEncoded(b []byte, c byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(b, '%', digits[c>>4], digits[c&0xf])
}

// Printable replaces the octets by "?" that the value of a field can't hold, so that no value can end its line.
func Printable(value []byte) []byte {
	for i, c := range value {
		if octets[c]&valueOctet == 0 {
			value[i] = '?'
		}
	}
	return value
}
