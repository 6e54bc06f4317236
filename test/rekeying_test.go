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
	"strings"
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
