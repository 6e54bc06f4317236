package echo

import (
	"bytes"
	"testing"

	"github.com/gobwas/ws"
)

// BenchmarkReceive isolates what the echo backend does to frames in memory: parse, unmask, move. It shows nothing of the kernel's part,
// which is over nine tenths of an echo.
//
//	go test ./internal/echo -run '^$' -bench Receive -count 10 | benchstat -
func BenchmarkReceive(b *testing.B) {
	for _, bm := range []struct {
		name  string
		frame []byte
		count int
	}{
		{"64B", make([]byte, 64), 1},
		{"64Bx16", make([]byte, 64), 16},
		{"16KiB", make([]byte, 16<<10), 1},
	} {
		b.Run(bm.name, func(b *testing.B) {
			frames := bytes.Repeat(ws.MustCompileFrame(ws.MaskFrame(ws.NewBinaryFrame(bm.frame))), bm.count)
			c := conn{server: &server{}, phase: phaseOpen}
			buf := make([]byte, len(frames))
			b.SetBytes(int64(len(frames)))
			b.ReportAllocs()
			for b.Loop() {
				copy(buf, frames)
				c.receive(buf)
			}
		})
	}
}
