package upgrade

import "sync"

// Buffer holds what has come from one side: a head and bytes behind it, together
// at most MaxHeadBytes. Owned by the goroutine of the handshake. The zero value
// is ready.
type Buffer struct {
	bytes [MaxHeadBytes]byte
	count int
}

// Bytes returns what the buffer holds.
func (b *Buffer) Bytes() []byte { return b.bytes[:b.count] }

// Free returns the space to read into; empty when the buffer is full.
func (b *Buffer) Free() []byte { return b.bytes[b.count:] }

// Grow tells that n bytes were read into Free.
func (b *Buffer) Grow(n int) { b.count += n }

// Discard drops the first n bytes and moves the others to the front.
func (b *Buffer) Discard(n int) { b.count = copy(b.bytes[:], b.bytes[n:b.count]) }

// Reset empties the buffer.
func (b *Buffer) Reset() { b.count = 0 }

// Handshake is the memory of one handshake. Everything that its parts return
// dies when it is put back.
type Handshake struct {
	FromClient  Buffer
	Request     Request
	FromBackend Buffer
	Answer      Answer
	Out         [][]byte // space for AppendForward
}

// Pool holds Handshakes that are not in use, so that a session that is relayed
// holds none. The zero value is ready. Safe for use by any goroutine.
type Pool struct{ pool sync.Pool }

// Get returns a Handshake that is ready for use.
func (p *Pool) Get() *Handshake {
	if h, ok := p.pool.Get().(*Handshake); ok {
		return h
	}
	return new(Handshake)
}

// Put takes h back. Nothing of it may be used any more.
func (p *Pool) Put(h *Handshake) {
	h.FromClient.Reset()
	h.Request.Reset()
	h.FromBackend.Reset()
	h.Answer.Reset()
	clear(h.Out[:cap(h.Out)])
	h.Out = h.Out[:0]
	p.pool.Put(h)
}
