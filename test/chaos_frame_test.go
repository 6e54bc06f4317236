//go:build unix

package test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/gobwas/ws"
)

// chaosNoise is the source of the payload of data frames: consecutive frames carry consecutive parts of it.
var chaosNoise = func() []byte {
	p := make([]byte, 4<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(p)
	return p
}()

// A drawer draws the frames of one side of a session. Owned by the goroutine that sends them.
type drawer struct {
	dice
	isMasked bool
	next     int  // where in chaosNoise the payload of the next data frame begins
	isOpen   bool // a fragmented message has begun and not ended
}

// frame returns the bytes of the next frame of a correct sender: mostly data, fragmented or not, with pings and pongs between.
func (f *drawer) frame() []byte {
	if f.oneIn(8) {
		return f.encode(ws.Header{Fin: true, OpCode: one(f.dice, ws.OpPing, ws.OpPong)}, []byte(f.letters(f.between(0, 125))))
	}
	h := ws.Header{Fin: f.oneIn(2) || f.oneIn(3), OpCode: ws.OpBinary}
	if f.isOpen {
		h.OpCode = ws.OpContinuation
	}
	f.isOpen = !h.Fin
	n := f.size()
	if f.next+n > len(chaosNoise) {
		n = 0
	}
	payload := chaosNoise[f.next : f.next+n]
	f.next += n
	return f.encode(h, payload)
}

// encode returns the bytes of a frame as this side sends them.
func (f *drawer) encode(h ws.Header, payload []byte) []byte {
	h.Masked, h.Length = f.isMasked, int64(len(payload))
	payload = append(make([]byte, 0, len(payload)), payload...)
	if h.Masked {
		binary.LittleEndian.PutUint32(h.Mask[:], f.Uint32())
		ws.Cipher(payload, h.Mask, 0)
	}
	p, err := ws.CompileFrame(ws.Frame{Header: h, Payload: payload})
	if err != nil {
		panic(err) // a length that fits into memory always fits into a header
	}
	return p
}

func (f *drawer) closeFrame() []byte {
	payload := binary.BigEndian.AppendUint16(nil, one[uint16](f.dice, 1000, 1000, 1001, 1008, 1011, 1012, 3000, 4999))
	payload = append(payload, f.letters(f.between(0, 123))...)
	if f.oneIn(8) {
		payload = nil
	}
	return f.encode(ws.Header{Fin: true, OpCode: ws.OpClose}, payload)
}

// fault returns bytes that break the protocol, by themselves or after what was sent.
func (f *drawer) fault() []byte {
	header := func(h ws.Header) []byte { return f.encode(h, []byte(f.letters(f.between(0, 200)))) }
	switch f.IntN(11) {
	case 0:
		return []byte("\xff\xff\xff")
	case 1: // masked by a backend, or unmasked by a client
		other := *f
		other.isMasked = !f.isMasked
		return other.encode(ws.Header{Fin: true, OpCode: ws.OpText}, []byte("masked?"))
	case 2:
		return header(ws.Header{Fin: true, OpCode: ws.OpText, Rsv: byte(f.between(1, 7))})
	case 3:
		return header(ws.Header{Fin: true, OpCode: one[ws.OpCode](f.dice, 3, 7, 11, 15)})
	case 4: // a continuation of no message, or a new message inside a fragmented one
		h := ws.Header{OpCode: ws.OpContinuation}
		if f.isOpen {
			h.OpCode = ws.OpText
		}
		return header(h)
	case 5: // a control frame that is too long, or fragmented
		return f.encode(ws.Header{Fin: f.oneIn(2), OpCode: one(f.dice, ws.OpPing, ws.OpPong, ws.OpClose)}, []byte(strings.Repeat("c", 126)))
	case 6: // malformed closes
		return f.encode(ws.Header{Fin: true, OpCode: ws.OpClose}, []byte(one(f.dice, "\x03", "\x03\xed", "\x00\x00", "\x03\xe8\xff\xfe", "\xff\xff")))
	case 7: // a length not in its shortest form, or with the most significant bit set
		length := one[uint64](f.dice, 3, math.MaxUint16, 1<<62, 1<<63, math.MaxUint64)
		p := binary.BigEndian.AppendUint64([]byte{0x82, 127}, length)
		if f.isMasked {
			p[1] |= 0x80
			p = append(p, "mask"...)
		}
		return append(p, "abc"...)
	case 8: // text that is not valid UTF-8
		return f.encode(ws.Header{Fin: true, OpCode: ws.OpText}, []byte("\xc3\x28"))
	case 9:
		return []byte(f.mutate(string(f.frame())))
	default:
		return []byte(f.octets(f.between(1, 3000)))
	}
}
