package upgrade

import (
	"fmt"
	"iter"
	"net/netip"
	"strconv"
	"strings"
)

// Forward describes how a request is changed on its way to a backend. The zero
// value adds only X-Forwarded-Host, and removes the fields that only a trusted
// peer may send.
type Forward struct {
	// The peer may set X-Forwarded-* and the other fields that only a trusted peer may: they pass,
	// Client is appended to its X-Forwarded-For, and what it has not set is set.
	Trusted     bool
	TrustedCert bool       // the peer may set ClientCertHeader as well
	Client      netip.Addr // of the peer, for X-Forwarded-For; the zero Addr (a Unix socket) adds none
	RealIP      netip.Addr // X-Real-IP: of the client itself, as far as it is known; the zero Addr adds none
	Proto       string     // X-Forwarded-Proto: "http" or "https"; "" adds none
	RequestID   string     // X-Request-Id; "" adds none

	ClientCert string // ClientCertHeader: the verified subject; "" adds none

	Host          string   // replaces the client's Host; "" keeps it
	Path          string   // replaces the whole path, in the form of CheckPath; "" keeps it
	StripPrefix   int      // bytes to remove from the start of Request.Path, whole segments
	PathPrefix    string   // is put before the rest of the path
	SetHeaders    []Field  // replace all fields of those names; checked by Field.Check
	RemoveHeaders []string // names of fields to remove; checked by CheckFieldName
}

// Check returns an error if f may not be added to a head.
func (f Field) Check() error {
	if spanOf(f.Value, valueOctet) != len(f.Value) {
		return fmt.Errorf("value of header field %s has a control byte", f.Name)
	}
	return CheckFieldName(f.Name)
}

// CheckFieldName returns an error if fields of that name may not be set or
// removed: the name is malformed, or the field belongs to the handshake.
func CheckFieldName(name string) error {
	if !isAll(name, tokenOctet) {
		return fmt.Errorf("header field name %q is not a token", name)
	}
	switch kindOf(name) {
	case kindHost, kindConnection, kindUpgrade, kindContentLength, kindTransferEncoding, kindExpect,
		kindKey, kindVersion, kindProtocol, kindExtensions, kindAccept, kindTrailer, kindHop:
		return fmt.Errorf("header field %s belongs to the handshake", name)
	case kindHops:
		return fmt.Errorf("header field %s counts gateways", name)
	default:
		return nil
	}
}

// AppendForward appends the head for a backend to dst, for net.Buffers: the lines
// as the client sent them, without those that end at this hop and those that f
// removes, followed by the gateway's. The slices point into the client's head and
// into r, and are valid until the next call of AppendForward or Reset.
// CheckUpgrade must have passed the request.
func (r *Request) AppendForward(dst [][]byte, f *Forward) [][]byte {
	r.scratch = r.scratch[:0]
	if r.isTargetChanged(f) {
		r.appendRequestLine(f)
	}
	split := len(r.scratch)
	r.appendOwnLines(f)
	line := r.head[r.first.start : r.first.end+2]
	if split > 0 {
		line = r.scratch[:split]
	}
	dst = append(dst, line)
	dst = r.appendKept(dst, f)
	return append(dst, r.scratch[split:])
}

func (r *Request) isTargetChanged(f *Forward) bool {
	return r.target.authority != (span{}) || f.StripPrefix > 0 || f.PathPrefix != "" || f.Path != ""
}

// appendRequestLine writes the first line with the path that f describes, in
// origin-form, RFC 9112 section 3.2.1.
func (r *Request) appendRequestLine(f *Forward) {
	b := append(r.scratch, "GET "...)
	b = r.AppendPath(b, f)
	b = append(b, r.head[r.target.path.end:r.target.whole.end]...)
	r.scratch = append(b, " HTTP/1.1\r\n"...)
}

// AppendPath appends the path that the backend gets, without the query. It begins with a slash.
func (r *Request) AppendPath(b []byte, f *Forward) []byte {
	if f.Path != "" {
		return append(b, f.Path...)
	}
	path, prefix := r.RawPath(), f.PathPrefix
	if f.StripPrefix > 0 {
		path = BehindPrefix(path, f.StripPrefix)
	}
	if len(path) > 0 {
		prefix = strings.TrimRight(prefix, "/")
	}
	b = append(b, prefix...)
	if len(path) > 0 && path[0] != '/' || len(path) == 0 && prefix == "" {
		b = append(b, '/')
	}
	return append(b, path...)
}

// appendKept appends the client's lines that pass, adjacent ones as one slice.
func (r *Request) appendKept(dst [][]byte, f *Forward) [][]byte {
	start, end := uint16(0), uint16(0)
	for i := range r.all() {
		if !r.isKept(&r.fields[i], f) {
			continue
		}
		if line := r.fields[i]; line.name.start == end {
			end = line.end
		} else {
			if end > 0 {
				dst = append(dst, r.head[start:end])
			}
			start, end = line.name.start, line.end
		}
	}
	if end > 0 {
		dst = append(dst, r.head[start:end])
	}
	return dst
}

func (r *Request) isKept(line *field, f *Forward) bool {
	if line.isNominated || !line.kind.isBelieved(f.Trusted, f.TrustedCert) {
		return false
	}
	switch line.kind {
	case kindConnection, kindUpgrade, kindHop, kindTrailer, kindHops, kindContentLength, kindTransferEncoding:
		return false
	case kindHost:
		return f.Host == ""
	case kindExtensions:
		return !r.hasOtherOffers
	case kindForwardedFor:
		if f.Client.IsValid() {
			return false // the gateway's line repeats that of a trusted peer
		}
	case kindClientCert:
		if f.ClientCert != "" {
			return false
		}
	case kindKey, kindVersion:
		return true
	}
	return !replaces(f.SetHeaders, f.RemoveHeaders, line.name.of(r.head))
}

// replaces reports whether fields of that name, as IsSameField compares them, are among those that are set or removed.
func replaces[T []byte | string](set []Field, removed []string, name T) bool {
	for i := range set {
		if equalName(name, set[i].Name) {
			return true
		}
	}
	for _, removed := range removed {
		if equalName(name, removed) {
			return true
		}
	}
	return false
}

// IsSameField reports whether a route counts two names as those of one field: neither case matters, nor which octet stands between letters
// and digits, since a backend may not tell them apart.
func IsSameField(a, b string) bool { return equalName(a, b) }

func equalName[T []byte | string](a T, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		if fold(a[i]) != fold(b[i]) {
			return false
		}
	}
	return true
}

// appendOwnLines writes the gateway's lines and the end of the head.
func (r *Request) appendOwnLines(f *Forward) {
	b := append(r.scratch, "Upgrade: websocket\r\nConnection: Upgrade\r\n"...)
	if f.Host != "" {
		b = appendField(b, "Host", f.Host)
	}
	b = r.appendOffers(b)
	r.scratch = append(r.appendAdded(b, f), "\r\n"...)
}

// appendAdded writes the lines that any request gets.
func (r *Request) appendAdded(b []byte, f *Forward) []byte {
	b = append(b, hopsHeader+": "...)
	b = strconv.AppendInt(b, int64(r.hops())+1, 10)
	b = append(b, "\r\n"...)
	b = r.appendForwardedFor(b, f)
	if f.RealIP.IsValid() && r.isOwn(kindRealIP, "X-Real-IP", f) {
		b = appendAddress(append(b, "X-Real-IP: "...), f.RealIP)
	}
	if f.Proto != "" && r.isOwn(kindForwardedProto, "X-Forwarded-Proto", f) {
		b = appendField(b, "X-Forwarded-Proto", f.Proto)
	}
	if r.isOwn(kindForwardedHost, "X-Forwarded-Host", f) {
		b = append(b, "X-Forwarded-Host: "...)
		b = append(b, r.Host()...)
		b = append(b, "\r\n"...)
	}
	if f.RequestID != "" && r.isOwn(kindRequestID, "X-Request-Id", f) {
		b = appendField(b, "X-Request-Id", f.RequestID)
	}
	if f.ClientCert != "" && !replaces(f.SetHeaders, f.RemoveHeaders, ClientCertHeader) {
		b = appendField(b, ClientCertHeader, f.ClientCert)
	}
	for i := range f.SetHeaders {
		b = appendField(b, f.SetHeaders[i].Name, f.SetHeaders[i].Value)
	}
	return b
}

// Forwarded yields the header fields, names and values, with which a request that is not WebSocket goes on to a backend: the client's,
// less those that end at this hop, that f takes away, or that belong to its body's framing (Host among them), and ours. It allocates.
func (r *Request) Forwarded(f *Forward) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for i := range r.all() {
			line := &r.fields[i]
			if line.kind != kindHost && r.isKept(line, f) && !yield(string(line.name.of(r.head)), string(line.value.of(r.head))) {
				return
			}
		}
		for line := range strings.SplitSeq(string(r.appendAdded(nil, f)), "\r\n") {
			name, value, isLine := strings.Cut(line, ": ")
			if isLine && !yield(name, value) {
				return
			}
		}
	}
}

// isOwn reports whether the gateway writes the field of kind k: no trusted peer's
// passes, and f neither sets nor removes it.
func (r *Request) isOwn(k kind, name string, f *Forward) bool {
	if replaces(f.SetHeaders, f.RemoveHeaders, name) {
		return false
	}
	for i := range r.all() {
		if f.Trusted && r.fields[i].kind == k && !r.fields[i].isNominated {
			return false
		}
	}
	return true
}

// appendOffers writes the extension offers that pass, if the client sent others
// too. A gateway that reads frames must not pass an extension that it does not
// understand.
func (r *Request) appendOffers(b []byte) []byte {
	if !r.hasOtherOffers || !r.offersDeflate {
		return b
	}
	b = append(b, "Sec-WebSocket-Extensions: "...)
	separator := ""
	for i := range r.all() {
		if r.fields[i].kind != kindExtensions {
			continue
		}
		element, rest := cutElement(r.fields[i].value.of(r.head))
		for ; len(element) > 0; element, rest = cutElement(rest) {
			if string(extensionName(element)) == deflateName {
				b = append(b, separator...)
				b = append(b, element...)
				separator = ", "
			}
		}
	}
	return append(b, "\r\n"...)
}

// appendForwardedFor writes X-Forwarded-For: the values of a trusted peer, then
// the peer's address.
func (r *Request) appendForwardedFor(b []byte, f *Forward) []byte {
	if !f.Client.IsValid() || replaces(f.SetHeaders, f.RemoveHeaders, "X-Forwarded-For") {
		return b
	}
	b = append(b, "X-Forwarded-For: "...)
	for i := range r.all() {
		line := &r.fields[i]
		if value := line.value.of(r.head); f.Trusted && line.kind == kindForwardedFor && !line.isNominated && len(value) > 0 {
			b = append(b, value...)
			b = append(b, ", "...)
		}
	}
	return appendAddress(b, f.Client)
}

// appendAddress writes an address, an IPv4 one in its own form, and the end of its line.
func appendAddress(b []byte, a netip.Addr) []byte {
	return append(a.Unmap().WithZone("").AppendTo(b), "\r\n"...)
}
