package upgrade

import "bytes"

// Bounds of a head, on either side.
const (
	MaxHeadBytes = 16 << 10 // of a request; of an answer with the interim answers before it
	MaxLines     = 100      // the first line and the fields, without the empty line at the end

	maxNominated = 32 // elements of all Connection lists; clients send one or two
)

// span is a part of the head, as offsets, since the caller may move the bytes.
// MaxHeadBytes fits in 16 bits.
type span struct{ start, end uint16 }

func (s span) of(head []byte) []byte { return head[s.start:s.end] }

// field is one header field line:
//
//	Name: OWS value OWS CR LF
//	^name^    ^value^         ^end
type field struct {
	name, value span
	end         uint16 // after the LF
	kind        kind
	isNominated bool // by Connection: ends at this hop
}

// item is the result of scanner.next.
type item uint8

const (
	incomplete item = iota // the next LF has not arrived
	firstLine              // in scanner.first
	fieldLine              // the last of scanner.fields
	endOfHead              // scanner.line is after it
)

// scanner splits a head into lines as it arrives. It is strict: it refuses a line
// that can be read in more than one way. The zero value is ready for use. Each byte
// is searched for LF once and checked once, however small the pieces are.
type scanner struct {
	line   int // start of the next line
	seen   int // there is no LF in head[line:seen]
	lines  int // complete ones
	count  int // of fields
	first  span
	fields [MaxLines]field
}

// reset begins a head at offset start.
func (s *scanner) reset(start int) { s.line, s.seen, s.lines, s.count = start, start, 0, 0 }

// next returns the next item of head, which has all bytes so far. Bytes after
// MaxHeadBytes are not read.
func (s *scanner) next(head []byte) (item, *Rejection) {
	window := head[:min(len(head), MaxHeadBytes)]
	lf := bytes.IndexByte(window[s.seen:], '\n')
	if lf < 0 {
		s.seen = len(window)
		if s.seen == MaxHeadBytes {
			return incomplete, ErrHeadTooLarge
		}
		return incomplete, nil
	}
	start, end := s.line, s.seen+lf-1 // of the line without CR LF
	s.line = end + 2
	s.seen = s.line
	if end < start || window[end] != '\r' {
		return incomplete, ErrBareLF
	}
	if end == start && s.lines > 0 {
		return endOfHead, nil
	}
	if s.lines == MaxLines {
		return incomplete, ErrTooManyLines
	}
	s.lines++
	if s.lines == 1 {
		s.first = span{uint16(start), uint16(end)}
		return firstLine, checkOctets(window[start:end])
	}
	return fieldLine, s.addField(window, start, end)
}

func (s *scanner) addField(head []byte, start, end int) *Rejection {
	line := head[start:end]
	if isSpace(line[0]) {
		// RFC 9112 section 5.2: "A server that receives an obs-fold in a request message that is
		// not within a "message/http" container MUST either reject the message [...]".
		return ErrFold
	}
	n := spanOf(line, tokenOctet)
	if n == 0 || n == len(line) || line[n] != ':' {
		return nameFault(line, n)
	}
	value := line[n+1:]
	if rej := checkOctets(value); rej != nil {
		return rej
	}
	valueStart := start + n + 1
	for valueStart < end && isSpace(head[valueStart]) {
		valueStart++
	}
	for end > valueStart && isSpace(head[end-1]) {
		end--
	}
	s.fields[s.count] = field{
		name:  span{uint16(start), uint16(start + n)},
		value: span{uint16(valueStart), uint16(end)},
		end:   uint16(s.line),
		kind:  kindOf(line[:n]),
	}
	s.fields[s.count].dropEmptyList(head)
	s.count++
	return nil
}

// dropEmptyList makes f count as absent if it is a list of the handshake without an element, as some clients, backends and proxies send it.
func (f *field) dropEmptyList(head []byte) {
	if f.kind != kindProtocol && f.kind != kindExtensions {
		return
	}
	if element, _ := cutElement(f.value.of(head)); len(element) == 0 {
		f.kind = kindHop
	}
}

// nameFault returns the fault of a line whose first n octets are a token that no
// colon follows.
func nameFault(line []byte, n int) *Rejection {
	if rej := checkOctets(line); rej != nil {
		return rej
	}
	if rest := bytes.TrimLeft(line[n:], " \t"); n > 0 && len(rest) > 0 && rest[0] == ':' {
		// RFC 9112 section 5.1: "A server MUST reject, with a response status code of 400 (Bad
		// Request), any received request message that contains whitespace between a header field
		// name and colon."
		return ErrSpaceBeforeColon
	}
	return ErrBadFieldName
}

// checkOctets refuses octets that a value can't hold, RFC 9110 section 5.5: "Field
// values containing CR, LF, or NUL characters are invalid and dangerous".
func checkOctets(p []byte) *Rejection {
	n := spanOf(p, valueOctet)
	switch {
	case n == len(p):
		return nil
	case p[n] == '\r':
		return ErrBareCR
	default:
		return ErrControlByte
	}
}

// all returns the fields so far.
func (s *scanner) all() []field { return s.fields[:s.count] }

// value returns the value of the first field of kind k, nil if there is none,
// and how many there are.
func (s *scanner) value(head []byte, k kind) (value []byte, count int) {
	for i := range s.all() {
		if f := &s.fields[i]; f.kind == k {
			if count++; count == 1 {
				value = f.value.of(head)
			}
		}
	}
	return value, count
}

func (s *scanner) has(k kind) bool {
	for i := range s.all() {
		if s.fields[i].kind == k {
			return true
		}
	}
	return false
}

// header returns the value of the first field with that name, nil if there is none.
func (s *scanner) header(head []byte, name string) []byte {
	for i := range s.all() {
		if f := &s.fields[i]; equalFold(f.name.of(head), name) {
			return f.value.of(head)
		}
	}
	return nil
}
