package upgrade

import (
	"crypto/sha1"
	"encoding/base64"
)

const (
	switchingProtocols = 101
	maxInterim         = 8 // answers of status 1xx before the final one
)

// Answer is a backend's head. The zero value is ready for use; Reset makes it
// ready again. Owned by the goroutine of the handshake. The slices that its
// methods return point into the bytes last given to Parse, or into the Answer,
// and are valid as long as those.
type Answer struct {
	scanner
	head    []byte // as last given to Parse
	length  int    // of all heads, 0 until the final one is complete
	fault   *Rejection
	interim int

	status    int
	isHTTP10  bool
	framing   framing
	bodyBytes int64
	isDeflate bool

	scratch []byte // what AppendForward adds; kept for its space
}

// Reset makes a ready for the next answer.
func (a *Answer) Reset() {
	a.scanner.reset(0)
	a.head, a.length, a.fault, a.interim = nil, 0, nil, 0
	a.status, a.isHTTP10, a.framing, a.bodyBytes, a.isDeflate = 0, false, noBody, 0, false
}

// Parse takes all bytes received so far, from the start of the answer; they may
// have moved since the last call. It returns the length of the head once that is
// complete, and 0 while more bytes are needed. Interim answers before the head
// are part of the length. The error is ErrBadAnswer with a text of its own.
func (a *Answer) Parse(head []byte) (n int, err error) {
	a.head = head
	if a.length == 0 && a.fault == nil {
		if rej := a.parse(head); rej != nil {
			a.fault = asBadAnswer(rej)
		}
	}
	if a.fault != nil {
		return 0, a.fault
	}
	return a.length, nil
}

// asBadAnswer turns the rejection of a line, which is checked as a client's is,
// into one of the backend's answer.
func asBadAnswer(rej *Rejection) *Rejection {
	switch rej {
	case ErrHeadTooLarge:
		return badAnswer("its head is longer than 16 KiB")
	case ErrTooManyLines:
		return badAnswer("its head has more than 100 lines")
	}
	if rej.Status == ErrBadAnswer.Status {
		return rej
	}
	return badAnswer(rej.Text)
}

func (a *Answer) parse(head []byte) *Rejection {
	for {
		found, rej := a.scanner.next(head)
		if rej != nil {
			return rej
		}
		switch found {
		case incomplete:
			return nil
		case firstLine:
			if rej := a.parseStatusLine(head); rej != nil {
				return rej
			}
		case fieldLine:
		case endOfHead:
			if a.status >= 200 || a.status == switchingProtocols {
				a.length = a.line
				return nil
			}
			if a.interim++; a.interim > maxInterim {
				return badAnswer("more than 8 interim answers")
			}
			a.scanner.reset(a.line)
		default:
			panic("BUG: upgrade: unknown item of a head")
		}
	}
}

// parseStatusLine reads
//
//	status-line = HTTP-version SP status-code SP [ reason-phrase ]
//
// RFC 9112 section 4. The second space may be absent together with the phrase, as
// in net/http.
func (a *Answer) parseStatusLine(head []byte) *Rejection {
	line := a.first.of(head)
	if len(line) < len("HTTP/1.1 200") || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return badAnswer("the first line is not HTTP/1.1 STATUS REASON")
	}
	switch string(line[:8]) {
	case "HTTP/1.1":
		a.isHTTP10 = false
	case "HTTP/1.0":
		a.isHTTP10 = true
	default:
		return badAnswer("its protocol is neither HTTP/1.1 nor HTTP/1.0")
	}
	code := line[9:12]
	// RFC 9110 section 15: "values outside the range 100..599 are invalid".
	if !isAll(code, digitOctet) || code[0] < '1' || code[0] > '5' {
		return badAnswer("its status is not a number from 100 to 599")
	}
	a.status = int(code[0]-'0')*100 + int(code[1]-'0')*10 + int(code[2]-'0')
	return nil
}

// Status returns the status code of a complete answer.
func (a *Answer) Status() int { return a.status }

// Header returns the value of the first field with that name, in any case, nil
// if there is none.
func (a *Answer) Header(name string) []byte { return a.header(a.head, name) }

// Protocol returns the agreed subprotocol of a checked 101, nil if there is none.
func (a *Answer) Protocol() []byte {
	protocol, _ := a.value(a.head, kindProtocol)
	return protocol
}

// Deflate reports whether a checked 101 agrees to permessage-deflate.
func (a *Answer) Deflate() bool { return a.isDeflate }

// Check checks a complete answer to r: a 101 against RFC 6455 section 4.1, and
// any other for the end of its body. The error is ErrBadAnswer with a text of its
// own.
func (a *Answer) Check(r *Request) error {
	if rej := a.check(r); rej != nil {
		return rej
	}
	return nil
}

func (a *Answer) check(r *Request) *Rejection {
	hasUpgrade, rej := a.connection(a.head)
	if rej != nil {
		return asBadAnswer(rej)
	}
	if a.status != switchingProtocols {
		return a.checkBody(string(r.Method()) == "HEAD")
	}
	return a.checkSwitch(r, hasUpgrade)
}

func (a *Answer) checkSwitch(r *Request, hasUpgrade bool) *Rejection {
	hasWebSocket, hasOthers, _ := a.upgrade(a.head)
	accept, acceptCount := a.value(a.head, kindAccept)
	key, _ := r.value(r.head, kindKey)
	want := Accept(key)
	switch {
	case a.isHTTP10:
		return badAnswer("a 101 in HTTP/1.0")
	case !hasWebSocket || hasOthers:
		return badAnswer("Upgrade is not websocket")
	case !hasUpgrade:
		return badAnswer("Connection does not name Upgrade")
	case acceptCount != 1 || string(accept) != string(want[:]):
		return badAnswer("Sec-WebSocket-Accept does not match the key")
	}
	if rej := a.checkProtocol(r); rej != nil {
		return rej
	}
	return a.checkExtensions(r)
}

const acceptLength = 28 // base64 of a SHA-1

// Accept returns the Sec-WebSocket-Accept for a checked key, RFC 6455 section
// 4.2.2 item 5.4. It does not allocate.
func Accept(key []byte) (accept [acceptLength]byte) {
	const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	var input [24 + len(guid)]byte
	copy(input[copy(input[:], key):], guid)
	sum := sha1.Sum(input[:])
	base64.StdEncoding.Encode(accept[:], sum[:])
	return accept
}

// checkProtocol applies RFC 6455 section 4.1: "If the response includes a
// |Sec-WebSocket-Protocol| header field and this header field indicates the use
// of a subprotocol that was not present in the client's handshake [...], the
// client MUST _Fail the WebSocket Connection_."
func (a *Answer) checkProtocol(r *Request) *Rejection {
	protocol, count := a.value(a.head, kindProtocol)
	switch {
	case count == 0:
		return nil
	case count > 1:
		return badAnswer("more than one Sec-WebSocket-Protocol")
	case !isAll(protocol, tokenOctet) || !r.offersProtocol(protocol):
		return badAnswer("a subprotocol that was not offered")
	}
	return nil
}

// checkExtensions applies the same rule to extensions. An offer that the gateway
// removed was not offered.
func (a *Answer) checkExtensions(r *Request) *Rejection {
	a.isDeflate = false
	for i := range a.all() {
		if a.fields[i].kind != kindExtensions {
			continue
		}
		element, rest := cutElement(a.fields[i].value.of(a.head))
		for ; len(element) > 0; element, rest = cutElement(rest) {
			switch {
			case string(extensionName(element)) != deflateName || !r.offersDeflate:
				return badAnswer("an extension that was not offered")
			case a.isDeflate:
				return badAnswer("an extension twice")
			}
			a.isDeflate = true
		}
	}
	return nil
}

// checkBody finds the end of the body, RFC 9112 section 6.3.
func (a *Answer) checkBody(isHead bool) *Rejection {
	length, lengthCount := a.value(a.head, kindContentLength)
	coding, codingCount := a.value(a.head, kindTransferEncoding)
	bodyBytes, isLength := parseLength(length)
	switch {
	case lengthCount > 1 || lengthCount == 1 && !isLength:
		return badAnswer("Content-Length is not one decimal number")
	case codingCount > 1 || codingCount == 1 && (a.isHTTP10 || !equalFold(coding, "chunked")):
		return badAnswer("Transfer-Encoding is not only chunked, or not in HTTP/1.1")
	case lengthCount > 0 && codingCount > 0:
		return badAnswer("both Content-Length and Transfer-Encoding")
	case isHead || a.status == 204 || a.status == 304:
		a.framing = noBody
	case codingCount > 0:
		a.framing = chunkedBody
	case lengthCount > 0:
		a.framing, a.bodyBytes = lengthBody, bodyBytes
	default:
		a.framing = endlessBody
	}
	return nil
}

// Body returns the Body that finds the end of the body of a checked answer that is
// not 101.
func (a *Answer) Body() Body { return Body{framing: a.framing, left: a.bodyBytes} }

// IsOpenEnded reports whether the end of the connection ends the body of a checked
// answer.
func (a *Answer) IsOpenEnded() bool { return a.framing == endlessBody }

// AnswerChange describes how an answer is changed on its way to the client. The
// zero value changes nothing.
type AnswerChange struct {
	SetHeaders    []Field  // replace all fields of those names; checked by Field.Check
	RemoveHeaders []string // names of fields to remove; checked by CheckFieldName
	AddHeaders    []Field  // beside the fields of those names
	// Rewrite returns the value that a field gets, the one that it has if it doesn't change. nil changes none. It is not called for a 101.
	Rewrite func(name, value string) string
}

// Replaces reports whether fields of that name don't pass.
func (c *AnswerChange) Replaces(name string) bool {
	return replaces(c.SetHeaders, c.RemoveHeaders, name)
}

// AppendForward appends the head for the client to dst, for net.Buffers: the
// lines as the backend sent them, without those that end at this hop or that change
// replaces, followed by its own. The slices point into the backend's head and into
// a, and are valid until the next call of AppendForward or Reset. Check must have
// passed the answer.
func (a *Answer) AppendForward(dst [][]byte, change *AnswerChange) [][]byte {
	// RFC 9110 section 6.2: an intermediary sends its own version.
	dst = append(dst, httpVersion, a.head[a.first.start+uint16(len(httpVersion)):a.first.end+2])
	b := a.scratch[:0]
	start, end := uint16(0), uint16(0)
	for i := range a.all() {
		line := &a.fields[i]
		if !a.isKept(line, change) {
			continue
		}
		if change.Rewrite != nil && a.status != switchingProtocols {
			name, value := string(line.name.of(a.head)), string(line.value.of(a.head))
			if rewritten := change.Rewrite(name, value); rewritten != value {
				b = appendField(b, name, rewritten)
				continue
			}
		}
		if line.name.start == end {
			end = line.end
			continue
		}
		if end > 0 {
			dst = append(dst, a.head[start:end])
		}
		start, end = line.name.start, line.end
	}
	if end > 0 {
		dst = append(dst, a.head[start:end])
	}
	if a.status == switchingProtocols {
		b = append(b, "Upgrade: websocket\r\nConnection: Upgrade\r\n"...)
	} else {
		b = append(b, "Connection: close\r\n"...)
	}
	for _, f := range change.SetHeaders {
		b = appendField(b, f.Name, f.Value)
	}
	for _, f := range change.AddHeaders {
		b = appendField(b, f.Name, f.Value)
	}
	a.scratch = append(b, "\r\n"...)
	return append(dst, a.scratch)
}

var httpVersion = []byte("HTTP/1.1")

func (a *Answer) isKept(line *field, change *AnswerChange) bool {
	if line.isNominated {
		return false
	}
	switch line.kind {
	case kindConnection, kindUpgrade, kindHop:
		return false
	case kindTransferEncoding, kindTrailer:
		return a.framing == chunkedBody
	case kindContentLength:
		// RFC 9110 section 8.6 has none on a 1xx or 204; on a 304 it is the length of another answer.
		return a.status != switchingProtocols && a.status != 204
	default:
		return !replaces(change.SetHeaders, change.RemoveHeaders, line.name.of(a.head))
	}
}
