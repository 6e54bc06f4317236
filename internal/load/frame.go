package load

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"

	"github.com/gobwas/ws"
)

// header is a frame header as a server sends it.
type header struct {
	isFinal bool
	opcode  ws.OpCode
	length  int64
}

// parseHeader parses the header at the start of p and returns its size, or 0 if it needs more bytes.
func parseHeader(p []byte) (h header, size int, f *fault) {
	if len(p) < 2 {
		return header{}, 0, nil
	}
	h = header{p[0]&0x80 != 0, ws.OpCode(p[0] & 0x0f), int64(p[1] & 0x7f)}
	switch {
	case p[0]&0x70 != 0 || h.opcode.IsReserved():
		return header{}, 0, faultf("protocol", "frame starts with byte %#02x", p[0])
	case p[1]&0x80 != 0:
		return header{}, 0, faultf("protocol", "server masks its frame")
	case h.opcode.IsControl() && (!h.isFinal || h.length > 125):
		return header{}, 0, faultf("protocol", "control frame starts with bytes %#02x %#02x", p[0], p[1])
	case h.length < 126:
		return h, 2, nil
	case h.length == 126:
		if len(p) < 4 {
			return header{}, 0, nil
		}
		h.length, size = int64(binary.BigEndian.Uint16(p[2:])), 4
	default:
		if len(p) < 10 {
			return header{}, 0, nil
		}
		h.length, size = int64(binary.BigEndian.Uint64(p[2:])), 10
	}
	if h.length < 126 || size == 10 && h.length < 1<<16 {
		return header{}, 0, faultf("protocol", "length %d in %d bytes", h.length, size-2)
	}
	return h, size, nil
}

// appendFrame appends a frame as a client sends it.
func appendFrame(dst []byte, isFinal bool, opcode ws.OpCode, key [4]byte, payload []byte) []byte {
	dst = append(appendHeader(dst, isFinal, opcode, key, int64(len(payload))), payload...)
	ws.Cipher(dst[len(dst)-len(payload):], key, 0)
	return dst
}

// appendHeader appends the header of a masked frame.
func appendHeader(dst []byte, isFinal bool, opcode ws.OpCode, key [4]byte, length int64) []byte {
	first := byte(opcode)
	if isFinal {
		first |= 0x80
	}
	switch {
	case length < 126:
		dst = append(dst, first, 0x80|byte(length))
	case length < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, first, 0x80|126), uint16(length))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, first, 0x80|127), uint64(length))
	}
	return append(dst, key[:]...)
}

func newKey() (key [4]byte) {
	binary.BigEndian.PutUint32(key[:], rand.Uint32())
	return key
}

// template is a message that is sent again and again. Immutable, shared by all sessions.
type template struct {
	payload []byte
	frame   int    // bytes of a frame
	block   []byte // as many frames as one write may have, at least one
}

// maxBlock bounds the bytes of prepared frames for one write.
const maxBlock = 64 << 10

func newTemplate(size int) *template {
	t := &template{payload: make([]byte, size)}
	for i := range t.payload {
		t.payload[i] = byte(rand.Uint32())
	}
	frame := appendFrame(nil, true, ws.OpBinary, newKey(), t.payload)
	t.frame = len(frame)
	t.block = bytes.Repeat(frame, max(1, maxBlock/t.frame))
	return t
}
