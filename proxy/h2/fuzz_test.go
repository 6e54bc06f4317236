package h2

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// FuzzReceive gives both roles any bytes: nothing panics, errors are faults, and what is kept is bounded.
func FuzzReceive(f *testing.F) {
	settings := appendSettings(nil, &client)
	f.Add(settings, uint8(1))
	f.Add(append(settings, "\x00\x00\x04\x01\x05\x00\x00\x00\x01\x82\x86\x84\x88\x00\x00\x05\x00\x09\x00\x00\x00\x01\x02xy\x00\x00"...), uint8(3))
	f.Add(append(settings, "\x00\x00\x01\x01\x00\x00\x00\x00\x01\x88\x00\x00\x01\x09\x04\x00\x00\x00\x01\x84\x00\x00\x04\x08\x00\x00\x00\x00\x01\x00\x01\x00\x00"...), uint8(0))
	f.Fuzz(func(t *testing.T, in []byte, size uint8) {
		for _, config := range []*Config{&server, &client} {
			var c Conn
			out := c.Begin(config, nil)
			if config.Role == Server {
				if _, n, _, err := c.Receive([]byte(clientPreface), 0, nil); n != len(clientPreface) || err != nil {
					t.Fatal(n, err)
				}
			}
			if config.Role == Client {
				c.isReady = true
				for range 3 {
					_, out = c.Open(out, []Field{{":method", "GET"}}, false)
				}
			}
			for b, i := in, 0; len(b) > 0; i++ {
				piece := b[:min(len(b), int(size)+1)]
				b = b[len(piece):]
				for {
					e, n, appended, err := c.Receive(piece, time.Duration(i)*time.Millisecond, out[:0])
					piece, out = piece[n:], appended
					if err != nil {
						var fault *Fault
						if !errors.As(err, &fault) {
							t.Fatalf("error %v", err)
						}
						return
					}
					if e.Kind == None {
						break
					}
					if s := e.Stream; s != nil && e.Kind != Reset {
						out = c.AppendTaken(out, s, len(e.Data))
						if n := c.Sendable(s); n > 0 {
							out = append(c.AppendData(out, s, min(n, 3), i%5 == 0), "abc"[:min(n, 3)]...)
						}
						switch i % 7 {
						case 0:
							out = c.AppendReset(out, s, Cancel)
						case 1:
							out = c.AppendHeaders(out, s, []Field{{":status", "200"}}, true)
							out = c.AppendReset(out, s, NoError)
						}
					}
				}
				if len(piece) > 0 || len(c.partial) > headBytes+maxFrame || len(c.block.bytes) > maxBlock || c.Count() > config.Streams {
					t.Fatalf("%d bytes left, %d of a frame and %d of a block kept, %d streams", len(piece), len(c.partial), len(c.block.bytes), c.Count())
				}
			}
		}
	})
}

// FuzzAgainstFramer compares with x/net: which lists of fields it accepts, and what it reads of what we append.
func FuzzAgainstFramer(f *testing.F) {
	f.Add("GET", "https", "/", "a", "cookie", "x", "te", "trailers", []byte("data"), uint8(4), true)
	f.Add("CONNECT", "https", "/", "a", "x", "\x01", "a-b", "ä", []byte{}, uint8(0), false)
	f.Fuzz(func(t *testing.T, method, scheme, path, authority, name1, value1, name2, value2 string, body []byte, split uint8, isIndexed bool) {
		fields := []Field{{":method", method}, {":scheme", scheme}, {":path", path}, {":authority", authority}, {name1, value1}, {name2, value2}}
		body = body[:min(len(body), 1<<12)]
		for _, f := range fields {
			if len(f.Value) > 4000 || len(f.Name) > 4000 {
				return
			}
		}
		var wire bytes.Buffer
		var block []byte
		if isIndexed {
			var b bytes.Buffer
			enc := hpack.NewEncoder(&b)
			for _, f := range fields {
				_ = enc.WriteField(hpack.HeaderField{Name: f.Name, Value: f.Value})
			}
			block = b.Bytes()
		} else {
			for _, f := range fields {
				block = appendField(block, f)
			}
		}
		framer := http2.NewFramer(&wire, &wire)
		wire.WriteString(clientPreface)
		_ = framer.WriteSettings()
		start := wire.Len()
		cut := min(int(split), len(block))
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:cut], PadLength: split})
		_ = framer.WriteContinuation(1, true, block[cut:])
		if len(body) > 0 {
			_ = framer.WriteDataPadded(1, false, body, make([]byte, split))
		}

		oracle := http2.NewFramer(nil, bytes.NewReader(bytes.Clone(wire.Bytes()[start:])))
		oracle.ReadMetaHeaders = hpack.NewDecoder(tableBytes, nil)
		frame, oracleErr := oracle.ReadFrame()

		var c Conn
		out := c.Begin(&server, nil)
		var head *Head
		var s *Stream
		var data []byte
		for b := wire.Bytes(); ; {
			e, n, _, err := c.Receive(b, 0, nil)
			if err != nil {
				t.Fatalf("fault: %v", err)
			}
			b = b[n:]
			if e.Kind == Opened {
				head, s = e.Head, e.Stream
			}
			if e.Kind == Data {
				data = append(data, e.Data...)
			}
			if e.Kind == None {
				break
			}
		}
		if head == nil || head.IsTooLarge {
			return
		}
		if oracleErr != nil {
			t.Fatalf("%q is accepted, x/net says %v", fields, oracleErr)
		}
		if !bytes.Equal(data, body) {
			t.Fatalf("%d bytes of %d came", len(data), len(body))
		}
		var want []Field
		for _, f := range frame.(*http2.MetaHeadersFrame).RegularFields() {
			if f.Name != "host" {
				want = append(want, Field{f.Name, f.Value})
			}
		}
		if name1 == "cookie" && name2 == "cookie" {
			want = []Field{{"cookie", value1 + "; " + value2}}
		}
		if diff := cmp.Diff(want, head.Fields); diff != "" {
			t.Fatal(diff)
		}
		if head.Method != method || head.Path != path || head.Scheme != scheme || head.Authority != authority {
			t.Fatalf("%+v of %q", head, fields)
		}

		// What came goes back.
		out = c.AppendHeaders(out[:0], s, append([]Field{{":status", "200"}}, head.Fields...), false)
		out = append(c.AppendData(out, s, len(body), true), body...)
		oracle = http2.NewFramer(nil, bytes.NewReader(out))
		oracle.ReadMetaHeaders = hpack.NewDecoder(tableBytes, nil)
		frame, err := oracle.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		var got []Field
		for _, f := range frame.(*http2.MetaHeadersFrame).RegularFields() {
			got = append(got, Field{f.Name, f.Value})
		}
		if diff := cmp.Diff(head.Fields, got); diff != "" {
			t.Fatal(diff)
		}
		frame, err = oracle.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if d := frame.(*http2.DataFrame); !bytes.Equal(d.Data(), body) || !d.StreamEnded() {
			t.Fatalf("DATA %x, want %x", d.Data(), body)
		}
	})
}

// A talker is one of two Conns that talk.
type talker struct {
	Conn
	in, out []byte // on its way to it; not yet sent by it
	streams map[uint32]*talk
}

// A talk is one stream as an end sees it.
type talk struct {
	s                *Stream
	sent, received   uint64 // the next byte of the pattern
	untaken          int
	hasEnded, isDead bool
}

// pattern is the byte of a stream at a position.
func pattern(id uint32, at uint64) byte { return byte(at*31 + at>>8 + uint64(id)) }

// FuzzTwoConns has a client and a server talk: by random operations, through pieces of random sizes. All DATA arrives in order, and no window
// is lost.
func FuzzTwoConns(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		a := &talker{streams: map[uint32]*talk{}}
		b := &talker{streams: map[uint32]*talk{}}
		a.out = a.Begin(&Config{Role: Client, Streams: 8}, nil)
		b.out = b.Begin(&Config{Role: Server, Streams: 8, Connect: true}, nil)
		now := time.Duration(0)
		for range 3000 {
			now += 20 * time.Millisecond
			e, other := a, b
			if r.IntN(2) == 0 {
				e, other = b, a
			}
			switch r.IntN(3) {
			case 0:
				n := min(len(e.out), 1+r.IntN(20000))
				other.in = append(other.in, e.out[:n]...)
				e.out = append([]byte(nil), e.out[n:]...)
			case 1:
				e.read(t, r, now)
			case 2:
				e.act(r)
			}
		}
		// All that is on its way arrives, and all is taken.
		for range 6 {
			for _, e := range []*talker{a, b} {
				other := a
				if e == a {
					other = b
				}
				other.in, e.out = append(other.in, e.out...), nil
				now += time.Second
				for len(other.in) > 0 {
					other.read(t, r, now)
				}
				for _, k := range other.streams {
					other.out = other.AppendTaken(other.out, k.s, k.untaken)
					k.untaken = 0
				}
			}
		}
		total := uint64(0)
		for id, k := range a.streams {
			l := b.streams[id]
			if l == nil || k.isDead || l.isDead {
				continue
			}
			if k.sent != l.received || l.sent != k.received {
				t.Errorf("stream %d: %d of %d and %d of %d bytes arrived", id, l.received, k.sent, k.received, l.sent)
			}
			total += k.received + l.received
			if !k.s.is(sent|gone) && k.s.send != l.s.recv || !l.s.is(sent|gone) && l.s.send != k.s.recv {
				t.Errorf("stream %d: windows %d for %d, %d for %d", id, k.s.send, l.s.recv, l.s.send, k.s.recv)
			}
			if k.s.is(gone) != l.s.is(gone) {
				t.Errorf("stream %d is closed at one end", id)
			}
		}
		if a.sendWindow != b.recvWindow || b.sendWindow != a.recvWindow || a.recvWindow+a.received != connWindow {
			t.Errorf("windows of the connection: %d for %d, %d for %d", a.sendWindow, b.recvWindow, b.sendWindow, a.recvWindow)
		}
		if total == 0 {
			t.Error("nothing was sent")
		}
	})
}

// read receives some of what is on its way to the end.
func (e *talker) read(t *testing.T, r *rand.Rand, now time.Duration) {
	p := e.in[:min(len(e.in), 1+r.IntN(5000))]
	e.in = e.in[len(p):]
	for {
		ev, n, out, err := e.Receive(p, now, e.out)
		p, e.out = p[n:], out
		if err != nil {
			t.Fatal(err)
		}
		if ev.Kind == None {
			return
		}
		if ev.Stream == nil {
			continue
		}
		id := ev.Stream.ID()
		k := e.streams[id]
		switch ev.Kind {
		case Opened:
			k = &talk{s: ev.Stream}
			e.streams[id] = k
			e.out = e.AppendHeaders(e.out, k.s, []Field{{":status", "200"}}, false)
		case Reset:
			k.isDead = true
		case Data:
			for _, b := range ev.Data {
				if b != pattern(id, k.received) {
					t.Fatalf("stream %d, byte %d: %d, want %d", id, k.received, b, pattern(id, k.received))
				}
				k.received++
			}
			k.untaken += len(ev.Data)
		}
		if ev.IsEnd {
			k.hasEnded = true
		}
	}
}

// act does something to a stream.
func (e *talker) act(r *rand.Rand) {
	if e.config.Role == Client && e.Room() > 0 && r.IntN(10) == 0 {
		var s *Stream
		s, e.out = e.Open(e.out, []Field{{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "https"}, {":path", "/"}, {":authority", "a"}}, false)
		e.streams[s.ID()] = &talk{s: s}
		return
	}
	if e.Count() == 0 {
		return
	}
	s := e.Conn.streams[r.IntN(e.Count())]
	k := e.streams[s.ID()]
	if e.config.Role == Server && k == nil {
		return
	}
	switch r.IntN(40) {
	case 0:
		k.isDead = true
		e.out = e.AppendReset(e.out, s, Cancel)
	case 1:
		if e.CanSend(s) {
			e.out = e.AppendData(e.out, s, 0, true)
		}
	case 2, 3, 4, 5, 6:
		n := 0
		if k.untaken > 0 {
			n = 1 + r.IntN(k.untaken)
		}
		k.untaken -= n
		e.out = e.AppendTaken(e.out, s, n)
	default:
		n := min(e.Sendable(s), 1+r.IntN(maxFrame))
		if n == 0 {
			return
		}
		isEnd := r.IntN(50) == 0
		e.out = e.AppendData(e.out, s, n, isEnd)
		for range n {
			e.out = append(e.out, pattern(s.ID(), k.sent))
			k.sent++
		}
	}
}
