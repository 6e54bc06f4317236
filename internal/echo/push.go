package echo

import (
	"math"

	"github.com/gobwas/ws"
)

// maxBlock bounds the bytes of frames that are kept ready: as many whole small ones, or the start of a large one.
const maxBlock = 256 << 10

// push is the stream of a /push connection: the same binary frame over and over, then a close. Owned as its conn is.
type push struct {
	block  []byte // immutable, shared: newPushBlock
	header int64  // bytes of a frame's header
	frame  int64  // bytes of a frame
	sent   int64
	total  int64
}

// newPushBlock returns frames of size bytes of zeros: whole ones, or the first part of one.
func newPushBlock(size int64) []byte {
	var h []byte
	h = appendHeader(h, true, ws.OpBinary, size)
	frame := int64(len(h)) + size
	if frame > maxBlock {
		return append(h, make([]byte, maxBlock-len(h))...)
	}
	block := make([]byte, maxBlock/frame*frame)
	for i := int64(0); i < int64(len(block)); i += frame {
		copy(block[i:], h)
	}
	return block
}

// newPush returns the stream of count messages of size bytes; count 0 is one without an end.
func newPush(block []byte, size, count int64) *push {
	header := int64(len(appendHeader(nil, true, ws.OpBinary, size)))
	p := &push{block: block, header: header, frame: header + size}
	most := math.MaxInt64 / p.frame
	if count == 0 || count > most {
		count = most
	}
	p.total = count * p.frame
	return p
}

// next returns what is to be sent next: nil when all is. The caller says by advance how much of it was.
func (p *push) next() []byte {
	left, whole := p.total-p.sent, int64(len(p.block))
	if whole >= p.frame {
		at := p.sent % whole
		return p.block[at:min(whole, at+left)]
	}
	// The frame is larger than the block: behind the header its payload is the same everywhere.
	at := p.sent % p.frame
	start := min(at, p.header)
	return p.block[start:min(whole, start+p.frame-at)]
}

func (p *push) advance(n int) { p.sent += int64(n) }

// boundary returns how much is to be sent before a frame of another kind may be: 0 at the border between two.
func (p *push) boundary() int64 { return (p.frame - p.sent%p.frame) % p.frame }

func (p *push) isDone() bool { return p.sent == p.total }
