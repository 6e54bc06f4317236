package driver

import (
	"sync"
	"sync/atomic"
)

const (
	readBytes  = 256 << 10 // one read. For large frames, fewer and larger writes are the cheapest, by measurement
	smallRead  = 4 << 10   // one read of a connection that is no socket: it holds its buffer while nothing comes
	chunkBytes = 16 << 10
	highMark   = 128 << 10 // above it, the other side isn't read
	lowMark    = 32 << 10  // below it, the other side is read again

	// MaxQueued is the most bytes that can wait for one side: highMark; a read of the other side that began just below it; the pongs
	// to a read of the side itself that was nothing but pings, and which are up to three times as long; the gateway's ping and
	// close; and what TLS adds to all of that.
	MaxQueued = highMark + readBytes + 3*readBytes + 8<<10
)

// pools lend memory for as long as it is needed. All goroutines of a driver may use them. Memory that is lent still holds the bytes of its
// last use: the borrower writes before it reads, and counts how much it has written.
type pools struct {
	chunks   sync.Pool // *chunk; counted by queue.first and n
	buffers  sync.Pool // *[readBytes]byte; by lent.n
	small    sync.Pool // *[smallRead]byte; by lent.n
	pendings sync.Pool // *pending; the zero value
	records  sync.Pool // *recordBuffer; by secured.partSize

	allocated atomic.Int64 // bytes of all chunks so far
}

type chunk [chunkBytes]byte

func newPools() *pools {
	ps := &pools{
		buffers:  sync.Pool{New: func() any { return new([readBytes]byte) }},
		small:    sync.Pool{New: func() any { return new([smallRead]byte) }},
		pendings: sync.Pool{New: func() any { return new(pending) }},
		records:  sync.Pool{New: func() any { return new(recordBuffer) }},
	}
	ps.chunks.New = func() any {
		ps.allocated.Add(chunkBytes)
		return new(chunk)
	}
	return ps
}

// A queue is bytes that wait for a side. The zero value is empty. Owned by its session's driver goroutine.
type queue struct {
	chunks []*chunk
	first  int // where the bytes begin in chunks[0]
	n      int // bytes
}

// append copies p to the end.
func (q *queue) append(ps *pools, p []byte) {
	for len(p) > 0 {
		end := (q.first + q.n) % chunkBytes
		if q.first+q.n == len(q.chunks)*chunkBytes {
			q.chunks = append(q.chunks, ps.chunks.Get().(*chunk))
			end = 0
		}
		k := copy(q.chunks[len(q.chunks)-1][end:], p)
		q.n += k
		p = p[k:]
	}
}

// slices appends the bytes, in order, to dst, as at most limit slices.
func (q *queue) slices(dst [][]byte, limit int) [][]byte {
	first, n := q.first, q.n
	for i := 0; n > 0 && i < limit; i++ {
		k := min(n, chunkBytes-first)
		dst = append(dst, q.chunks[i][first:first+k])
		n -= k
		first = 0
	}
	return dst
}

// drop removes the first k bytes.
func (q *queue) drop(ps *pools, k int) {
	q.first += k
	q.n -= k
	free := q.first / chunkBytes
	if q.n == 0 {
		free = len(q.chunks)
	}
	for i := range free {
		ps.chunks.Put(q.chunks[i])
	}
	q.chunks = append(q.chunks[:0], q.chunks[free:]...)
	if q.n == 0 {
		q.first = 0
		q.chunks = nil
	} else {
		q.first %= chunkBytes
	}
}
