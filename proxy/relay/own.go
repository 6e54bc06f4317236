package relay

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/gobwas/ws"
)

// maxPongs is how many bytes of unsent pongs a side may cause. Above it, the side isn't read.
const maxPongs = 4 << 10

// AtBoundary reports whether the stream to a side, as far as it has been passed, ends between frames: a frame of the
// gateway's own may be put there.
func (s *Session) AtBoundary(to Side) bool { return s.in[to.Other()].left == 0 }

// AppendPong appends the answer to a ping that Scan found (the whole frame) to dst. If the stream to that side is
// AtBoundary, dst is its queue, and the driver calls PongQueued afterwards. Else dst is what the driver keeps for the next
// boundary, and it calls PongHeld afterwards.
func (s *Session) AppendPong(dst []byte, to Side, ping []byte) []byte {
	var buf [maxControlPayload]byte
	return appendFrame(dst, to, opPong, payload(buf[:], to, ping))
}

// Mirrored notes that a ping (the whole frame) that Scan found has been put into the other side's queue as well, with queued bytes waiting
// there now, it included. For that side it counts as a ping of the gateway's own: its pong passes nowhere.
func (s *Session) Mirrored(from Side, ping []byte, queued int) {
	var buf [maxControlPayload]byte
	out := &s.out[from.Other()]
	out.pingState = pingQueued
	out.pingLeft = int32(queued)
	out.mirrored = sumOf(payload(buf[:], from, ping))
}

// PongQueued notes n bytes of pong at the end of a side's queue, with queued bytes waiting now, them included. For the
// pongs that were held, n is 0: they have been counted.
func (s *Session) PongQueued(to Side, n, queued int) {
	n += int(s.out[to].held)
	s.out[to].held = 0
	s.AnswerQueued(to, n, queued)
}

// AnswerQueued notes n bytes at the end of a side's queue, with queued bytes waiting now, them included, by which the side's transport
// answers the side itself. They count as pongs.
func (s *Session) AnswerQueued(to Side, n, queued int) {
	s.out[to].pongs += int32(n)
	s.out[to].pongsLeft = int32(queued)
	s.pausePongs(to)
}

// PongHeld notes n bytes of pong that wait for a boundary: there Scan stops with Own, and the driver moves all that it
// holds to the queue. The driver never holds more than maxPongs bytes and the pongs to the rest of the buffer that exceeded
// them: for a client no more than that buffer's length, as a pong lacks the ping's masking key; for a backend three times that.
func (s *Session) PongHeld(to Side, n int) {
	s.out[to].held += int32(n)
	s.pausePongs(to)
}

// pausePongs stops reading a side that pings faster than it accepts the pongs.
func (s *Session) pausePongs(to Side) {
	if s.out[to].pongs+s.out[to].held > maxPongs {
		s.in[to].paused |= pausePongs
	}
}

// AppendOwn appends the frames of the gateway's own that wait for side and may go now, for the end of its queue, after
// the pongs that were held: a ping, a close. queued: bytes that wait in front of them. Nothing is appended where the
// stream isn't at a boundary; Scan stops at the next.
func (s *Session) AppendOwn(e *Env, to Side, dst []byte, queued int) []byte {
	out := &s.out[to]
	if !s.AtBoundary(to) {
		return dst
	}
	start := len(dst)
	if out.pingState == pingDue && out.state <= outWanting {
		var id [8]byte
		binary.BigEndian.PutUint64(id[:], s.newPing(to))
		dst = appendFrame(dst, to, opPing, id[:])
		out.pingLeft = int32(queued + len(dst) - start)
	}
	if out.state == outWanting && s.isClosable(to) {
		code, reason, isTold := s.codeFor(e.Config, to)
		if !isTold {
			s.endStream(to)
			return dst
		}
		dst = appendClose(dst, to, code, reason)
		out.state = outClosing
	}
	return dst
}

// isWaiting reports whether a frame of the gateway's own waits for a boundary.
func (o *output) isWaiting() bool {
	return o.state == outWanting || o.state == outOpen && o.held > 0
}

func appendClose(dst []byte, to Side, code uint16, reason string) []byte {
	if code == 0 {
		return appendFrame(dst, to, opClose, nil)
	}
	var body [maxControlPayload]byte
	binary.BigEndian.PutUint16(body[:], code)
	n := 2 + copy(body[2:], reason)
	return appendFrame(dst, to, opClose, body[:n])
}

// appendFrame appends an unfragmented frame of at most 125 bytes of payload, masked if it goes to a backend.
func appendFrame(dst []byte, to Side, opcode byte, payload []byte) []byte {
	if to == Client {
		dst = append(dst, bitFin|opcode, byte(len(payload)))
		return append(dst, payload...)
	}
	// RFC 6455 section 5.3: "The masking key needs to be unpredictable": math/rand/v2's source is ChaCha8, seeded by the OS.
	var key [4]byte
	binary.LittleEndian.PutUint32(key[:], rand.Uint32())
	dst = append(dst, bitFin|opcode, bitMask|byte(len(payload)))
	dst = append(dst, key[:]...)
	start := len(dst)
	dst = append(dst, payload...)
	ws.Cipher(dst[start:], key, 0)
	return dst
}
