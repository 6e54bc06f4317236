package load

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/gobwas/ws"
)

const (
	minSoakSize = 16       // a message starts with its number, in 16 hexadecimal digits
	soakChunk   = 32 << 10 // payload that is generated at once
	maxPause    = 20 * time.Millisecond
)

// soakTraffic sends messages and expects each back once, in order and unaltered. Every byte depends only on the seed, the session and
// the message's number. Messages are text or binary, of sizes spread evenly over powers of two, in random fragments, with pings between
// fragments and pauses between frames.
type soakTraffic struct {
	recorder *recorder
	seed     uint64 // of this session
	maxSize  int64
	window   int64
	most     int64

	// Sending.
	begun      bool
	now        time.Duration // the argument of the last pending
	random     *rand.Rand
	started    int64
	out        message // being sent; its left is 0 between messages
	frame      int64   // payload of the current frame that was not generated yet
	key        [4]byte
	keyPos     int
	chunk      []byte // generated and not yet sent
	pausedTill time.Duration
	pings      uint64

	// Receiving.
	expected  int64 // the number of the next message
	in        message
	number    []byte // the first digits of a message
	missed    map[int64]bool
	seenPongs uint64
}

// message generates a message's bytes in order.
type message struct {
	number int64
	size   int64
	left   int64
	isText bool
	state  uint64 // of a splitmix64 generator
	word   uint64 // its last output, the unused bytes first
	bytes  int    // how many are unused
}

func newSoak(o *Options, r *recorder, id int, most int64) *soakTraffic {
	s := &soakTraffic{recorder: r, maxSize: int64(o.Size), window: int64(o.Window), most: most, missed: map[int64]bool{}}
	s.seed = mix(o.Seed ^ mix(uint64(id)))
	s.random = rand.New(rand.NewPCG(s.seed, uint64(id)))
	return s
}

// mix is the output function of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// message returns the message with a number, from its start.
func (s *soakTraffic) message(number int64) message {
	m := message{number: number, state: mix(s.seed ^ mix(uint64(number)))}
	// A size of n bits, with n between those of minSoakSize and of maxSize.
	low, high := bits.Len64(minSoakSize), bits.Len64(uint64(s.maxSize))
	n := low + int(m.state%uint64(high-low+1))
	m.size = min(s.maxSize, 1<<(n-1)|int64(mix(m.state)&(1<<(n-1)-1)))
	m.left = m.size
	m.isText = m.state>>63 == 1
	return m
}

func (m *message) opcode() ws.OpCode {
	if m.isText {
		return ws.OpText
	}
	return ws.OpBinary
}

// read fills p with the next bytes.
func (m *message) read(p []byte) {
	for i := range p {
		at := m.size - m.left
		m.left--
		if at < minSoakSize {
			p[i] = "0123456789abcdef"[uint64(m.number)>>(60-4*at)&15]
			continue
		}
		if m.bytes == 0 {
			m.state++
			m.word, m.bytes = mix(m.state), 8
		}
		b := byte(m.word)
		m.word >>= 8
		m.bytes--
		if m.isText {
			b = ' ' + b&63
		}
		p[i] = b
	}
}

func (s *soakTraffic) begin(time.Duration) { s.begun = true }

func (s *soakTraffic) pending(now time.Duration) []byte {
	s.now = now
	if len(s.chunk) == 0 && now >= s.pausedTill {
		s.generate()
	}
	return s.chunk
}

// generate generates the next part of a frame, if one may be sent now.
func (s *soakTraffic) generate() {
	isNew := false
	if s.frame == 0 && s.out.left == 0 {
		if !s.begun || s.started >= s.most || s.started-s.expected+int64(len(s.missed)) >= s.window {
			return
		}
		s.out, isNew = s.message(s.started), true
		s.started++
	}
	s.chunk = s.chunk[:0]
	if s.frame == 0 {
		s.generateHeader(isNew)
	}
	n := min(s.frame, soakChunk)
	start := len(s.chunk)
	s.chunk = append(s.chunk, make([]byte, n)...)
	part := s.chunk[start:]
	s.out.read(part)
	ws.Cipher(part, s.key, s.keyPos)
	s.keyPos = (s.keyPos + len(part)) % len(s.key)
	s.frame -= n
	s.recorder.sentBytes += n
}

// generateHeader starts a frame of the rest of the message, or of a part of it, sometimes after a ping or an empty fragment.
func (s *soakTraffic) generateHeader(isNew bool) {
	opcode := s.out.opcode()
	if !isNew {
		opcode = ws.OpContinuation
	}
	switch s.random.IntN(16) {
	case 0:
		s.pings++
		s.chunk = appendFrame(s.chunk, true, ws.OpPing, newKey(), binary.BigEndian.AppendUint64(nil, s.pings))
	case 1:
		s.chunk = appendFrame(s.chunk, false, opcode, newKey(), nil)
		opcode = ws.OpContinuation
	}
	s.frame = s.out.left
	if s.random.IntN(2) == 0 {
		s.frame = 1 + s.random.Int64N(s.out.left)
	}
	s.key, s.keyPos = newKey(), 0
	s.chunk = appendHeader(s.chunk, s.frame == s.out.left, opcode, s.key, s.frame)
}

func (s *soakTraffic) advance(now time.Duration, n int) {
	if s.chunk = s.chunk[n:]; len(s.chunk) > 0 {
		return
	}
	s.chunk = nil // a session that pauses keeps no buffer
	if s.random.IntN(32) == 0 {
		s.pausedTill = now + time.Duration(s.random.Int64N(int64(maxPause)))
	}
}

func (s *soakTraffic) isBorder() bool { return len(s.chunk) == 0 && s.frame == 0 }

func (s *soakTraffic) due() time.Duration {
	if s.pausedTill > s.now {
		return s.pausedTill
	}
	return 0
}

// data compares received bytes with those that were sent. The numbers show which messages are lost, duplicated or out of order.
func (s *soakTraffic) data(_ time.Duration, opcode ws.OpCode, p []byte, isEnd bool) *fault {
	for len(s.number) < minSoakSize && len(p) > 0 {
		s.number = append(s.number, p[0])
		p = p[1:]
		if len(s.number) == minSoakSize {
			if f := s.open(opcode); f != nil {
				return f
			}
		}
	}
	if len(s.number) < minSoakSize {
		if isEnd {
			return faultf("altered", "message %d has %d bytes", s.expected, len(s.number))
		}
		return nil
	}
	if int64(len(p)) > s.in.left {
		return faultf("altered", "message %d is longer than its %d bytes", s.in.number, s.in.size)
	}
	var want [4096]byte
	for len(p) > 0 {
		n := min(len(p), len(want))
		at := s.in.size - s.in.left
		s.in.read(want[:n])
		for i, b := range p[:n] {
			if b != want[i] {
				return faultf("altered", "message %d: byte %d of %d is %#02x; %#02x was sent", s.in.number, at+int64(i), s.in.size, b, want[i])
			}
		}
		p = p[n:]
	}
	if !isEnd {
		return nil
	}
	if s.in.left > 0 {
		return faultf("altered", "message %d ends %d bytes before its %d", s.in.number, s.in.left, s.in.size)
	}
	s.recorder.messages++
	s.number = s.number[:0]
	return nil
}

// open handles the number of the message that is being received.
func (s *soakTraffic) open(opcode ws.OpCode) *fault {
	u, err := strconv.ParseUint(string(s.number), 16, 63)
	number := int64(u)
	switch {
	case err != nil || number >= s.started:
		return faultf("altered", "message %d has the number %q", s.expected, s.number)
	case number > s.expected:
		for ; s.expected < number; s.expected++ {
			s.missed[s.expected] = true
		}
		s.expected++
	case number == s.expected:
		s.expected++
	case s.missed[number]:
		delete(s.missed, number)
		return faultf("reordered", "message %d comes after message %d", number, s.expected-1)
	default:
		return faultf("duplicated", "message %d comes again", number)
	}
	s.in = s.message(number)
	s.in.left -= minSoakSize
	if opcode != s.in.opcode() {
		return faultf("altered", "message %d has opcode %d; %d was sent", number, opcode, s.in.opcode())
	}
	return nil
}

// pong handles the answer to a ping. Of several pings only the last one may be answered (RFC 6455 section 5.5.3).
func (s *soakTraffic) pong(p []byte) *fault {
	if len(p) != 8 {
		return faultf("altered", "pong %x answers no ping", p)
	}
	n := binary.BigEndian.Uint64(p)
	if n <= s.seenPongs || n > s.pings {
		return faultf("altered", "pong %d comes after pong %d; %d pings were sent", n, s.seenPongs, s.pings)
	}
	s.seenPongs = n
	return nil
}

func (s *soakTraffic) stop(time.Duration) { s.most = s.started }

func (s *soakTraffic) isDone() bool {
	return s.expected >= s.most && len(s.missed) == 0 && s.isBorder() && s.out.left == 0 && len(s.number) == 0
}

func (s *soakTraffic) missing() int64 { return s.started - s.expected + int64(len(s.missed)) }
