package echo

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// phase is the state of a connection. It only increases.
type phase uint8

const (
	phaseHead  phase = iota // the request's head is not complete
	phaseOpen               // frames
	phaseEnded              // the last byte was queued: send the queue, end this side, wait for the peer's end
	phaseCut                // send the queue and close: a frame was begun that can't be finished
)

// conn is the protocol's state of one connection, without its socket. Owned by the goroutine that reads it.
type conn struct {
	server *server // immutable

	phase phase
	carry []byte // received bytes that need more to be used: part of a head, a header or a close frame; usually nil
	push  *push  // the stream of /push; nil: echo

	// The frame that is being received.
	inFrame bool
	isFinal bool
	isKept  bool // its payload is sent back
	isText  bool // its payload is part of a text message
	key     [4]byte
	keyPos  int
	left    int64

	// The message that is being received.
	message ws.OpCode // OpText, OpBinary, or OpContinuation if the next data frame starts one
	text    text
}

// receive takes the carried bytes followed by those that were read, and returns the answer. It turns the input into the answer in place:
// p is overwritten, and the answer is valid until p is written to.
func (c *conn) receive(p []byte) (answer []byte) {
	if c.phase == phaseHead {
		size, answer := c.shakeHands(p)
		if c.phase == phaseOpen && size < len(p) {
			answer = append(answer, c.frames(p[size:])...)
		}
		return answer
	}
	return c.frames(p)
}

// frames is receive for an open connection.
func (c *conn) frames(p []byte) (answer []byte) {
	start, end, in := 0, 0, 0 // p[start:end] is the answer so far, p[in:] is still to be read
	undo := -1                // end before the current frame; -1 if that frame's header has been sent
	for {
		if !c.inFrame {
			h, size, fault := parseHeader(p[in:])
			isWhole := size > 0 && (h.opcode != ws.OpClose || h.length <= int64(len(p)-in-size))
			if fault == 0 && !isWhole {
				c.carry = bytes.Clone(p[in:])
				return p[start:end]
			}
			if fault == 0 && h.opcode == ws.OpClose {
				return c.close(p[start:end], p[in+size:][:h.length], h.key)
			}
			if fault == 0 {
				fault = c.begin(h)
			}
			if fault != 0 {
				return c.end(p[start:end], fault)
			}
			in += size
			// The first header is written directly before its payload, which then need not be moved.
			if start == end {
				start = in - (size - 4)
				end = start
			}
			undo = end
			if c.isKept {
				end = len(appendHeader(p[:end], h.isFinal, answerOpcode(h.opcode), h.length))
			}
		}
		part := p[in : in+int(min(int64(len(p)-in), c.left))]
		in += len(part)
		c.left -= int64(len(part))
		if c.isKept {
			ws.Cipher(part, c.key, c.keyPos)
			c.keyPos = (c.keyPos + len(part)) % len(c.key)
		}
		if c.isText && !c.checkText(part) {
			if undo < 0 {
				c.phase = phaseCut
				return nil
			}
			return c.end(p[start:undo], ws.StatusInvalidFramePayloadData)
		}
		if c.isKept {
			end += copy(p[end:], part)
		}
		if c.left > 0 {
			return p[start:end]
		}
		c.inFrame, undo = false, -1
	}
}

// begin handles the header of a frame other than a close.
func (c *conn) begin(h header) (fault ws.StatusCode) {
	c.isText = false
	if h.opcode.IsData() {
		// RFC 6455 section 5.4: a continuation needs a message to continue, and fragments of two messages must not mix.
		if (h.opcode == ws.OpContinuation) != (c.message != ws.OpContinuation) {
			return ws.StatusProtocolError
		}
		if h.opcode != ws.OpContinuation {
			c.message, c.text = h.opcode, text{}
		}
		c.isText = c.message == ws.OpText && c.push == nil
		if h.isFinal {
			c.message = ws.OpContinuation
		}
	}
	c.isKept = h.opcode == ws.OpPing || h.opcode.IsData() && c.push == nil
	c.inFrame, c.isFinal, c.key, c.keyPos, c.left = true, h.isFinal, h.key, 0, h.length
	return 0
}

// answerOpcode returns the opcode of the answer to a frame.
func answerOpcode(opcode ws.OpCode) ws.OpCode {
	if opcode == ws.OpPing {
		return ws.OpPong
	}
	return opcode
}

// checkText takes an unmasked part of a text message, and reports whether the message can still be UTF-8.
func (c *conn) checkText(part []byte) bool {
	return c.text.write(part) && (!c.isFinal || c.left > 0 || c.text.isWhole())
}

// close answers a close frame with its own code, or with the code of its fault.
//
//	payload: nothing, or a close code of 2 bytes, big endian, then a reason in UTF-8
func (c *conn) close(answer, payload []byte, key [4]byte) []byte {
	ws.Cipher(payload, key, 0)
	if len(payload) == 0 {
		return c.end(answer, 0)
	}
	if len(payload) == 1 {
		return c.end(answer, ws.StatusProtocolError)
	}
	code := binary.BigEndian.Uint16(payload)
	switch {
	case !isCloseCode(code):
		return c.end(answer, ws.StatusProtocolError)
	case !utf8.Valid(payload[2:]):
		return c.end(answer, ws.StatusInvalidFramePayloadData)
	}
	return c.end(answer, ws.StatusCode(code))
}

// end makes a close frame the last one. Input after its cause is not read.
func (c *conn) end(answer []byte, code ws.StatusCode) []byte {
	c.phase = phaseEnded
	return appendClose(answer, code)
}
