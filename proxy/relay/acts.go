package relay

// Acts is a set of things that the driver must do.
type Acts uint16

const (
	ActTimer Acts = 1 << iota // Deadline may have come nearer
	ActShut                   // end the client's stream: flush, close_notify, SHUT_WR
	actOwnClient
	actOwnBackend
	actCloseClient
	actCloseBackend
	actResetClient
	actResetBackend
	actUnackedClient
	actUnackedBackend
)

func actOwn(s Side) Acts     { return actOwnClient << s }
func actClose(s Side) Acts   { return actCloseClient << s }
func actReset(s Side) Acts   { return actResetClient << s }
func actUnacked(s Side) Acts { return actUnackedClient << s }

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

// Reads reports whether the driver is to read a side: for Scan or, while the side lingers, for Discarded.
func (s *Session) Reads(side Side) bool {
	in, out := &s.in[side], &s.out[side]
	return in.state == inOpen && in.paused == 0 && out.state != outGone || out.state == outEnding
}

// IsLingering reports whether the driver is to discard what a side sends, and to call Discarded.
func (s *Session) IsLingering(side Side) bool { return s.out[side].state == outEnding }

// IsWritable reports whether bytes may still be written to a side.
func (s *Session) IsWritable(side Side) bool { return s.out[side].state < outBroken }

// IsGone reports whether a side's connection is closed.
func (s *Session) IsGone(side Side) bool { return s.out[side].state == outGone }

// IsOver reports whether both connections are closed.
func (s *Session) IsOver() bool { return s.IsGone(Client) && s.IsGone(Backend) }
