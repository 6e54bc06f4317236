package h2

import (
	"encoding/binary"
	"slices"
)

// connWindow is the window of a connection. It is given back as DATA comes, whether or not a session takes that, so that no stream delays another; what
// waits is bounded by the windows of the streams.
const connWindow = 1 << 20

// data is a frame whose payload is passed on, or skipped, as it comes.
type data struct {
	stream   *Stream // nil: the payload is skipped
	left     int     // bytes of it that are to come, without padding
	padding  int
	isInside bool // some of the payload is to come
	isPadded bool // the length of the padding comes next
	isEnd    bool // the frame has END_STREAM
}

// beginData begins a DATA frame, or one of a type that isn't known.
func (c *Conn) beginData(h frameHead) (Event, *Fault) {
	c.data = data{left: h.length, isInside: h.length > 0}
	if h.kind != frameData {
		return Event{}, nil
	}
	if c.isIdle(h.id) {
		return Event{}, &Fault{ProtocolError, "DATA on an idle stream"}
	}
	if h.length > int(c.recvWindow) {
		return Event{}, &Fault{FlowControlError, "DATA over the window of the connection"}
	}
	c.recvWindow -= int32(h.length)
	c.giveBack(h.length)

	isEnd := h.flags&flagEndStream != 0
	if h.length == 0 && h.flags&flagPadded != 0 {
		return Event{}, &Fault{FrameSizeError, "a padded DATA frame without the length of its padding"}
	}
	if h.length == 0 && !isEnd {
		return Event{}, c.count(boundEmpty)
	}
	s := c.find(h.id)
	switch {
	case s == nil && h.id > c.resetUpTo:
		return Event{}, &Fault{StreamClosed, "DATA on a closed stream"}
	case s == nil:
		return Event{}, nil
	case s.is(received):
		return c.streamError(h.id, s, StreamClosed, "DATA after the end of the stream")
	case c.config.Role == Client && !s.is(answered):
		return c.streamError(h.id, s, ProtocolError, "DATA before the response")
	case h.length > int(s.recv):
		return c.streamError(h.id, s, FlowControlError, "DATA over the window of the stream")
	}
	s.recv -= int32(h.length)
	c.data.stream, c.data.isEnd = s, isEnd
	if h.flags&flagPadded != 0 {
		c.data.isPadded = true
		return Event{}, nil
	}
	return c.beginPayload()
}

// beginPayload begins the payload after the length of the padding.
func (c *Conn) beginPayload() (Event, *Fault) {
	d := &c.data
	s := d.stream
	if d.left == 0 && !d.isEnd {
		return Event{}, c.count(boundEmpty)
	}
	if s.body >= 0 {
		// RFC 9113 section 8.1.1: malformed "if the value of a Content-Length header field does not equal the sum of the DATA frame payload
		// lengths that form the content"
		if int64(d.left) > s.body || d.isEnd && int64(d.left) != s.body {
			d.stream = nil
			return c.streamError(s.id, s, ProtocolError, lengthText)
		}
		s.body -= int64(d.left)
	}
	if d.left > 0 {
		return Event{}, nil
	}
	d.stream = nil
	if f := c.peerEnded(s); f != nil {
		return Event{}, f
	}
	return Event{Kind: Data, Stream: s, IsEnd: true}, nil
}

// receiveData consumes some of a payload: to the end of its data, or of its padding, or all of p.
func (c *Conn) receiveData(p []byte) (n int, e Event, f *Fault) {
	d := &c.data
	defer func() { d.isInside = d.isPadded || d.left > 0 || d.padding > 0 }()
	if s := d.stream; s != nil && s.is(gone) {
		d.stream = nil
	}
	if d.isPadded {
		d.isPadded = false
		n, d.left, d.padding = 1, d.left-1, int(p[0])
		if d.padding > d.left {
			return n, e, &Fault{ProtocolError, "the padding of DATA is longer than the frame"}
		}
		d.left -= d.padding
		if d.stream == nil {
			return n, e, nil
		}
		c.out = c.AppendTaken(c.out, d.stream, 1+d.padding)
		e, f = c.beginPayload()
		return n, e, f
	}
	if d.left == 0 {
		n = min(d.padding, len(p))
		d.padding -= n
		return n, e, nil
	}
	n = min(d.left, len(p))
	d.left -= n
	if s := d.stream; s != nil {
		e = Event{Kind: Data, Stream: s, Data: p[:n:n]}
		if d.left == 0 {
			d.stream = nil
			if e.IsEnd = d.isEnd; e.IsEnd {
				if f = c.peerEnded(s); f != nil {
					return n, Event{}, f
				}
			}
		}
	}
	return n, e, nil
}

// giveBack gives the window of n bytes back on the connection.
func (c *Conn) giveBack(n int) {
	c.received += int32(n)
	if c.received >= connWindow/2 {
		c.out = appendUint32(c.out, frameWindowUpdate, 0, uint32(c.received))
		c.recvWindow += c.received
		c.received = 0
	}
}

// AppendTaken gives the window of n received bytes back to the peer, when it is worth a frame.
func (c *Conn) AppendTaken(out []byte, s *Stream, n int) []byte {
	if s.is(received | gone) {
		return out
	}
	s.taken += int32(n)
	if s.taken < StreamWindow/2 {
		return out
	}
	n, s.taken = int(s.taken), 0
	s.recv += int32(n)
	return appendUint32(out, frameWindowUpdate, s.id, uint32(n))
}

func (c *Conn) receiveWindowUpdate(h frameHead, p []byte) (Event, *Fault) {
	n := int32(binary.BigEndian.Uint32(p) & maxWindow)
	if n < smallUpdate {
		if f := c.count(boundUpdate); f != nil {
			return Event{}, f
		}
	}
	if h.id == 0 {
		switch {
		case n == 0:
			return Event{}, &Fault{ProtocolError, "WINDOW_UPDATE of 0"}
		case c.sendWindow > maxWindow-n:
			return Event{}, &Fault{FlowControlError, "the window of the connection is larger than 2^31-1"}
		}
		c.hasWindow = c.hasWindow || c.sendWindow == 0
		c.sendWindow += n
		return Event{}, nil
	}
	if c.isIdle(h.id) {
		return Event{}, &Fault{ProtocolError, "WINDOW_UPDATE on an idle stream"}
	}
	s := c.find(h.id)
	switch {
	case s == nil:
		return Event{}, nil
	case n == 0:
		return c.streamError(h.id, s, ProtocolError, "WINDOW_UPDATE of 0")
	case s.send > maxWindow-n:
		return c.streamError(h.id, s, FlowControlError, "the window of the stream is larger than 2^31-1")
	}
	hadNone := s.send <= 0
	s.send += n
	// Also while the window of the connection is 0: the caller then learns that the stream waits for that one.
	if hadNone && s.send > 0 && c.CanSend(s) {
		return Event{Kind: Window, Stream: s}, nil
	}
	return Event{}, nil
}

// Sendable returns how many bytes of DATA both windows let pass now, at most one frame's; 0 also after the stream's end.
func (c *Conn) Sendable(s *Stream) int {
	if s.is(sent | gone) {
		return 0
	}
	return int(max(0, min(s.send, c.sendWindow, maxFrame)))
}

// HasWindow reports whether the window of the connection lets DATA pass.
func (c *Conn) HasWindow() bool { return c.sendWindow > 0 }

// AppendData appends the header of a DATA frame whose payload the caller appends next: n bytes, at most Sendable. n may be 0 with isEnd alone:
// then it does nothing to a stream whose own direction has ended.
func (c *Conn) AppendData(out []byte, s *Stream, n int, isEnd bool) []byte {
	if n > c.Sendable(s) || n == 0 && !isEnd {
		panic("BUG: DATA that the windows don't let pass")
	}
	if s.is(sent | gone) {
		return out
	}
	s.send -= int32(n)
	c.sendWindow -= int32(n)
	c.bounds.sent++
	out = slices.Grow(out, headBytes+n)
	if !isEnd {
		return appendHead(out, n, frameData, 0, s.id)
	}
	c.end(s, sent)
	return appendHead(out, n, frameData, flagEndStream, s.id)
}
