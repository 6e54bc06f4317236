package upgrade

import "iter"

// Body returns the tracker of the body behind a complete head that is not a WebSocket request's. Its errors are the client's.
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

// Backward yields the values of the fields with that name, in any case, the last one first: each hop adds its own behind the others.
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

// RawPath returns the path as sent, without the query; the path alone of an absolute-form.
func (r *Request) RawPath() []byte { return r.target.path.of(r.head) }
