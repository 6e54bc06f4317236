//go:build unix

package test

import (
	"fmt"
	"io"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// A paced reader reads so many bytes a second.
type paced struct {
	io.Reader
	rate int
}

func (p paced) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b[:min(len(b), 1000)])
	time.Sleep(time.Duration(n) * time.Second / time.Duration(p.rate))
	return n, err
}

// Faults B16. A client that goes on reading, for much longer than close_timeout, gets all that waits for it, and then its close.
func TestScenarioASlowReaderGetsAllAndItsClose(t *testing.T) {
	t.Parallel()
	const count, size = 1500, 130
	rate := sized(15_000, 100_000) // bytes a second: for 13 s, or for 2 s
	eachDriver(t, func(t *testing.T, on func(string) string) {
		for _, security := range []string{"in clear", "over TLS"} {
			for _, way := range []string{"operator", "stopped"} {
				t.Run(security+", "+way, func(t *testing.T) {
					t.Parallel()
					d := newDelivering(t, on, security == "over TLS")
					ends := d.open(t, "/"+way)
					client, backend := ends[0], ends[1]
					for i := range count {
						if _, err := backend.Write(backend.frame(ws.OpBinary, fmt.Appendf(nil, "%08d%*d", i, size-8, 0))); err != nil {
							t.Fatal(err)
						}
					}
					eventually(t, patience, "the gateway has it all", func() bool {
						return d.count(t, `sluice_frames_total{direction="to_client",opcode="binary"}`) == count
					})
					if way == "operator" {
						d.ask(t, http.MethodDelete, "/api/v1/sessions?path=/operator&code=1012")
					} else {
						d.signal(t, syscall.SIGTERM)
					}
					begin := time.Now()
					client.reader.Reset(paced{client.Conn, rate})
					if n, code, err := client.readToClose(); n != count || code != serviceRestart || err != nil {
						t.Errorf("%d messages, close %d, %v after %v; want %d messages, close %d", n, code, err, time.Since(begin), count, serviceRestart)
					}
					for _, end := range []*deliverer{client, backend} {
						_, _ = end.Write(end.closeFrame(serviceRestart))
					}
					if rest, err := io.ReadAll(client.reader); len(rest) > 0 || err != nil {
						t.Errorf("after the close come %d bytes, %v; want the end of the stream", len(rest), err)
					}
					t.Logf("%d messages and the close within %v", count, time.Since(begin).Round(100*time.Millisecond))
					if way == "stopped" {
						d.wantExit(t)
					}
				})
			}
		}
	})
}
