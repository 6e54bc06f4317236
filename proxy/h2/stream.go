package h2

import "slices"

// A Stream is one stream of a Conn. It may be used after its end: nothing can be sent on it then.
type Stream struct {
	// Owner is the caller's, and so is IsWaiting.
	Owner uint64

	body  int64 // bytes of DATA that content-length announces and that haven't come; negative: not known
	id    uint32
	send  int32 // bytes of DATA that the peer lets us send; may be negative
	recv  int32 // bytes of DATA that the peer may send
	taken int32 // bytes of DATA that are to be given back to it
	state state

	IsWaiting bool
}

// A state is what is known of a stream (RFC 9113 section 5.1): open without a flag, half-closed with sent or received, closed with both.
type state uint8

const (
	sent     state = 1 << iota // END_STREAM was sent
	received                   // END_STREAM has come
	gone                       // it is closed, and the Conn has it no longer
	answered                   // the final response has come (Client), or was sent (Server)
	tunnel                     // of CONNECT: only DATA passes
	bodyless                   // the request's method is HEAD (Client)
)

func (s *Stream) is(f state) bool { return s.state&f != 0 }

// ID returns the stream's identifier.
func (s *Stream) ID() uint32 { return s.id }

// CanSend reports whether the stream's own direction is open.
func (c *Conn) CanSend(s *Stream) bool { return !s.is(sent | gone) }

// IsAnswered reports whether the final response has come (Client), or was sent (Server).
func (c *Conn) IsAnswered(s *Stream) bool { return s.is(answered) }

// HasEnded reports whether the peer's direction has ended.
func (c *Conn) HasEnded(s *Stream) bool { return s.is(received | gone) }

// Count returns how many streams are open.
func (c *Conn) Count() int { return len(c.streams) }

// Streams calls f for each stream, from the newest on. f may end it.
func (c *Conn) Streams(f func(*Stream)) {
	for i := len(c.streams) - 1; i >= 0; i-- {
		if i < len(c.streams) {
			f(c.streams[i])
		}
	}
}

// AppendReset resets a stream: nothing of it is reported any more. It does nothing to a stream that has ended both ways.
func (c *Conn) AppendReset(out []byte, s *Stream, code Code) []byte {
	if s.is(gone) {
		return out
	}
	c.remove(s)
	if c.config.Role == Client {
		c.late += latePerReset
	}
	return c.appendReset(out, s.id, code)
}

func (c *Conn) appendReset(out []byte, id uint32, code Code) []byte {
	c.resetUpTo = max(c.resetUpTo, id)
	return appendUint32(out, frameRSTStream, id, uint32(code))
}

// streamError answers an error that concerns one stream (RFC 9113 section 5.4.2); s is nil if it isn't known.
func (c *Conn) streamError(id uint32, s *Stream, code Code, text string) (Event, *Fault) {
	if f := c.countReset(s); f != nil {
		return Event{}, f
	}
	c.out = c.appendReset(c.out, id, code)
	if s == nil {
		return Event{}, nil
	}
	c.remove(s)
	return Event{Kind: Reset, Stream: s, Code: code, Fault: &StreamFault{code, text}}, nil
}

// end notes the end of a direction.
func (c *Conn) end(s *Stream, f state) {
	s.state |= f
	if s.is(sent) && s.is(received) {
		c.remove(s)
	}
}

// peerEnded notes the end of the peer's direction. A tunnel that a client ends before the answer will be none: that is counted as its reset.
func (c *Conn) peerEnded(s *Stream) *Fault {
	c.end(s, received)
	if c.config.Role == Server && s.is(tunnel) && !s.is(answered) {
		return c.count(boundReset)
	}
	return nil
}

// isIdle reports whether no stream with the id has been opened. Streams that a server opens don't exist: push isn't supported.
func (c *Conn) isIdle(id uint32) bool { return id%2 == 0 || id > c.highest }

// index returns where the stream is, or where one with its id would be.
func (c *Conn) index(id uint32) (int, bool) {
	return slices.BinarySearchFunc(c.streams, id, func(s *Stream, id uint32) int { return int(int64(s.id) - int64(id)) })
}

// find returns a stream that isn't closed, or nil.
func (c *Conn) find(id uint32) *Stream {
	if i, ok := c.index(id); ok {
		return c.streams[i]
	}
	return nil
}

func (c *Conn) remove(s *Stream) {
	if s.is(gone) {
		return
	}
	s.state |= gone
	i, _ := c.index(s.id)
	c.streams = slices.Delete(c.streams, i, i+1)
	if len(c.streams) == 0 && cap(c.streams) > 16 {
		c.streams = nil
	}
}
