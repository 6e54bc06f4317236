package load

import (
	"math"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// BenchmarkRoundTrip is the work of the load tool for one message without system calls: sending, the protocol, comparing what came
// back, and its latency. It does not show the cost of a socket.
//
//	make bench BASE=REV BENCH=RoundTrip
func BenchmarkRoundTrip(b *testing.B) {
	const size = 64
	o := Options{Mode: Echo, Connections: 1, Window: 1, Size: size}
	rec, tmpl := newRecorder(), newTemplate(size)
	s := newSession(&target{host: "localhost", request: "/"}, newEcho(&o, tmpl, rec, 0, math.MaxInt64), rec, 0)
	s.out, s.state = nil, stateOpen
	s.traffic.begin(0)
	answer := append([]byte{0x80 | byte(ws.OpBinary), size}, tmpl.payload...)
	b.SetBytes(2 * size)
	b.ReportAllocs()
	for now := time.Duration(0); b.Loop(); now += time.Microsecond {
		s.advance(now, len(s.pending(now)))
		if f := s.receive(now+time.Microsecond, answer); f != nil {
			b.Fatal(f)
		}
	}
}
