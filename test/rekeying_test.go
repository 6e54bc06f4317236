//go:build unix

package test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"sluice/proxy/driver"
	"sluice/tls/rekeytest"
)

// rekey opens a session and sends frames of a byte, each after 16 requests to change the keys, until the gateway ends the connection.
func rekey(address string, config *tls.Config) error {
	socket, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return err
	}
	defer socket.Close()
	_ = socket.SetDeadline(time.Now().Add(patience))
	conn, err := rekeytest.Client(socket, config)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(conn, request("/")); err != nil {
		return err
	}
	if answer, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		return errors.Join(err, fmt.Errorf("answer %v", answer))
	}
	ended := make(chan struct{}) // the gateway's stream
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, socket) // crypto/tls puts up with 16 changes in a row
	}()
	frame := ws.MustCompileFrame(ws.MaskFrame(ws.NewBinaryFrame([]byte{1})))
	for {
		select {
		case <-ended:
			return nil
		default:
		}
		records, err := conn.AppendRekeyed(nil, 16, true, frame)
		if err != nil {
			return err
		}
		if err := conn.WriteRecords(records); errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		} else if err != nil {
			return nil
		}
	}
}

// Faults B2.
func TestAFloodOfKeyUpdatesEndsItsSessionAndNoOther(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	pair := ca.issue(t, "site")
	config := &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"}
	eachDriver(t, func(t *testing.T, on func(string) string) {
		_, address := startEcho(t, "127.0.0.1:0")
		g := runGateway(t, on(basics)+section("", pair)+poolAt(address))
		other := openSession(t, g, config)
		const floods = 4
		ended := make(chan error, floods)
		for range floods {
			go func() { ended <- rekey(g.listeners["public"], config) }()
		}
		var times []time.Duration
		queued := 0
		for left := floods; left > 0; {
			begin := time.Now()
			echoes(t, other.conn, other.reader, []byte("not disturbed"))
			times = append(times, time.Since(begin))
			queued = max(queued, g.count(t, "sluice_queued_bytes"))
			select {
			case err := <-ended:
				if left--; err != nil {
					t.Error(err)
				}
			default:
			}
		}
		if want := fmt.Sprintf(`sluice_protocol_errors_total{rule="key_updates",side="client"} %d`, floods); !strings.Contains(g.metrics(t), want) {
			t.Errorf("the metrics have no %s", want)
		}
		if queued > floods*driver.MaxQueued {
			t.Errorf("%d bytes waited; want %d at most", queued, floods*driver.MaxQueued)
		}
		slices.Sort(times)
		t.Logf("the other session's round trips: median %v, longest %v of %d; %d bytes waited at most", times[len(times)/2], times[len(times)-1], len(times), queued)
	})
}

// Faults B2.
func TestScenarioAFloodOfKeyUpdatesLeavesTheProcessorToOthers(t *testing.T) {
	ca := newAuthority(t, t.TempDir(), "authority")
	pair := ca.issue(t, "site")
	config := &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"}
	eachDriver(t, func(t *testing.T, on func(string) string) {
		_, address := startEcho(t, "127.0.0.1:0")
		g := runGateway(t, on(basics)+section("", pair)+poolAt(address))
		other := openSession(t, g, config)
		period := time.Duration(sized(4000, 400)) * time.Millisecond
		roundTrips := func() (p99 time.Duration, cpu float64) {
			var times []time.Duration
			begin, spent := time.Now(), g.cpuSeconds(t)
			for time.Since(begin) < period {
				asked := time.Now()
				echoes(t, other.conn, other.reader, []byte("not disturbed"))
				times = append(times, time.Since(asked))
				time.Sleep(time.Millisecond)
			}
			slices.Sort(times)
			return times[len(times)*99/100], (g.cpuSeconds(t) - spent) / time.Since(begin).Seconds()
		}
		alone, before := roundTrips()
		var floods sync.WaitGroup
		var count atomic.Int64
		end := time.Now().Add(period)
		for range 4 {
			floods.Go(func() {
				for time.Now().Before(end) {
					if err := rekey(g.listeners["public"], config); err != nil {
						t.Error(err)
					}
					count.Add(1)
					time.Sleep(time.Second) // as clients that come back; without a pause it is a flood of handshakes
				}
			})
		}
		among, during := roundTrips()
		floods.Wait()
		t.Logf("%d floods: p99 of the other session %v alone, %v beside them; %.0f %% of a processor before, %.0f %% during them",
			count.Load(), alone, among, 100*before, 100*during)
		if n := g.count(t, `sluice_protocol_errors_total{rule="key_updates",side="client"}`); int64(n) != count.Load() {
			t.Errorf("%d floods ended as faults, want all of %d", n, count.Load())
		}
		if isLong() && (among > alone+100*time.Millisecond || during > before+0.2) {
			t.Error("others notice the floods, or these take more than a fifth of a processor")
		}
	})
}

// cpuSeconds returns the processor time that the gateway has used.
func (g *gateway) cpuSeconds(t *testing.T) float64 {
	t.Helper()
	_, rest, _ := strings.Cut(g.metrics(t), "\nprocess_cpu_seconds_total ")
	text, _, _ := strings.Cut(rest, "\n")
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return seconds
}
