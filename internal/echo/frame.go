package echo

import (
	"encoding/binary"

	"github.com/gobwas/ws"
)

// header is a frame header as a client sends it.
//
//	 0 1 2 3 4 5 6 7 8 9 a b c d e f
//	+-+-+-+-+-------+-+-------------+-------------------------------+---------------+
//	|F|R|R|R|opcode |M| length      | 16 or 64 bits of length if    | masking key   |
//	|I|S|S|S|  (4)  |A|     (7)     | that is 126 or 127            |   (32)        |
//	|N|V|V|V|       |S|             |                               |               |
//	+-+-+-+-+-------+-+-------------+-------------------------------+---------------+
type header struct {
	isFinal bool
	opcode  ws.OpCode
	key     [4]byte
	length  int64
}

// parseHeader parses the header at the start of p and returns its size, or 0 if it needs more bytes. A fault is a close code. It does
// not check rules between frames.
func parseHeader(p []byte) (h header, size int, fault ws.StatusCode) {
	if len(p) < 2 {
		return header{}, 0, 0
	}
	h.isFinal, h.opcode = p[0]&0x80 != 0, ws.OpCode(p[0]&0x0f)
	// RFC 6455 section 5.2: RSV bits "MUST be 0 unless an extension is negotiated"; section 5.1: "a server MUST close the
	// connection upon receiving a frame that is not masked".
	if p[0]&0x70 != 0 || h.opcode.IsReserved() || p[1]&0x80 == 0 {
		return header{}, 0, ws.StatusProtocolError
	}
	length, size := uint64(p[1]&0x7f), 6
	// Section 5.5: control frames "MUST have a payload length of 125 bytes or less and MUST NOT be fragmented".
	if h.opcode.IsControl() && (length > 125 || !h.isFinal) {
		return header{}, 0, ws.StatusProtocolError
	}
	switch length {
	case 126:
		size = 8
	case 127:
		size = 14
	}
	if len(p) < size {
		return header{}, 0, 0
	}
	// Section 5.2: "the minimal number of bytes MUST be used", "the most significant bit MUST be 0".
	switch size {
	case 8:
		length = uint64(binary.BigEndian.Uint16(p[2:]))
		if length < 126 {
			return header{}, 0, ws.StatusProtocolError
		}
	case 14:
		length = binary.BigEndian.Uint64(p[2:])
		if length < 1<<16 || length > 1<<63-1 {
			return header{}, 0, ws.StatusProtocolError
		}
	}
	h.length = int64(length)
	copy(h.key[:], p[size-4:])
	return h, size, 0
}

// appendHeader appends the header of an unmasked frame. It is always four bytes shorter than the one it answers.
func appendHeader(dst []byte, isFinal bool, opcode ws.OpCode, length int64) []byte {
	first := byte(opcode)
	if isFinal {
		first |= 0x80
	}
	switch {
	case length < 126:
		return append(dst, first, byte(length))
	case length < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, first, 126), uint16(length))
	default:
		return binary.BigEndian.AppendUint64(append(dst, first, 127), uint64(length))
	}
}

// appendClose appends a close frame. Code 0 means a close without a code.
func appendClose(dst []byte, code ws.StatusCode) []byte {
	if code == 0 {
		return append(dst, 0x88, 0)
	}
	return binary.BigEndian.AppendUint16(append(dst, 0x88, 2), uint16(code))
}

// isCloseCode reports whether a peer may send code. RFC 6455 section 7.4, with the registry's 1012 to 1014.
func isCloseCode(code uint16) bool {
	return code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
}
