//go:build linux

package load

import "time"

// timer is the instant at which the client of a slot is to be handled.
type timer struct {
	at   time.Duration
	slot uint32
}

// timers is a heap by at, with the next timer first. container/heap would allocate for each timer.
type timers []timer

func (h *timers) push(t timer) {
	*h = append(*h, t)
	s := *h
	for i := len(s) - 1; i > 0; {
		parent := (i - 1) / 2
		if s[parent].at <= s[i].at {
			return
		}
		s[parent], s[i] = s[i], s[parent]
		i = parent
	}
}

func (h *timers) pop() timer {
	s := *h
	first, last := s[0], len(s)-1
	s[0] = s[last]
	s = s[:last]
	*h = s
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			return first
		}
		if child+1 < last && s[child+1].at < s[child].at {
			child++
		}
		if s[i].at <= s[child].at {
			return first
		}
		s[i], s[child] = s[child], s[i]
		i = child
	}
}
