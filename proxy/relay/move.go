package relay

// Movable returns how many bytes of payload, from now on, a driver may move from a side to the other without showing them: the rest of
// the data frame that is on its way. 0: they have to come through Scan.
func (s *Session) Movable(from Side) int64 {
	in := &s.in[from]
	if in.state != inOpen || s.out[from.Other()].state > outWanting {
		return 0
	}
	return in.left
}

// Moved notes n bytes, more than 0 and at most Movable, that a side sent and that are in front of the other side now.
func (s *Session) Moved(e *Env, from Side, n int) {
	in, out := &s.in[from], &s.out[from.Other()]
	if in.clock < e.Now {
		out.restart(e.Now) // as in Scan
	}
	in.clock = e.Now
	s.out[from].heard()
	in.left -= int64(n)
	in.Bytes += uint64(n)
	e.Totals.Bytes[from] += uint64(n)
	s.dataAt = e.Now
	if s.out[from].isAnswering() {
		s.out[from].closedAt = e.Now
	}
	if in.left == 0 {
		in.end()
		if out.isWaiting() {
			s.acts |= actOwn(from.Other())
		}
	}
}
