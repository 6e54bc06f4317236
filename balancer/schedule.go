package balancer

// A schedule is the order of a smooth weighted round robin, by the earliest deadline: each backend is
// due every 1/share, and the one that is due first is next. Guarded by the pool's picks.
type schedule struct {
	share []float64
	heap  []entry // the earliest deadline first
}

type entry struct {
	due   float64
	index int // of the candidate
}

// newSchedule starts each backend at a random point of its first period. A snapshot is often built
// anew, and must not favor the first backends each time.
func newSchedule(share []float64, random func() uint64) *schedule {
	s := &schedule{share: share, heap: make([]entry, len(share))}
	for i, w := range share {
		s.heap[i] = entry{due: unit(random()) / w, index: i}
	}
	for i := len(s.heap)/2 - 1; i >= 0; i-- {
		s.sink(i)
	}
	return s
}

// next returns the backend that is due and sets its next deadline.
func (s *schedule) next() int {
	first := s.heap[0].index
	s.heap[0].due += 1 / s.share[first]
	s.sink(0)
	return first
}

func (s *schedule) sink(i int) {
	for {
		child := 2*i + 1
		if child >= len(s.heap) {
			return
		}
		if child+1 < len(s.heap) && s.heap[child+1].due < s.heap[child].due {
			child++
		}
		if s.heap[i].due <= s.heap[child].due {
			return
		}
		s.heap[i], s.heap[child] = s.heap[child], s.heap[i]
		i = child
	}
}

// unit turns random bits into a number in [0, 1).
func unit(bits uint64) float64 { return float64(bits>>11) / (1 << 53) }
