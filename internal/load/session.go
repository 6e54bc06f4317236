package load

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/gobwas/ws"
)

// Instants are durations since the start of the run: one monotonic clock, eight bytes, compared by <.

// traffic is the messages that one session of a mode sends and expects. It has no clock and no socket. The owner of its session owns it.
type traffic interface {
	// begin allows it to send.
	begin(now time.Duration)
	// pending returns the bytes to send now, or nil. They are valid until the next call of any method. The caller calls advance with
	// how many of them were sent.
	pending(now time.Duration) []byte
	advance(now time.Duration, n int)
	// isBorder reports whether the bytes sent end with a whole frame.
	isBorder() bool
	// due returns the instant at which pending has bytes again even if no message arrives, or 0.
	due() time.Duration
	// data takes a part of a message's payload; isEnd: the last one.
	data(now time.Duration, opcode ws.OpCode, p []byte, isEnd bool) *fault
	// pong takes a pong's payload.
	pong(p []byte) *fault
	// stop makes it start no more messages.
	stop(now time.Duration)
	// isDone reports whether it neither sends nor expects anything more.
	isDone() bool
	// missing returns how many messages have not come back.
	missing() int64
}

type sessionState uint8

const (
	stateHead    sessionState = iota // the answer to the handshake is not complete
	stateOpen                        // frames
	stateClosing                     // a close was sent
	stateOver                        // a close was sent and received
)

// session is one connection's protocol state, without its socket. Owned by the driver of the socket.
type session struct {
	traffic  traffic
	recorder *recorder

	state     sessionState
	startedAt time.Duration // of the connect
	accept    string        // what Sec-WebSocket-Accept must be
	out       []byte        // the request, pongs and a close: sent between two frames
	isOut     bool          // pending returned bytes of out
	carry     []byte        // received bytes that need more to be used; usually nil

	// The frame that is being received, and the opcode of its message: OpContinuation between messages.
	inFrame bool
	isFinal bool
	opcode  ws.OpCode
	left    int64
	message ws.OpCode
}

// acceptOf returns the Sec-WebSocket-Accept for a key: RFC 6455 section 4.2.2.
func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// maxAnswer bounds the head of the answer to a handshake.
const maxAnswer = 16 << 10

// newSession returns a session with its request in out.
func newSession(t *target, tr traffic, r *recorder, now time.Duration) session {
	s := session{traffic: tr, recorder: r, startedAt: now}
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	key := base64.StdEncoding.EncodeToString(nonce[:])
	s.accept = acceptOf(key)
	s.out = append(s.out, "GET "+t.request+" HTTP/1.1\r\nHost: "+t.host+"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: "+key+
		"\r\nSec-WebSocket-Version: 13\r\n\r\n"...)
	return s
}

// pending returns the bytes to send now, or nil.
func (s *session) pending(now time.Duration) []byte {
	s.isOut = len(s.out) > 0 && (s.traffic == nil || s.traffic.isBorder())
	switch {
	case s.isOut:
		return s.out
	case s.traffic == nil || s.state == stateHead:
		return nil
	case s.state != stateOpen && s.traffic.isBorder():
		return nil
	default:
		return s.traffic.pending(now)
	}
}

// advance records that the first n bytes of pending were sent.
func (s *session) advance(now time.Duration, n int) {
	if !s.isOut {
		s.traffic.advance(now, n)
		return
	}
	if s.out = s.out[n:]; len(s.out) == 0 {
		s.out = nil
	}
}

// receive takes the carried bytes followed by those that were read.
func (s *session) receive(now time.Duration, p []byte) *fault {
	s.carry = nil
	if s.state == stateHead {
		size, f := s.answer(now, p)
		if f != nil || size == 0 {
			return f
		}
		p = p[size:]
	}
	if s.traffic == nil {
		return nil // a storm needs only the handshake
	}
	for s.state != stateOver && (len(p) > 0 || s.inFrame) {
		if !s.inFrame {
			h, size, f := parseHeader(p)
			if f != nil {
				return f
			}
			if size == 0 || h.opcode.IsControl() && int64(len(p)-size) < h.length {
				s.carry = bytes.Clone(p)
				return nil
			}
			if h.opcode.IsControl() {
				if f := s.control(h.opcode, p[size:][:h.length]); f != nil {
					return f
				}
				p = p[size+int(h.length):]
				continue
			}
			if f := s.begin(h); f != nil {
				return f
			}
			p = p[size:]
		}
		part := p[:min(int64(len(p)), s.left)]
		p = p[len(part):]
		s.left -= int64(len(part))
		s.inFrame = s.left > 0
		if s.state == stateOpen {
			s.recorder.receivedBytes += int64(len(part))
			if f := s.traffic.data(now, s.opcode, part, !s.inFrame && s.isFinal); f != nil {
				return f
			}
		}
		if s.inFrame {
			return nil
		}
	}
	return nil
}

// begin handles the header of a data frame.
func (s *session) begin(h header) *fault {
	if (h.opcode == ws.OpContinuation) != (s.message != ws.OpContinuation) {
		return faultf("protocol", "frame with opcode %d inside a message with opcode %d", h.opcode, s.message)
	}
	if h.opcode != ws.OpContinuation {
		s.message = h.opcode
	}
	s.opcode = s.message
	if h.isFinal {
		s.message = ws.OpContinuation
	}
	s.inFrame, s.isFinal, s.left = true, h.isFinal, h.length
	return nil
}

func (s *session) control(opcode ws.OpCode, payload []byte) *fault {
	switch opcode {
	case ws.OpPing:
		if len(s.out) > maxPongs {
			return faultf("protocol", "pings come faster than pongs can be sent")
		}
		s.out = appendFrame(s.out, true, ws.OpPong, newKey(), payload)
	case ws.OpPong:
		return s.traffic.pong(payload)
	case ws.OpClose:
		if s.state == stateClosing {
			s.state = stateOver
			return nil
		}
		code := "1005" // RFC 6455 section 7.1.5: a close without a code
		if len(payload) >= 2 {
			code = strconv.Itoa(int(binary.BigEndian.Uint16(payload)))
			payload = payload[2:]
		}
		return faultf("closed_"+code, "the server closes; reason %q", payload)
	}
	return nil
}

// maxPongs bounds the bytes of queued pongs.
const maxPongs = 4 << 10

// close queues a close, once, after the frame that the traffic has begun.
func (s *session) close() {
	if s.state == stateOpen {
		s.state = stateClosing
		s.out = appendFrame(s.out, true, ws.OpClose, newKey(), ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))
	}
}

// answer parses the answer to the handshake and returns its size, or 0 if it needs more bytes.
func (s *session) answer(now time.Duration, p []byte) (size int, f *fault) {
	i := bytes.Index(p, []byte("\r\n\r\n"))
	if i < 0 {
		if len(p) > maxAnswer {
			return 0, faultf("handshake", "the answer's head is over %d bytes", maxAnswer)
		}
		s.carry = bytes.Clone(p)
		return 0, nil
	}
	if f := checkAnswer(p[:i], s.accept); f != nil {
		return 0, f
	}
	s.open(now)
	return i + 4, nil
}

// open records that the handshake is complete.
func (s *session) open(now time.Duration) {
	s.state = stateOpen
	s.recorder.handshakes++
	record(s.recorder.handshake, now-s.startedAt)
}

// checkAnswer checks the answer's lines as RFC 6455 section 4.1 requires of a client.
func checkAnswer(head []byte, accept string) *fault {
	var isUpgrade, isConnection, isAccept bool
	for i, line := range strings.Split(string(head), "\r\n") {
		if i == 0 {
			version, rest, _ := strings.Cut(line, " ")
			status, _, _ := strings.Cut(rest, " ")
			if version != "HTTP/1.1" || len(status) != 3 {
				return faultf("handshake", "answer starts with %.80q", line)
			}
			if status != "101" {
				return faultf("status_"+status, "%.80s", line)
			}
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch {
		case strings.EqualFold(name, "Upgrade"):
			isUpgrade = strings.EqualFold(value, "websocket")
		case strings.EqualFold(name, "Connection"):
			isConnection = strings.EqualFold(value, "upgrade")
		case strings.EqualFold(name, "Sec-WebSocket-Accept"):
			isAccept = value == accept
		case strings.EqualFold(name, "Sec-WebSocket-Extensions"), strings.EqualFold(name, "Sec-WebSocket-Protocol"):
			return faultf("handshake", "answer has %.80q, which was not offered", line)
		}
	}
	if !isUpgrade || !isConnection || !isAccept {
		return faultf("handshake", "answer 101 without a correct Upgrade, Connection or Sec-WebSocket-Accept")
	}
	return nil
}

// lost returns the fault of a connection that the server ended.
func (s *session) lost(err error) *fault {
	switch {
	case errors.Is(err, io.EOF) && s.state == stateHead:
		return faultf("handshake", "the server ends the connection without an answer")
	case errors.Is(err, io.EOF):
		return faultf("eof", "the server ends the connection without a close")
	default:
		return faultf("reset", "%v", err)
	}
}
