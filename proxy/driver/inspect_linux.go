package driver

// stats implements controller.
func (l *loop) stats(h *Handle) (st Stats, isLive bool) {
	l.do(func() {
		var s slot
		if s, isLive = l.slots.session(h.id); isLive {
			st = statsOf(&s.core, s.pending, l.env.Now)
		}
	})
	return st, isLive
}

// statsOf implements controller.
func (l *loop) statsOf(handles []*Handle, report func(int, Stats)) {
	l.do(func() {
		for i, h := range handles {
			if s, isLive := l.slots.session(h.id); isLive {
				report(i, statsOf(&s.core, s.pending, l.env.Now))
			}
		}
	})
}

// Turns implements Driver.
func (d *Loops) Turns() Turns {
	d.mu.Lock()
	defer d.mu.Unlock()
	sum := d.pastTurns
	for l := range d.all() {
		l.do(func() { sum.Add(&l.turns) })
	}
	return sum
}
