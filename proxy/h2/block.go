package h2

import "golang.org/x/net/http2/hpack"

// maxBlock bounds a field block as it is on the wire. A list over MaxFieldBytes is answered; one that is over this ends the connection.
const maxBlock = 4 * MaxFieldBytes

// tableBytes is the size of the peer's dynamic table: the initial value of SETTINGS_HEADER_TABLE_SIZE.
const tableBytes = 4 << 10

// A block is a field block that has come in part (RFC 9113 section 4.3).
type block struct {
	bytes      []byte
	id         uint32 // 0: none
	isNew      bool   // it opens the stream
	isEnd      bool   // END_STREAM
	isBadStart bool   // the stream depends on itself
}

func (c *Conn) receiveHeaders(h frameHead, p []byte) (Event, *Fault) {
	b := block{id: h.id, isEnd: h.flags&flagEndStream != 0}
	padding := 0
	if h.flags&flagPadded != 0 {
		if len(p) == 0 {
			return Event{}, &Fault{FrameSizeError, "HEADERS is too short"}
		}
		padding, p = int(p[0]), p[1:]
	}
	if h.flags&flagPriority != 0 {
		if len(p) < 5 {
			return Event{}, &Fault{FrameSizeError, "HEADERS is too short"}
		}
		b.isBadStart = isSelfDependent(h.id, p)
		p = p[5:]
	}
	if padding > len(p) {
		return Event{}, &Fault{ProtocolError, "the padding of HEADERS is longer than the frame"}
	}
	p = p[:len(p)-padding]

	switch {
	case h.id%2 == 0, c.config.Role == Client && c.isIdle(h.id):
		return Event{}, &Fault{ProtocolError, "HEADERS on a stream that the peer can't open"}
	case c.isIdle(h.id):
		c.highest, b.isNew = h.id, true
	case h.id > c.resetUpTo && c.find(h.id) == nil:
		return Event{}, &Fault{StreamClosed, "HEADERS on a closed stream"}
	}
	c.block = b
	if h.flags&flagEndHeaders != 0 {
		return c.endBlock(p)
	}
	c.block.bytes = append([]byte(nil), p...)
	return Event{}, c.count(boundBlock)
}

func (c *Conn) receiveContinuation(h frameHead, p []byte) (Event, *Fault) {
	if f := c.count(boundBlock); f != nil {
		return Event{}, f
	}
	if len(p) > maxBlock-len(c.block.bytes) {
		return Event{}, &Fault{EnhanceYourCalm, "a field block is too large"}
	}
	c.block.bytes = append(c.block.bytes, p...)
	if h.flags&flagEndHeaders != 0 {
		return c.endBlock(c.block.bytes)
	}
	return Event{}, nil
}

// endBlock handles a whole field block.
func (c *Conn) endBlock(p []byte) (Event, *Fault) {
	b := c.block
	c.block = block{}
	s := c.find(b.id)
	l := list{of: trailers, length: -1}
	switch {
	case b.isNew:
		l.of = request
	case s == nil:
		l.of = nothing
	case c.config.Role == Client && !s.is(answered):
		l.of = response
	}
	if f := c.decode(p, &l); f != nil {
		return Event{}, f
	}
	l.finish(c.config)
	l.isMalformed = l.isMalformed || b.isBadStart

	switch {
	case b.isNew:
		return c.openedBy(&b, &l)
	case s == nil:
		// It was reset by us, and this was on its way. A peer that goes on for long is one that resets streams.
		return Event{}, c.countLate()
	case s.is(received):
		return c.streamError(b.id, s, StreamClosed, "HEADERS after the end of the stream")
	case l.head.IsTooLarge:
		return c.streamError(b.id, s, ProtocolError, "the fields are too large")
	case l.isMalformed:
		return c.streamError(b.id, s, ProtocolError, "the fields are malformed")
	case s.is(tunnel):
		// RFC 9113 section 8.5: frames other than DATA "MUST be treated as a stream error" on the stream of a CONNECT.
		return c.streamError(b.id, s, ProtocolError, "HEADERS on the stream of a CONNECT")
	case l.of == response:
		return c.answeredBy(s, &b, &l)
	}
	if !b.isEnd || s.body > 0 {
		return c.streamError(b.id, s, ProtocolError, "trailers before the end of the body")
	}
	c.end(s, received)
	return Event{Kind: Headers, Stream: s, Head: &l.head, IsEnd: true}, nil
}

// openedBy opens a stream that a client asks for.
func (c *Conn) openedBy(b *block, l *list) (Event, *Fault) {
	switch {
	case c.isGoing || len(c.streams) >= c.config.Streams:
		return c.streamError(b.id, nil, RefusedStream, "")
	case l.isMalformed, b.isEnd && l.length > 0:
		return c.streamError(b.id, nil, ProtocolError, "")
	}
	s := &Stream{id: b.id, send: c.peerWindow, recv: StreamWindow, body: l.length}
	if l.head.Method == "CONNECT" {
		s.state, s.body = tunnel, -1
	}
	if b.isEnd {
		if f := c.peerEnded(s); f != nil {
			return Event{}, f // nothing knows of the stream
		}
	}
	c.streams = append(c.streams, s)
	return Event{Kind: Opened, Stream: s, Head: &l.head, IsEnd: b.isEnd}, nil
}

// answeredBy handles a response, also an interim one.
func (c *Conn) answeredBy(s *Stream, b *block, l *list) (Event, *Fault) {
	status := l.head.Status
	if status < 200 {
		if b.isEnd {
			return c.streamError(b.id, s, ProtocolError, "the stream ends with an interim response")
		}
		return Event{Kind: Headers, Stream: s, Head: &l.head}, nil
	}
	s.state |= answered
	switch {
	case s.body == tunnelBody && status < 300: // of any 2xx, RFC 9110 section 9.3.6
		s.state |= tunnel
		s.body = -1
	case s.is(bodyless) || status == 204 || status == 304:
		s.body = 0
	default:
		s.body = l.length
	}
	if b.isEnd {
		if s.body > 0 {
			return c.streamError(b.id, s, ProtocolError, lengthText)
		}
		c.end(s, received)
	}
	return Event{Kind: Headers, Stream: s, Head: &l.head, IsEnd: b.isEnd}, nil
}

const lengthText = "DATA isn't as long as content-length says"

// tunnelBody marks a stream with CONNECT whose response hasn't come (Client).
const tunnelBody = -2

// Open opens a stream with a request (Client). It returns nil if there is no room (Room).
func (c *Conn) Open(out []byte, fields []Field, isEnd bool) (*Stream, []byte) {
	if c.Room() == 0 {
		return nil, out
	}
	if c.highest == 0 {
		c.highest = 1
	} else {
		c.highest += 2
	}
	s := &Stream{id: c.highest, send: c.peerWindow, recv: StreamWindow, body: -1}
	for _, f := range fields {
		if f.Name == ":method" {
			switch f.Value {
			case "HEAD":
				s.state = bodyless
			case "CONNECT":
				s.body = tunnelBody
			}
			break
		}
	}
	c.streams = append(c.streams, s)
	return s, c.AppendHeaders(out, s, fields, isEnd)
}

// AppendHeaders sends a response, interim or final, or trailers. It never waits for a window. Names must be in lower case, pseudo-header fields
// first. It does nothing to a stream whose own direction has ended.
func (c *Conn) AppendHeaders(out []byte, s *Stream, fields []Field, isEnd bool) []byte {
	if s.is(sent | gone) {
		return out
	}
	start := len(out)
	out = appendHead(out, 0, frameHeaders, 0, s.id)
	if !c.hasTableSize {
		// A peer that has set a smaller table than the initial one waits for this (RFC 7541 section 4.2). It holds for good.
		c.hasTableSize = true
		out = append(out, 0x20)
	}
	for _, f := range fields {
		out = appendField(out, f)
	}
	if c.config.Role == Server && !isInterim(fields) {
		s.state |= answered
	}
	var flags uint8
	if isEnd {
		flags = flagEndStream
		c.end(s, sent)
	}
	return splitBlock(out, start, flags)
}

// isInterim reports whether fields are those of a 1xx response.
func isInterim(fields []Field) bool {
	return len(fields) > 0 && fields[0].Name == ":status" && fields[0].Value[:1] == "1"
}

// splitBlock completes a HEADERS frame that begins at start, and makes CONTINUATION frames of what is over the largest frame.
func splitBlock(out []byte, start int, flags uint8) []byte {
	size := len(out) - start - headBytes
	if size <= maxFrame {
		out[start], out[start+1], out[start+2], out[start+4] = byte(size>>16), byte(size>>8), byte(size), flags|flagEndHeaders
		return out
	}
	id := readHead(out[start:]).id
	rest := append([]byte(nil), out[start+headBytes+maxFrame:]...)
	out = out[:start+headBytes+maxFrame]
	out[start], out[start+1], out[start+2], out[start+4] = 0, maxFrame>>8, 0, flags
	for len(rest) > 0 {
		n := min(len(rest), maxFrame)
		flags = 0
		if n == len(rest) {
			flags = flagEndHeaders
		}
		out = append(appendHead(out, n, frameContinuation, flags, id), rest[:n]...)
		rest = rest[n:]
	}
	return out
}

// decode decodes a field block into l.
func (c *Conn) decode(p []byte, l *list) *Fault {
	if c.decoder == nil {
		c.decoder = hpack.NewDecoder(tableBytes, c.decoded)
	}
	c.list = l
	c.decoder.SetEmitEnabled(l.of != nothing)
	_, err := c.decoder.Write(p)
	if err == nil {
		err = c.decoder.Close()
	}
	c.list = nil
	if err != nil {
		return &Fault{CompressionError, "a field block can't be decoded"}
	}
	return nil
}

// decoded takes a field of the block that is being decoded. After the last that is of interest, the others only keep the table right.
func (c *Conn) decoded(f hpack.HeaderField) {
	if !c.list.add(f.Name, f.Value) {
		c.decoder.SetEmitEnabled(false)
	}
}
