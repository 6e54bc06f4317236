package upgrade

import "sync"

// Buffer holds the bytes that one side has sent: a head and bytes after it,
// together at most MaxHeadBytes. Owned by the goroutine of the handshake. The zero
// value is ready for use.
type Buffer struct {
	bytes [MaxHeadBytes]byte
	count int
}

// Bytes returns the bytes in the buffer, which the next Discard or Reset overwrites.
func (b *Buffer) Bytes() []byte { return b.bytes[:b.count] }

// Free returns the space to read into; empty when the buffer is full.
func (b *Buffer) Free() []byte { return b.bytes[b.count:] }

// Grow adds the first n bytes of Free to the buffer.
func (b *Buffer) Grow(n int) { b.count += n }

// Discard drops the first n bytes and moves the others to the front.
func (b *Buffer) Discard(n int) { b.count = copy(b.bytes[:], b.bytes[n:b.count]) }

// Reset empties the buffer.
func (b *Buffer) Reset() { b.count = 0 }

// Handshake is the memory of one handshake. No slice of it may be used after it
// was put back.
type Handshake struct {
	FromClient  Buffer
	Request     Request
	FromBackend Buffer
	Answer      Answer
	Out         [][]byte // space for AppendForward
}

// Pool holds Handshakes that are not in use, so that a relayed session holds none.
// The zero value is ready for use. It is safe for concurrent use.
type Pool struct{ pool sync.Pool }

// Get returns a Handshake that is ready for use.
func (p *Pool) Get() *Handshake {
	if h, ok := p.pool.Get().(*Handshake); ok {
		return h
	}
	return new(Handshake)
}

// Put takes h back, which the caller must not use any more.
func (p *Pool) Put(h *Handshake) {
	h.FromClient.Reset()
	h.Request.Reset()
	h.FromBackend.Reset()
	h.Answer.Reset()
	clear(h.Out[:cap(h.Out)])
	h.Out = h.Out[:0]
	p.pool.Put(h)
}
