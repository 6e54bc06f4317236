//go:build unix

package test

import (
	"crypto/tls"
	"encoding/json"
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
)

func TestHTTPOnATLSPortIsToldSo(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	g := secureGateway(t, section("", ca.issue(t, "site")), runEcho(t))
	response, err := http.Get("http://" + g.listeners["public"] + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "TLS") {
		t.Errorf("status %d, %q", response.StatusCode, body)
	}
	if n := g.count(t, `sluice_tls_handshakes_total{result="plain_http",version="none"}`); n != 1 {
		t.Errorf("%d such handshakes counted, want 1", n)
	}
}

// halfOpen begins n TLS handshakes that don't go on.
func halfOpen(t *testing.T, g *gateway, n int) (conns []net.Conn) {
	t.Helper()
	for range n {
		c, err := net.Dial("tcp", g.listeners["public"])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := c.Write([]byte{22, 3, 1, 2, 0, 1}); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	return conns
}

func TestHalfOpenTLSHandshakesLeaveLiveSessionsAlone(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	g := secureGateway(t, section("", ca.issue(t, "site")), runEcho(t))
	config := &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"}
	live := openSession(t, g, config)
	const trips = 200
	median := func() time.Duration {
		var took []time.Duration
		for range trips {
			begin := time.Now()
			echoes(t, live.conn, live.reader, []byte("hello"))
			took = append(took, time.Since(begin))
		}
		slices.Sort(took)
		return took[trips/2]
	}
	before := median()
	halfOpen(t, g, 1000)
	during := median()
	t.Logf("a round trip takes %v, beside 1,000 half-open handshakes %v", before, during)
	if during > 10*before+5*time.Millisecond {
		t.Errorf("a round trip takes %v beside 1,000 handshakes that don't go on, without them %v", during, before)
	}
	openSession(t, g, config) // a new one beside them
}

func TestTLSHandshakesAreBoundedInNumber(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	config := &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"}
	const most = 2 // of more than that one address has only a share
	g := secureGateway(t, fmt.Sprintf("max_handshakes = %d\n", most)+section("", ca.issue(t, "site")), runEcho(t))
	live := openSession(t, g, config)
	eventually(t, patience, "the first handshake is over", func() bool { return g.handshakes(t) == 0 })
	begun := halfOpen(t, g, most)
	eventually(t, patience, "all handshakes are taken", func() bool { return g.handshakes(t) == most })
	if _, _, err := openTLS(g, config); err == nil {
		t.Errorf("a session begins beside %d handshakes, with max_handshakes = %d", most, most)
	}
	if n := g.count(t, "sluice_handshakes_rejected_total"); n != 1 {
		t.Errorf("%d refusals counted, want 1", n)
	}
	echoes(t, live.conn, live.reader, []byte("hello"))
	_ = begun[0].Close()
	eventually(t, patience, "the place of one that left is free", func() bool { return g.handshakes(t) == most-1 })
	openSession(t, g, config)
}

func TestTLSHandshakesAreBoundedInTime(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	const count = 8
	g := secureGateway(t, "head_timeout = \"300ms\"\n"+section("", ca.issue(t, "site")), runEcho(t))
	for _, c := range halfOpen(t, g, count) {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if rest, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("a handshake that doesn't go on isn't ended: %q", rest)
		}
	}
	if n := g.count(t, `sluice_tls_handshakes_total{result="timeout",version="none"}`); n != count {
		t.Errorf("%d timed out handshakes counted, want %d", n, count)
	}
}

// handshakes returns how many handshakes the listener "public" has under way.
func (g *gateway) handshakes(t *testing.T) int {
	t.Helper()
	response, err := http.Get("http://" + g.admin + "/api/v1/listeners")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Listeners []struct{ Handshakes int }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || len(answer.Listeners) == 0 {
		t.Fatalf("/api/v1/listeners: %+v, %v", answer, err)
	}
	return answer.Listeners[0].Handshakes
}
