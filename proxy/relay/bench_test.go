package relay

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"
)

// BenchmarkScan shows what the core costs a frame, all bookkeeping included. It does not show sockets, which cost some
// hundred times as much, nor cache misses between sessions: one session's state and one buffer stay hot.
func BenchmarkScan(b *testing.B) {
	for _, bm := range []struct {
		name    string
		payload int
		frames  int // in a buffer
	}{
		{"64B/1", 64, 1},
		{"64B/64", 64, 64},
		{"16KiB/1", 16 << 10, 1},
	} {
		for side := Client; side <= Backend; side++ {
			b.Run(fmt.Sprintf("%s/%s", bm.name, side), func(b *testing.B) {
				s, e := newBenchSession()
				p := repeat(dataFrame(side, opBinary, bm.payload), bm.frames)
				b.ReportAllocs()
				for b.Loop() {
					if pass, _, step := s.Scan(e, side, p); pass != len(p) || step != More {
						b.Fatalf("Scan(%d bytes) = %d, %d; want all of them and More", len(p), pass, step)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*bm.frames), "ns/frame")
			})
		}
	}
	// 16 KiB out of the middle of one payload of 2^62 bytes.
	b.Run("middle", func(b *testing.B) {
		s, e := newBenchSession()
		head := []byte{0x82, 0x80 | 127, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}
		if pass, _, _ := s.Scan(e, Client, head); pass != len(head) {
			b.Fatal("the header doesn't pass")
		}
		p := make([]byte, 16<<10)
		b.ReportAllocs()
		for b.Loop() {
			if pass, _, _ := s.Scan(e, Client, p); pass != len(p) {
				b.Fatal("the payload doesn't pass")
			}
		}
	})
}

func newBenchSession() (*Session, *Env) {
	e := &Env{Config: &Config{CloseTimeout: 5 * time.Second, WriteTimeout: time.Minute}, Totals: &Totals{}, Now: 1}
	s := &Session{}
	s.Begin(e, false)
	return s, e
}

// dataFrame returns a whole message of n zero bytes from a side.
func dataFrame(from Side, opcode byte, n int) []byte {
	p := []byte{bitFin | opcode, 0}
	switch {
	case n < 126:
		p[1] = byte(n)
	case n <= 0xffff:
		p[1] = 126
		p = binary.BigEndian.AppendUint16(p, uint16(n))
	default:
		p[1] = 127
		p = binary.BigEndian.AppendUint64(p, uint64(n))
	}
	if from == Client {
		p[1] |= bitMask
		p = append(p, 0, 0, 0, 0)
	}
	return append(p, make([]byte, n)...)
}

func repeat(p []byte, n int) []byte {
	var all []byte
	for range n {
		all = append(all, p...)
	}
	return all
}
