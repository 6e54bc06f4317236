package upgrade

import (
	"bytes"
	"iter"
)

// IsWebSocket reports whether Upgrade has a websocket token. Without one the
// request belongs to the plain HTTP path, whatever other tokens Upgrade has.
func (r *Request) IsWebSocket() bool { return r.isWebSocket }

// Method returns the method as sent.
func (r *Request) Method() []byte { return r.method.of(r.head) }

// Target returns the target as sent, for the log.
func (r *Request) Target() []byte { return r.target.whole.of(r.head) }

// IsEncodedSlash reports whether the path has %2f or %5c. The caller answers
// ErrEncodedSlash unless the route lets them pass.
func (r *Request) IsEncodedSlash() bool { return r.target.hasEncodedSlash }

// Path returns the path that routes match: decoded except for %2f and %5c, with
// each run of slashes as one. It begins with a slash and has no dot segments. The
// backend does not get it, but the target as sent.
func (r *Request) Path() []byte {
	switch {
	case r.target.path.start == r.target.path.end:
		return root
	case r.target.isPlain:
		return r.target.path.of(r.head)
	case len(r.path) == 0:
		r.path = appendPath(r.path, r.target.path.of(r.head))
	}
	return r.path
}

// root is the path of an absolute-form without one, RFC 9112 section 3.2.1.
var root = []byte("/")

// Ambiguities yields the path as backends may read it that decode %2f and %5c, that drop the parameters of segments (";" and what follows),
// or that do both, each with the refusal that says so. It yields nothing for a path that has neither. slashes and parameters say which of
// the two count. The bytes are valid until the next one.
func (r *Request) Ambiguities(slashes, parameters bool) iter.Seq2[[]byte, *Rejection] {
	slashes, parameters = slashes && r.target.hasEncodedSlash, parameters && r.target.hasParameters
	return func(yield func([]byte, *Rejection) bool) {
		var path []byte
		for _, how := range readings {
			if how.decodesSlashes && !slashes || how.drops && !parameters {
				continue
			}
			rejection := ErrPathParameter
			if how.decodesSlashes {
				rejection = ErrEncodedSlash
			}
			path = how.append(path[:0], r.RawPath())
			if !yield(path, rejection) {
				return
			}
		}
	}
}

// maxHops is how many gateways a request may have passed. Sites have two or three in a row.
const maxHops = 8

// IsLoop reports whether the request has passed so many gateways that one of them must be its own backend. The caller answers ErrLoop.
func (r *Request) IsLoop() bool { return r.hops() > maxHops }

// hops returns how many gateways the request has passed. What is no number of them is a client's invention and counts as none.
func (r *Request) hops() (n int) {
	for i := range r.all() {
		if f := &r.fields[i]; f.kind == kindHops {
			if sent, ok := parseLength(f.value.of(r.head)); ok {
				n = max(n, int(min(sent, maxHops+1)))
			}
		}
	}
	return n
}

// Query returns the part of the target after "?", as sent.
func (r *Request) Query() []byte { return r.target.query.of(r.head) }

// QueryValue returns the value of the first parameter with that name, both as
// sent, percent-encoding included. It is nil if there is none.
func (r *Request) QueryValue(name string) []byte {
	query := r.Query()
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte("&"))
		key, value, _ := bytes.Cut(pair, []byte("="))
		if string(key) == name {
			return value
		}
	}
	return nil
}

// Host returns the value of Host as sent.
func (r *Request) Host() []byte {
	host, _ := r.value(r.head, kindHost)
	return host
}

// Hostname returns the host's name that routes match: in lower case, without port,
// trailing dot and brackets. It is empty in HTTP/1.0 without Host.
func (r *Request) Hostname() []byte {
	name := r.hostname.of(r.head)
	if len(r.name) > 0 {
		return r.name
	}
	for i, c := range name {
		if lower(c) == c {
			continue
		}
		r.name = append(r.name, name...)
		for j := i; j < len(r.name); j++ {
			r.name[j] = lower(r.name[j])
		}
		return r.name
	}
	return name
}

// Origin returns the value of Origin. It is nil if there is none: the client is
// not a browser.
func (r *Request) Origin() []byte {
	origin, _ := r.value(r.head, kindOrigin)
	return origin
}

// Header returns the value of the first field with that name, in any case, nil
// if there is none.
func (r *Request) Header(name string) []byte { return r.header(r.head, name) }

// EndToEnd returns the value of the first field with that name, in any case, that
// doesn't end at this hop, nil if there is none.
func (r *Request) EndToEnd(name string) []byte {
	for i := range r.all() {
		if f := &r.fields[i]; !f.isNominated && equalFold(f.name.of(r.head), name) {
			return f.value.of(r.head)
		}
	}
	return nil
}

// Cookie returns the value of the first cookie with that name, in the name's
// case, without quotes around it. It is nil if there is none.
func (r *Request) Cookie(name string) []byte {
	for i := range r.all() {
		f := &r.fields[i]
		if f.kind != kindCookie {
			continue
		}
		if value := cookie(f.value.of(r.head), name); value != nil {
			return value
		}
	}
	return nil
}

// cookie reads cookie-pair *( ";" SP cookie-pair ), RFC 6265 section 4.2.1, with
// any white space around the pairs, as servers do.
func cookie(list []byte, name string) []byte {
	for len(list) > 0 {
		var pair []byte
		pair, list, _ = bytes.Cut(list, []byte(";"))
		key, value, found := bytes.Cut(pair, []byte("="))
		if !found || string(trimSpace(key)) != name {
			continue
		}
		value = trimSpace(value)
		if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
			value = value[1 : n-1]
		}
		return value
	}
	return nil
}
