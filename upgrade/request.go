package upgrade

import "bytes"

// Request is a client's head. The zero value is ready for use; Reset makes it ready
// again. Owned by the goroutine of the handshake. The slices that its methods
// return point into the bytes last given to Parse, or into the Request, and are
// valid as long as those.
type Request struct {
	scanner
	head   []byte // as last given to Parse
	length int    // of the head, 0 until it is complete
	fault  *Rejection

	method   span
	target   target
	hostname span
	isHTTP10 bool

	isWebSocket    bool // Upgrade has a websocket token
	hasUpgrade     bool // Connection has an upgrade token
	isBadUpgrade   bool // Upgrade is malformed
	offersDeflate  bool
	hasOtherOffers bool // extensions that do not pass

	isTrusted, isCertTrusted bool // Believe

	path    []byte // the decoded path; kept for its space
	name    []byte // the host's name in lower case; likewise
	scratch []byte // what AppendForward adds; likewise
}

// Reset makes r ready for the next head.
func (r *Request) Reset() {
	// Not *r = Request{...}: the table of fields is large, and its count bounds the valid ones.
	r.scanner.reset(0)
	r.head, r.length, r.fault = nil, 0, nil
	r.method, r.target, r.hostname, r.isHTTP10 = span{}, target{}, span{}, false
	r.isWebSocket, r.hasUpgrade, r.isBadUpgrade, r.offersDeflate, r.hasOtherOffers = false, false, false, false, false
	r.isTrusted, r.isCertTrusted = false, false
	r.path, r.name = r.path[:0], r.name[:0]
}

// Parse takes all bytes received so far, from the start of the head; they may have
// moved since the last call. It returns the length of the head once that is
// complete, and 0 while more bytes are needed. The error is a *Rejection with
// status 400, for the first fault in the order of the bytes; further bytes can't
// change it.
//
// It parses any request, so that the plain HTTP path gets bytes that net/http
// reads in the same way. CheckUpgrade checks that the request is for WebSocket.
func (r *Request) Parse(head []byte) (n int, err error) {
	r.head = head
	if r.length == 0 && r.fault == nil {
		r.fault = r.parse(head)
	}
	if r.fault != nil {
		return 0, r.fault
	}
	return r.length, nil
}

var emptyLine = []byte("\r\n")

func (r *Request) parse(head []byte) *Rejection {
	// RFC 8446 section 5.1: the first byte of a ClientHello, in which an LF may never come.
	if len(head) > 0 && head[0] == 0x16 {
		return ErrTLS
	}
	// RFC 9112 section 2.2: "a server that is expecting to receive and parse a request-line SHOULD ignore at least one empty line (CRLF)
	// received prior to the request-line."
	if r.line == 0 && bytes.HasPrefix(head, emptyLine) {
		r.scanner.reset(len(emptyLine))
	}
	for {
		found, rej := r.scanner.next(head)
		if rej != nil {
			return rej
		}
		switch found {
		case incomplete:
			return nil
		case firstLine:
			rej = r.parseRequestLine(head)
		case fieldLine:
			rej = r.checkField(head, &r.fields[r.count-1])
		case endOfHead:
			rej = r.checkHead(head)
			if rej == nil {
				r.length = r.line
			}
			return rej
		default:
			panic("BUG: upgrade: unknown item of a head")
		}
		if rej != nil {
			return rej
		}
	}
}

// parseRequestLine reads
//
//	request-line = method SP request-target SP HTTP-version
//
// with single spaces, RFC 9112 section 3. The section allows a server to split at
// any white space, and warns of the risk.
func (r *Request) parseRequestLine(head []byte) *Rejection {
	line := r.first.of(head)
	n := bytes.IndexByte(line, ' ')
	m := bytes.LastIndexByte(line, ' ')
	if n <= 0 || m == n || !isAll(line[:n], tokenOctet) {
		return ErrBadRequestLine
	}
	switch string(line[m+1:]) {
	case "HTTP/1.1":
	case "HTTP/1.0":
		r.isHTTP10 = true
	default:
		return ErrBadVersion
	}
	start := r.first.start
	r.method = span{start, start + uint16(n)}
	var rej *Rejection
	r.target, rej = parseTarget(head, span{start + uint16(n) + 1, start + uint16(m)})
	return rej
}

// checkField checks what a single line shows: a field that may occur only once,
// and Host.
func (r *Request) checkField(head []byte, f *field) (rej *Rejection) {
	switch f.kind {
	case kindHost, kindKey, kindVersion, kindOrigin:
		if _, count := r.value(head, f.kind); count > 1 {
			return ErrDuplicate
		}
	}
	if f.kind == kindHost {
		r.hostname, rej = parseHost(head, f.value)
	}
	return rej
}

// checkHead checks what only the whole head shows.
func (r *Request) checkHead(head []byte) (rej *Rejection) {
	host, count := r.value(head, kindHost)
	// RFC 9112 section 3.2: "A server MUST respond with a 400 (Bad Request) status code to any
	// HTTP/1.1 request message that lacks a Host header field". Probes in HTTP/1.0 lack it.
	if count == 0 && !r.isHTTP10 {
		return ErrNoHost
	}
	if !r.target.isFor(head, host) {
		return ErrBadTarget
	}
	if rej := r.checkFraming(head); rej != nil {
		return rej
	}
	if r.hasUpgrade, rej = r.connection(head); rej != nil {
		return rej
	}
	isWebSocket, _, isWellFormed := r.upgrade(head)
	r.isWebSocket, r.isBadUpgrade = isWebSocket, !isWellFormed
	return nil
}

// checkFraming refuses a body whose end two parsers could find at different
// places, RFC 9112 section 6.3.
func (r *Request) checkFraming(head []byte) *Rejection {
	length, lengthCount := r.value(head, kindContentLength)
	coding, codingCount := r.value(head, kindTransferEncoding)
	switch {
	case lengthCount > 0 && codingCount > 0:
		return ErrLengthAndCoding
	case lengthCount > 0:
		if _, ok := parseLength(length); !ok || lengthCount > 1 {
			return ErrBadLength
		}
	case codingCount > 0:
		if codingCount > 1 || r.isHTTP10 || !equalFold(coding, "chunked") {
			return ErrBadCoding
		}
	}
	return nil
}

// parseLength parses a Content-Length.
func parseLength(p []byte) (n int64, ok bool) {
	if !isAll(p, digitOctet) {
		return 0, false
	}
	const largest = 1<<63 - 1
	for _, c := range p {
		digit := int64(c - '0')
		if n > (largest-digit)/10 {
			return 0, false
		}
		n = n*10 + digit
	}
	return n, true
}
