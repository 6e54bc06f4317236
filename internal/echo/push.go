package echo

import (
	"math"

	"github.com/gobwas/ws"
)

// maxBlock bounds the block of prepared frames: as many whole ones as fit, or the start of a large one.
const maxBlock = 256 << 10

// push is the stream of a /push connection: the same binary frame again and again, then a close. It has the owner of its conn.
type push struct {
	block  []byte // immutable, shared: newPushBlock
	header int64  // bytes of a frame's header
	frame  int64  // bytes of a frame
	sent   int64
	total  int64
}

// newPushBlock returns frames with size zero bytes of payload: whole ones, or the first part of one.
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

// newPush returns the stream of count messages of size bytes. Count 0 means an endless stream.
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

// next returns the bytes to send next, nil at the end. The caller calls advance with how many were sent.
func (p *push) next() []byte {
	left, whole := p.total-p.sent, int64(len(p.block))
	if whole >= p.frame {
		at := p.sent % whole
		return p.block[at:min(whole, at+left)]
	}
	// The frame is larger than the block. After the header all bytes of its payload are the same.
	at := p.sent % p.frame
	start := min(at, p.header)
	return p.block[start:min(whole, start+p.frame-at)]
}

func (p *push) advance(n int) { p.sent += int64(n) }

// boundary returns how many bytes must be sent before another frame may be: 0 between two frames.
func (p *push) boundary() int64 { return (p.frame - p.sent%p.frame) % p.frame }

func (p *push) isDone() bool { return p.sent == p.total }
