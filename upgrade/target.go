package upgrade

import (
	"bytes"
	"net/netip"
	"strings"
)

// target is the request's target, RFC 9112 section 3.2.
type target struct {
	whole     span
	authority span   // of the absolute form, else empty
	port      string // the default one of the absolute form's scheme
	path      span   // empty in "http://host?query"
	query     span   // without the "?"

	hasEncodedSlash bool // %2f or %5c in the path
	hasParameters   bool // ";" in the path, in any spelling
	isPlain         bool // the path has nothing to decode and no empty segment
}

// parseTarget parses an origin-form or an absolute-form, whose authority is
// compared with Host later. The other forms (authority-form, asterisk-form) are
// not for a gateway. Of a refused target it returns only the whole, for the log.
func parseTarget(head []byte, whole span) (target, *Rejection) {
	t := target{whole: whole, path: whole, query: span{whole.end, whole.end}}
	p := whole.of(head)
	if !isAll(p, targetOctet) {
		return target{whole: whole}, ErrBadTarget
	}
	if p[0] != '/' {
		n, port := parseScheme(p)
		if n == 0 {
			return target{whole: whole}, ErrBadTarget
		}
		t.port = port
		t.authority = span{whole.start + uint16(n), whole.end}
		if m := bytes.IndexAny(p[n:], "/?"); m >= 0 {
			t.authority.end = t.authority.start + uint16(m)
		}
		t.path.start = t.authority.end
	}
	if n := bytes.IndexByte(t.path.of(head), '?'); n >= 0 {
		t.path.end = t.path.start + uint16(n)
		t.query.start = t.path.end + 1
	}
	if rej := t.checkPath(t.path.of(head)); rej != nil {
		return target{whole: whole}, rej
	}
	return t, nil
}

// parseScheme returns the length of the scheme and its "//", and its default port. The length is 0 if p is not a URL of HTTP or WebSocket.
func parseScheme(p []byte) (n int, port string) {
	for _, scheme := range [...]struct{ prefix, port string }{{"http://", "80"}, {"https://", "443"}, {"ws://", "80"}, {"wss://", "443"}} {
		if n := len(scheme.prefix); len(p) >= n && equalFold(p[:n], scheme.prefix) {
			return n, scheme.port
		}
	}
	return 0, ""
}

// isFor reports whether the target is in origin-form, or its authority equals host, the value of Host. A default port may be written in
// one of the two only, RFC 9110 section 4.2.3.
func (t *target) isFor(head, host []byte) bool {
	return t.authority == (span{}) || equalFold(trimPort(t.authority.of(head), t.port), trimPort(host, t.port))
}

// trimPort returns host without a port that is empty or equals port.
func trimPort(host []byte, port string) []byte {
	n := bytes.LastIndexByte(host, ':')
	if n < 0 || len(host) > n+1 && string(host[n+1:]) != port {
		return host
	}
	return host[:n]
}

// checkPath refuses a path that a backend could treat as one of another route: one
// with dot segments in any spelling, with a backslash, which some treat as a
// slash, or with a NUL, where some end it. It records an encoded slash, about
// which the route decides.
func (t *target) checkPath(path []byte) *Rejection {
	var s segment
	t.isPlain = true
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch c {
		case '\\':
			return ErrBadTarget
		case '/':
			if i > 0 && path[i-1] == '/' {
				t.isPlain = false
			}
		case '%':
			if i+2 >= len(path) || octets[path[i+1]]&hexOctet == 0 || octets[path[i+2]]&hexOctet == 0 {
				return ErrBadTarget
			}
			c = unhex(path[i+1])<<4 | unhex(path[i+2])
			i += 2
			switch c {
			case 0:
				return ErrBadTarget
			case '/', '\\':
				t.hasEncodedSlash = true
			default:
				t.isPlain = false
			}
		}
		if c == ';' {
			t.hasParameters = true
		}
		if isDots := s.next(c); isDots {
			return ErrDotSegment
		}
	}
	if isDots := s.next('/'); isDots {
		return ErrDotSegment
	}
	return nil
}

// segment finds segments of one or two dots in a decoded path. An encoded slash
// ends a segment, and so does ";", since some backends remove parameters before
// they resolve dots.
type segment struct {
	dots       int
	hasOthers  bool
	parameters bool // after ";"
}

// next takes an octet and reports whether it ended a dot segment.
func (s *segment) next(c byte) (isDots bool) {
	switch {
	case c == '/' || c == '\\':
		isDots = !s.hasOthers && (s.dots == 1 || s.dots == 2)
		*s = segment{}
	case s.parameters:
	case c == ';':
		s.parameters = true
	case c == '.':
		s.dots++
	default:
		s.hasOthers = true
	}
	return isDots
}

// appendPath appends the path that routes match: decoded except for %2f and %5c,
// which would make segments that the client did not write, and with each run of
// slashes as one.
func appendPath(dst, path []byte) []byte {
	for i := 0; i < len(path); {
		c, n := pathOctet(path[i:])
		switch {
		case n == 3 && (c == '/' || c == '\\'):
			dst = append(dst, path[i:i+3]...)
		case c == '/' && len(dst) > 0 && dst[len(dst)-1] == '/':
		default:
			dst = append(dst, c)
		}
		i += n
	}
	return dst
}

// A reading is how a backend may read a path otherwise than routes do.
type reading struct {
	decodesSlashes  bool // an encoded slash or backslash is a slash
	drops           bool // of each segment what begins with ";"
	dropsAfterwards bool // and that when the slashes are decoded already
}

// readings are all of them.
var readings = [...]reading{{decodesSlashes: true}, {drops: true}, {true, true, false}, {true, true, true}}

// append appends the path as it is read then, with each run of slashes as one.
func (how reading) append(dst, path []byte) []byte {
	isDropped := false
	for i := 0; i < len(path); {
		c, n := pathOctet(path[i:])
		isEncoded := n == 3 && (c == '/' || c == '\\')
		isSlash := c == '/' && n == 1 || isEncoded && how.decodesSlashes
		if isSlash && (!isEncoded || how.dropsAfterwards) {
			isDropped = false
		}
		if c == ';' && how.drops {
			isDropped = true
		}
		switch {
		case isDropped:
		case isSlash:
			if len(dst) == 0 || dst[len(dst)-1] != '/' {
				dst = append(dst, '/')
			}
		case isEncoded:
			dst = append(dst, path[i:i+3]...)
		default:
			dst = append(dst, c)
		}
		i += n
	}
	return dst
}

// BehindPrefix returns the rest of path after the part that Request.Path has as
// its first length octets, whole segments. A run of slashes at the start of the
// rest becomes one, since "//" there could be read as an authority.
func BehindPrefix(path []byte, length int) []byte { return oneSlash(path[rawOffset(path, length):]) }

// RawPart returns the part of the path as sent that Request.Path has as the octets from start to end. Before and behind it, slashes of a run
// stay with the first one.
func (r *Request) RawPart(start, end int) []byte {
	path := r.RawPath()
	return path[rawOffset(path, start):rawOffset(path, end)]
}

// rawOffset returns where in path is what Request.Path has at offset decoded, or the end of path.
func rawOffset(path []byte, decoded int) int {
	made, last := 0, byte(0)
	for i := 0; i < len(path); {
		c, n := pathOctet(path[i:])
		switch {
		case n == 3 && (c == '/' || c == '\\'): // stays encoded
			if decoded < made+n {
				return i + decoded - made
			}
			made += n
			c = 0
		case c == '/' && last == '/':
		case made == decoded:
			return i
		default:
			made++
		}
		last = c
		i += n
	}
	return len(path)
}

// oneSlash returns path with a run of slashes at its start as one.
func oneSlash(path []byte) []byte {
	for len(path) > 1 && path[0] == '/' && path[1] == '/' {
		path = path[1:]
	}
	return path
}

// CheckPath returns how a request for a path would be refused, and nil if it wouldn't.
func CheckPath(path string) *Rejection {
	var t target
	if !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.Contains(path, "?") || !isAll(path, targetOctet) {
		return ErrBadTarget
	}
	return t.checkPath([]byte(path))
}

// CheckHost returns how a request with that value of Host would be refused, and nil if it wouldn't.
func CheckHost(value string) *Rejection {
	if len(value) > MaxHeadBytes {
		return ErrBadHost
	}
	_, rejection := parseHost([]byte(value), span{0, uint16(len(value))})
	return rejection
}

// pathOctet returns the first octet of a checked path, decoded, and its encoded
// length.
func pathOctet(path []byte) (c byte, n int) {
	if path[0] == '%' {
		return unhex(path[1])<<4 | unhex(path[2]), 3
	}
	return path[0], 1
}

// parseHost checks the value of Host and returns its name: without the port and
// a trailing dot, an IPv6 address without its brackets.
//
//	Host = uri-host [ ":" port ]
//
// RFC 3986 allows more octets in a uri-host, but no name that resolves has them.
func parseHost(head []byte, value span) (name span, _ *Rejection) {
	const maxName, maxPort = 255, 5
	p := value.of(head)
	var n int
	if len(p) > 0 && p[0] == '[' {
		end := bytes.IndexByte(p, ']')
		if end < 0 || !isIPv6(p[1:end]) {
			return span{}, ErrBadHost
		}
		name = span{value.start + 1, value.start + uint16(end)}
		n = end + 1
	} else {
		n = spanOf(p, hostOctet)
		name = span{value.start, value.start + uint16(n)}
		if n > 0 && p[n-1] == '.' {
			name.end--
		}
		if trimmed := name.of(head); len(trimmed) == 0 || trimmed[0] == '.' || bytes.Contains(p[:n], []byte("..")) {
			return span{}, ErrBadHost
		}
	}
	port := p[n:]
	if name.end-name.start > maxName || len(port) > 0 && (port[0] != ':' || len(port) > 1+maxPort ||
		spanOf(port[1:], digitOctet) != len(port)-1) {
		return span{}, ErrBadHost
	}
	return name, nil
}

func isIPv6(p []byte) bool {
	addr, err := netip.ParseAddr(string(p))
	return err == nil && addr.Is6() && addr.Zone() == ""
}
