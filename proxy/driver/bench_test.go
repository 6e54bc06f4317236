package driver

import (
	"io"
	"testing"

	"sluice/proxy/relay"
)

// BenchmarkEcho measures a round trip of 64 bytes through a driver over loopback: four system calls of the peers and what the driver
// adds to them. It does not show many sessions: one session's state stays in the cache.
func BenchmarkEcho(b *testing.B) {
	for _, k := range kinds {
		if k.isVirtual {
			continue
		}
		b.Run(k.name, func(b *testing.B) {
			x := join(b, openTested(b, k), k, setup{config: relay.Config{}})
			go echo(x)
			c := x.client
			asked := c.frame(isFin|opBinary, question)
			answer := make([]byte, len(x.backend.frame(isFin|opBinary, question)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.conn.Write(asked); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c.conn, answer); err != nil {
					b.Fatal(err)
				}
			}
			c.reset() // so that the backend's echo ends
		})
	}
}
