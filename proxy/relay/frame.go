package relay

import "encoding/binary"

// Opcodes of RFC 6455 section 5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa

	opControl = 0x8 // the bit that makes an opcode a control frame's
)

// A frame's first byte: FIN, RSV1, RSV2, RSV3, then four bits of opcode.
// Its second byte: MASK, then seven bits of length.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-------+-+-------------+-------------------------------+
//	|F|R|R|R| opcode|M| payload len |  extended length (16 / 64)    |
//	|I|S|S|S|  (4)  |A|     (7)     |  if payload len is 126 / 127  |
//	|N|V|V|V|       |S|             |                               |
//	| |1|2|3|       |K|             |                               |
//	+-+-+-+-+-------+-+-------------+ - - - - - - - - - - - - - - - +
//	|  masking key (32), if MASK is set, after the length           |
//	+---------------------------------------------------------------+
const (
	bitFin  = 0x80
	bitRsv1 = 0x40
	bitRsv2 = 0x20
	bitRsv3 = 0x10
	bitMask = 0x80

	maxHeader         = 14  // 2 + 8 + 4
	maxControlPayload = 125 // RFC 6455 section 5.5
	maxControlFrame   = 2 + 4 + maxControlPayload
)

// MaxCarry is the most bytes that stay with the driver between two calls of Scan: a control frame less one byte.
// (A header less one byte is shorter.)
const MaxCarry = maxControlFrame - 1

// A header is a frame header that has arrived as a whole.
type header struct {
	opcode byte
	isFin  bool
	size   int   // bytes of the header itself
	length int64 // bytes of payload
}

// parseHeader reads the header at the start of p, which isn't empty. size is 0 while bytes of it are missing; a rule
// is reported as soon as the byte that breaks it has come, so that the result doesn't depend on how the bytes are split.
func (in *input) parseHeader(from Side, p []byte, hasDeflate bool) (h header, rule Rule) {
	b0 := p[0]
	h.opcode, h.isFin = b0&0x0f, b0&bitFin != 0
	if rule := in.checkFirst(b0, hasDeflate); rule != 0 {
		return h, rule
	}
	if len(p) < 2 {
		return h, 0
	}

	b1 := p[1]
	size := 2
	if from == Client {
		// RFC 6455 section 5.1: "a client MUST mask all frames that it sends to the server"
		if b1&bitMask == 0 {
			return h, RuleUnmasked
		}
		size += 4
	} else if b1&bitMask != 0 {
		// RFC 6455 section 5.1: "A server MUST NOT mask any frames that it sends to the client."
		return h, RuleMasked
	}
	n := b1 &^ bitMask
	switch {
	case n < 126:
		h.length = int64(n)
	case h.opcode&opControl != 0:
		// RFC 6455 section 5.5: "All control frames MUST have a payload length of 125 bytes or less"
		return h, RuleControlTooLong
	case n == 126:
		size += 2
		if len(p) < 4 {
			return h, 0
		}
		h.length = int64(binary.BigEndian.Uint16(p[2:]))
		// RFC 6455 section 5.2: "the minimal number of bytes MUST be used to encode the length"
		if h.length < 126 {
			return h, RuleLengthNotMinimal
		}
	default:
		size += 8
		if len(p) < 10 {
			return h, 0
		}
		u := binary.BigEndian.Uint64(p[2:])
		// RFC 6455 section 5.2: "the most significant bit MUST be 0"
		if u>>63 != 0 {
			return h, RuleLengthTopBit
		}
		if u <= 0xffff {
			return h, RuleLengthNotMinimal
		}
		h.length = int64(u)
	}
	if len(p) >= size {
		h.size = size
	}
	return h, 0
}

// checkFirst checks a frame's first byte against the message that it continues or begins.
func (in *input) checkFirst(b0 byte, hasDeflate bool) Rule {
	opcode := b0 & 0x0f
	if b0&(bitRsv2|bitRsv3) != 0 {
		return RuleReservedBit
	}
	// RFC 7692 section 6.1: RSV1 is set on the first frame of a compressed message and on no other.
	if b0&bitRsv1 != 0 && (!hasDeflate || opcode != opText && opcode != opBinary) {
		return RuleReservedBit
	}
	switch opcode {
	case opText, opBinary:
		if in.isInMessage {
			return RuleMessageInterrupted
		}
	case opContinuation:
		if !in.isInMessage {
			return RuleContinuation
		}
	case opClose, opPing, opPong:
		// RFC 6455 section 5.5: "and MUST NOT be fragmented"
		if b0&bitFin == 0 {
			return RuleControlFragmented
		}
	default:
		return RuleReservedOpcode
	}
	return 0
}
