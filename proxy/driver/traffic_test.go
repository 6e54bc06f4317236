package driver

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"time"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A sender sends random messages from one side. sum and bytes are of the frames that have to arrive as they are.
type sender struct {
	*peer
	r            *rand.Rand
	noise        []byte
	end          time.Time       // set by run
	stop         <-chan struct{} // ends it before end; may be nil
	pongs        <-chan []byte   // what pings of the gateway want
	isForwarding bool

	pings    int
	sum      uint32
	bytes    uint64
	payload  uint64
	frames   uint64
	messages uint64
	err      error
}

// run sends until end, one message at least, and then a close.
func (s *sender) run(end time.Time) {
	s.end = end
	for isFirst := true; s.err == nil && (isFirst || time.Now().Before(s.end)); isFirst = false {
		select {
		case <-s.stop:
			s.end = time.Now()
		default:
		}
		s.message()
		// A breath, or a few sessions with large buffers would leave no processor to the others.
		time.Sleep(time.Duration(s.r.IntN(2000)) * time.Microsecond)
	}
	s.write(s.closing(1000, "end"))
}

func (s *sender) message() {
	opcode := byte(opText + s.r.IntN(2))
	for left := s.r.IntN(4); left >= 0 && s.err == nil; left-- {
		if left == 0 {
			opcode |= isFin
		}
		s.data(opcode, s.size())
		opcode = opContinuation
		s.control()
	}
	s.messages++
}

// size is a payload's: of each form that a length has, and at the borders.
func (s *sender) size() int {
	switch n := s.r.IntN(100); {
	case n < 10:
		return [...]int{0, 1, 125, 126, 0xffff, 0x10000, readBytes, highMark, chunkBytes}[s.r.IntN(9)]
	case n < 60:
		return s.r.IntN(126)
	case n < 90:
		return s.r.IntN(8 << 10)
	case n < 99:
		return s.r.IntN(256 << 10)
	default:
		return s.r.IntN(4<<20 + 1)
	}
}

func (s *sender) data(first byte, n int) {
	start := s.r.IntN(len(s.noise) - n)
	payload := s.noise[start : start+n]
	// The payload is sent as it is: masked or not, it is noise.
	frame := append(s.header(first, n), payload...)
	s.frames++
	s.payload += uint64(n)
	s.note(frame)
	s.write(frame)
}

// note counts a frame that has to arrive as it is.
func (s *sender) note(frame []byte) {
	s.sum = crc32.Update(s.sum, castagnoli, frame)
	s.bytes += uint64(len(frame))
}

// control sends pings between two frames, and the pongs that the gateway waits for.
func (s *sender) control() {
	for n := s.r.IntN(4) - 1; n > 0; n-- {
		ping := s.ping(fmt.Sprintf("%05d", s.pings%100_000))
		s.pings++
		if s.isForwarding {
			s.note(ping)
		}
		s.write(ping)
	}
	for {
		select {
		case payload := <-s.pongs:
			s.write(s.pong(string(payload)))
			continue
		default:
		}
		return
	}
}

// write sends b in pieces.
func (s *sender) write(b []byte) {
	limit := len(b)
	switch s.r.IntN(4) {
	case 0:
		limit = 1 + s.r.IntN(16) // splits headers
	case 1:
		limit = 1 + s.r.IntN(64<<10)
	}
	_ = s.conn.SetWriteDeadline(s.end.Add(3 * patience))
	for pieces := 0; len(b) > 0 && s.err == nil; pieces++ {
		if pieces == 32 {
			limit = len(b)
		}
		n := min(len(b), limit)
		_, s.err = s.conn.Write(b[:n])
		b = b[n:]
	}
}

// A receiver reads what a sender of the other side sent, and whatever the gateway has to say, until a close.
type receiver struct {
	*peer
	r     *rand.Rand
	stop  <-chan struct{} // it reads as fast as it can from then on, as from run's end on; may be nil
	pongs chan<- []byte

	isForwarding bool // pings of the sender pass: they are among what was sent

	ponged int
	sum    uint32
	bytes  uint64
	err    error
}

// run reads until a close, at leisure until end.
func (g *receiver) run(end time.Time) {
	_ = g.conn.SetReadDeadline(end.Add(3 * patience))
	in := bufio.NewReaderSize(&slow{Conn: g.conn, r: g.r, end: end, stop: g.stop}, 64<<10)
	for g.err == nil {
		var isClose bool
		if isClose, g.err = g.next(in); isClose {
			return
		}
	}
}

// next reads a frame.
func (g *receiver) next(in *bufio.Reader) (isClose bool, err error) {
	h, err := in.Peek(2)
	if err != nil {
		return false, err
	}
	size, n := 2, int(h[1]&0x7f)
	switch n {
	case 126:
		size = 4
	case 127:
		size = 10
	}
	if h[1]&0x80 != 0 {
		size += 4
	}
	if h, err = in.Peek(size); err != nil {
		return false, err
	}
	switch h[1] & 0x7f {
	case 126:
		n = int(binary.BigEndian.Uint16(h[2:]))
	case 127:
		n = int(binary.BigEndian.Uint64(h[2:]))
	}
	if h[0]&0x8 == 0 {
		return false, g.pass(in, size+n)
	}
	if h, err = in.Peek(size + n); err != nil {
		return false, err
	}
	switch h[0] & 0xf {
	case opClose:
		return true, nil
	case opPing:
		if g.isForwarding && n != 8 {
			return false, g.pass(in, size+n)
		}
		select { // the gateway's own, or one that it mirrors
		case g.pongs <- unmasked(h, size):
		default: // something else that it hears does as well
		}
	case opPong:
		if want := fmt.Sprintf("%05d", g.ponged%100_000); string(unmasked(h, size)) != want {
			return false, fmt.Errorf("pong %q; want %s", unmasked(h, size), want)
		}
		g.ponged++
	default:
		return false, fmt.Errorf("opcode %x", h[0])
	}
	_, err = in.Discard(size + n)
	return false, err
}

func unmasked(frame []byte, size int) []byte {
	payload := append([]byte(nil), frame[size:]...)
	if frame[1]&0x80 != 0 {
		for i := range payload {
			payload[i] ^= frame[size-4+i%4]
		}
	}
	return payload
}

// pass takes n bytes that have to be those that were sent.
func (g *receiver) pass(in *bufio.Reader, n int) error {
	for n > 0 {
		if _, err := in.Peek(1); err != nil {
			return err
		}
		b, _ := in.Peek(min(n, in.Buffered()))
		g.sum = crc32.Update(g.sum, castagnoli, b)
		g.bytes += uint64(len(b))
		n -= len(b)
		_, _ = in.Discard(len(b))
	}
	return nil
}

// slow is a connection whose reader dawdles now and then, until end or stop.
type slow struct {
	net.Conn
	r    *rand.Rand
	end  time.Time
	stop <-chan struct{}
}

func (s *slow) Read(p []byte) (int, error) {
	select {
	case <-s.stop:
		s.end = time.Time{}
	default:
	}
	if time.Now().Before(s.end) {
		switch s.r.IntN(200) {
		case 0:
			time.Sleep(time.Duration(s.r.IntN(30)) * time.Millisecond)
		case 1, 2, 3:
			p = p[:1+s.r.IntN(min(64, len(p)))]
		}
	}
	return s.Conn.Read(p)
}
