package balancer

// turns is the order of a smooth weighted round robin: each member is due every 1/share, and who
// is due first is next. Guarded by the pool's picks.
type turns struct {
	share []float64
	heap  []turn // the least due first
}

type turn struct {
	due    float64
	member int
}

// newTurns begins each member at a random point of its first period: a snapshot that is built anew
// ever so often favours nobody.
func newTurns(share []float64, random func() uint64) *turns {
	t := &turns{share: share, heap: make([]turn, len(share))}
	for i, s := range share {
		t.heap[i] = turn{due: unit(random()) / s, member: i}
	}
	for i := len(t.heap)/2 - 1; i >= 0; i-- {
		t.sink(i)
	}
	return t
}

// next returns whose turn it is and gives that member its next one.
func (t *turns) next() int {
	first := t.heap[0].member
	t.heap[0].due += 1 / t.share[first]
	t.sink(0)
	return first
}

func (t *turns) sink(i int) {
	for {
		child := 2*i + 1
		if child >= len(t.heap) {
			return
		}
		if child+1 < len(t.heap) && t.heap[child+1].due < t.heap[child].due {
			child++
		}
		if t.heap[i].due <= t.heap[child].due {
			return
		}
		t.heap[i], t.heap[child] = t.heap[child], t.heap[i]
		i = child
	}
}

// unit makes a number from 0 to 1, without 1, of random bits.
func unit(bits uint64) float64 { return float64(bits>>11) / (1 << 53) }
