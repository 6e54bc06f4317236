package relay

// Acts is a set of things that the driver must do.
type Acts uint16

const (
	ActTimer  Acts = 1 << iota // Deadline may have come nearer
	ActNotify                  // tell the backend that its stream ends (close_notify), and let it end the connection
	actShutClient
	actShutBackend
	actFlushClient
	actFlushBackend
	actOwnClient
	actOwnBackend
	actCloseClient
	actCloseBackend
	actResetClient
	actResetBackend
	actUnackedClient
	actUnackedBackend
)

func actShut(s Side) Acts    { return actShutClient << s }
func actFlush(s Side) Acts   { return actFlushClient << s }
func actOwn(s Side) Acts     { return actOwnClient << s }
func actClose(s Side) Acts   { return actCloseClient << s }
func actReset(s Side) Acts   { return actResetClient << s }
func actUnacked(s Side) Acts { return actUnackedClient << s }

// Shut reports whether side's stream is to be ended: close_notify, SHUT_WR. Nothing waits for the side any more.
func (a Acts) Shut(side Side) bool { return a&actShut(side) != 0 }

// Flush reports whether Sent is to be called for side, though nothing was written: its stream ends after what waits for it.
func (a Acts) Flush(side Side) bool { return a&actFlush(side) != 0 }

// Own reports whether AppendOwn is to be called for side.
func (a Acts) Own(side Side) bool { return a&actOwn(side) != 0 }

// Close reports whether side's connection is to be closed.
func (a Acts) Close(side Side) bool { return a&actClose(side) != 0 }

// Reset reports whether side's connection is to be cut by a reset, also if bytes wait.
func (a Acts) Reset(side Side) bool { return a&actReset(side) != 0 }

// Unacked reports whether the driver is asked to call Session.Unacked for side.
func (a Acts) Unacked(side Side) bool { return a&actUnacked(side) != 0 }

// TakeActs returns what the driver must do, each act once. The driver calls it after each call that changes the session, until it returns 0.
func (s *Session) TakeActs() Acts {
	a := s.acts
	s.acts = 0
	return a
}

// Reads reports whether the driver is to read a side: for Scan or, where it Discards, for Discarded. What a side sends is read up to its
// end: a connection that is closed while something of its peer is unread, or comes afterwards, is reset by the kernel, which then drops
// what the peer has yet to take.
func (s *Session) Reads(side Side) bool {
	out := &s.out[side]
	return s.in[side].paused == 0 && !out.hasEnded && out.state != outGone
}

// Discards reports whether the driver is to discard what a side sends, and to call Discarded.
func (s *Session) Discards(side Side) bool { return s.in[side].state != inOpen }

// IsLingering reports whether all that goes to a side is in the kernel, and nothing more is expected of the side.
func (s *Session) IsLingering(side Side) bool { return s.out[side].state == outEnding }

// IsShut reports whether a side's stream has been ended by Shut: of all that goes to the side, only what its transport has to say at the
// end may still wait.
func (s *Session) IsShut(side Side) bool {
	out := &s.out[side]
	return out.state == outEnding || out.state == outFlushed && out.isBare
}

// IsWritable reports whether bytes may still be written to a side.
func (s *Session) IsWritable(side Side) bool { return s.out[side].state < outBroken }

// IsGone reports whether a side's connection is closed.
func (s *Session) IsGone(side Side) bool { return s.out[side].state == outGone }

// IsOver reports whether both connections are closed.
func (s *Session) IsOver() bool { return s.IsGone(Client) && s.IsGone(Backend) }
