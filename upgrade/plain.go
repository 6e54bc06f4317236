package upgrade

import "iter"

// Body returns the Body that finds the end of the body of a complete request that is not for WebSocket. Its errors are the client's.
func (r *Request) Body() Body {
	if length, count := r.value(r.head, kindContentLength); count > 0 {
		n, _ := parseLength(length) // checked
		return Body{framing: lengthBody, left: n}
	}
	if _, count := r.value(r.head, kindTransferEncoding); count > 0 {
		return Body{framing: chunkedBody}
	}
	return Body{framing: noBody}
}

// Backward yields the values of the fields with that name, in any case, the last one first, since each hop appends its own.
func (r *Request) Backward(name string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := r.count - 1; i >= 0; i-- {
			f := &r.fields[i]
			if equalFold(f.name.of(r.head), name) && !yield(f.value.of(r.head)) {
				return
			}
		}
	}
}

// Believe says whether the peer may send X-Forwarded-* and the other fields that only a trusted peer may, and whether it may send
// ClientCertHeader. It may send neither until then.
func (r *Request) Believe(fields, certificate bool) {
	r.isTrusted, r.isCertTrusted = fields, certificate
}

// Believed yields the values of the fields that IsSameField counts as those of that name, the last one first, less those that the peer may not
// send.
func (r *Request) Believed(name string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := r.count - 1; i >= 0; i-- {
			f := &r.fields[i]
			if equalName(f.name.of(r.head), name) && f.kind.isBelieved(r.isTrusted, r.isCertTrusted) && !yield(f.value.of(r.head)) {
				return
			}
		}
	}
}

// RawPath returns the path as sent, without the query, and without the scheme and host of an absolute-form.
func (r *Request) RawPath() []byte { return r.target.path.of(r.head) }
