package h2

import (
	"encoding/binary"
	"slices"
)

// Types of frames (RFC 9113 section 6).
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	framePriority     = 0x2
	frameRSTStream    = 0x3
	frameSettings     = 0x4
	framePushPromise  = 0x5
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindowUpdate = 0x8
	frameContinuation = 0x9
)

// Flags of frames. ACK and END_STREAM are one bit.
const (
	flagAck        = 0x1
	flagEndStream  = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

const (
	headBytes = 9

	// maxFrame is the largest payload that is accepted and sent: the initial value of SETTINGS_MAX_FRAME_SIZE, which is also the least that a
	// peer may set.
	maxFrame = 1 << 14

	maxWindow = 1<<31 - 1
)

// A frameHead is what each frame begins with (RFC 9113 section 4.1):
//
//	length (24) | type (8) | flags (8) | reserved (1) | stream identifier (31)
type frameHead struct {
	length int
	kind   uint8
	flags  uint8
	id     uint32
}

func readHead(p []byte) frameHead {
	return frameHead{
		length: int(p[0])<<16 | int(p[1])<<8 | int(p[2]),
		kind:   p[3],
		flags:  p[4],
		id:     binary.BigEndian.Uint32(p[5:]) & (1<<31 - 1),
	}
}

func appendHead(out []byte, length int, kind, flags uint8, id uint32) []byte {
	return append(out, byte(length>>16), byte(length>>8), byte(length), kind, flags, byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

func appendUint32(out []byte, kind uint8, id, v uint32) []byte {
	return binary.BigEndian.AppendUint32(appendHead(out, 4, kind, 0, id), v)
}

// checkHead refuses what a frame's head alone makes an error of the connection. It may be called again for the same head.
func (c *Conn) checkHead(h frameHead) *Fault {
	switch {
	case h.length > maxFrame:
		return &Fault{FrameSizeError, "a frame is larger than SETTINGS_MAX_FRAME_SIZE"}
	case !c.isReady && (h.kind != frameSettings || h.flags&flagAck != 0):
		// RFC 9113 section 3.4: "This sequence MUST be followed by a SETTINGS frame"
		return &Fault{ProtocolError, "the first frame is not SETTINGS"}
	case c.block.id != 0 && (h.kind != frameContinuation || h.id != c.block.id):
		return &Fault{ProtocolError, "a field block is interrupted by another frame"}
	case c.block.id == 0 && h.kind == frameContinuation:
		return &Fault{ProtocolError, "CONTINUATION without HEADERS before it"}
	}
	isConn := h.kind == frameSettings || h.kind == framePing || h.kind == frameGoAway
	if isConn && h.id != 0 {
		return &Fault{ProtocolError, "SETTINGS, PING or GOAWAY on a stream"}
	}
	if h.id == 0 && !isConn && h.kind < frameWindowUpdate {
		return &Fault{ProtocolError, "a frame that concerns a stream has none"}
	}
	want := -1
	switch h.kind {
	case framePing:
		want = 8
	case frameRSTStream, frameWindowUpdate:
		want = 4
	case frameGoAway:
		want = max(8, h.length)
	case frameSettings:
		want = h.length / 6 * 6
		if h.flags&flagAck != 0 {
			want = 0
		}
	}
	if want >= 0 && h.length != want {
		return &Fault{FrameSizeError, "PING, RST_STREAM, WINDOW_UPDATE, GOAWAY or SETTINGS of a size that it can't have"}
	}
	return nil
}

// receiveFrame handles a whole frame other than DATA. checkHead has passed it.
func (c *Conn) receiveFrame(h frameHead, p []byte) (Event, *Fault) {
	switch h.kind {
	case frameHeaders:
		return c.receiveHeaders(h, p)
	case frameContinuation:
		return c.receiveContinuation(h, p)
	case framePriority:
		return c.receivePriority(h, p)
	case frameRSTStream:
		return c.receiveReset(h, p)
	case frameSettings:
		return c.receiveSettings(h, p)
	case framePushPromise:
		// RFC 9113 section 8.4: "A client cannot push"; as a client, we have said SETTINGS_ENABLE_PUSH = 0.
		return Event{}, &Fault{ProtocolError, "PUSH_PROMISE"}
	case framePing:
		return c.receivePing(h, p)
	case frameGoAway:
		return c.receiveGoAway(p)
	case frameWindowUpdate:
		return c.receiveWindowUpdate(h, p)
	default:
		panic("BUG: a frame of an unknown type is not skipped")
	}
}

// receivePriority ignores priorities, which RFC 9113 section 5.3.2 deprecates.
func (c *Conn) receivePriority(h frameHead, p []byte) (Event, *Fault) {
	if f := c.count(boundPriority); f != nil {
		return Event{}, f
	}
	s := c.find(h.id)
	switch {
	case len(p) != 5 && s == nil:
		return Event{}, &Fault{FrameSizeError, "PRIORITY of a size other than 5"}
	case len(p) != 5:
		return c.streamError(h.id, s, FrameSizeError, "PRIORITY of a size other than 5")
	case !isSelfDependent(h.id, p):
		return Event{}, nil
	case s == nil:
		return Event{}, &Fault{ProtocolError, "a stream depends on itself"}
	default:
		return c.streamError(h.id, s, ProtocolError, "the stream depends on itself")
	}
}

// isSelfDependent reports whether a stream depends on itself, which RFC 7540 section 5.3.1 made an error of the stream.
func isSelfDependent(id uint32, p []byte) bool {
	return binary.BigEndian.Uint32(p)&(1<<31-1) == id
}

func (c *Conn) receiveReset(h frameHead, p []byte) (Event, *Fault) {
	if c.isIdle(h.id) {
		return Event{}, &Fault{ProtocolError, "RST_STREAM on an idle stream"}
	}
	s := c.find(h.id)
	if f := c.countReset(s); f != nil {
		return Event{}, f
	}
	if s == nil {
		return Event{}, nil
	}
	c.remove(s)
	return Event{Kind: Reset, Stream: s, Code: Code(binary.BigEndian.Uint32(p))}, nil
}

func (c *Conn) receivePing(h frameHead, p []byte) (Event, *Fault) {
	if f := c.count(boundPing); f != nil {
		return Event{}, f
	}
	if h.flags&flagAck == 0 {
		c.out = append(appendHead(c.out, 8, framePing, flagAck, 0), p...)
	}
	return Event{}, nil
}

// AppendPing asks the peer for an answer, which is no event: anything that comes shows that the peer is there.
func (c *Conn) AppendPing(out []byte) []byte {
	return append(appendHead(out, 8, framePing, 0, 0), make([]byte, 8)...)
}

func (c *Conn) receiveGoAway(p []byte) (Event, *Fault) {
	if f := c.count(boundSettings); f != nil {
		return Event{}, f
	}
	last, code := binary.BigEndian.Uint32(p)&(1<<31-1), Code(binary.BigEndian.Uint32(p[4:]))
	if c.config.Role == Client {
		if c.isPeerGoing && last > c.refusedOver {
			last = c.refusedOver // RFC 9113 section 6.8: "Endpoints MUST NOT increase the value they send"
		}
		c.refusedOver, c.hasRefused = last, true
	}
	c.isPeerGoing = true
	return Event{Kind: GoingAway, Code: code, Last: last}, nil
}

// AppendGoAway tells the peer that no further stream is accepted (Server) or opened. Those that are open go on; a Server refuses later ones with RefusedStream.
func (c *Conn) AppendGoAway(out []byte, code Code, text string) []byte {
	if !c.isGoing {
		c.isGoing = true
		if c.config.Role == Server {
			c.lastAccepted = c.highest
		}
	}
	text = text[:min(len(text), 256)]
	out = slices.Grow(out, headBytes+8+len(text))
	out = appendHead(out, 8+len(text), frameGoAway, 0, 0)
	out = binary.BigEndian.AppendUint32(out, c.lastAccepted)
	out = binary.BigEndian.AppendUint32(out, uint32(code))
	return append(out, text...)
}
