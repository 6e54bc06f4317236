//go:build unix

package test

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// buildWithFaults builds the program so that peers can provoke panics in it.
func buildWithFaults(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "sluice")
	if out, err := exec.Command("go", "build", "-tags", "sluice_faults", "-o", program, "sluice/cmd/sluice").CombinedOutput(); err != nil {
		t.Fatalf("build sluice: %v\n%s", err, out)
	}
	return program
}

func TestAPanicEndsOneSessionHandshakeOrProbeAndNothingElseNotices(t *testing.T) {
	t.Parallel()
	program := buildWithFaults(t)
	eachDriver(t, func(t *testing.T, on func(string) string) {
		backend, sick := listenRaw(t), startSick(t)
		config := filepath.Join(t.TempDir(), "sluice.toml")
		if err := os.WriteFile(config, []byte(on(basics+fmt.Sprintf(`
[[listener]]
name = "secure"
address = "127.0.0.1:0"
[listener.tls]
self_signed = true
[[route]]
pool = "chat"
[[route]]
path = "/sick"
pool = "sick"
[[pool]]
name = "chat"
backend = [{ address = %q }]
[[pool]]
name = "sick"
backend = [{ address = %q }]
[pool.health]
kind = "http"
interval = "100ms"
timeout = "100ms"
`, backend.Addr(), sick))), 0o600); err != nil {
			t.Fatal(err)
		}
		g := runProgram(t, program, func(string) {}, 2, "run", "-config", config)
		g.mayPanic = true
		count := func(room string) int { return g.count(t, fmt.Sprintf("sluice_recovered_panics_total{room=%q}", room)) }
		other, otherEnd := open(t, g, backend, "/")
		wantOther := func(after string) {
			t.Helper()
			other.send(t, other.frame(ws.OpText, "after "+after))
			otherEnd.wantFrame(t, ws.OpText, "after "+after)
			otherEnd.send(t, otherEnd.frame(ws.OpText, "back after "+after))
			other.wantFrame(t, ws.OpText, "back after "+after)
		}

		c, b := open(t, g, backend, "/")
		b.send(t, b.frame(ws.OpText, "provoke-a-panic-in-session"))
		c.wantClose(t, 1011)
		c.wantEnd(t)
		b.wantClose(t, 1011)
		_ = c.Close()
		b.wantGone(t)
		if n := count("driver"); n != 1 {
			t.Errorf("%d panics of the driver are counted; want 1", n)
		}
		wantOther("a session's")

		conn, reader, end := openTLSAt(t, g.listeners["secure"], backend, &tls.Config{InsecureSkipVerify: true})
		end.send(t, end.frame(ws.OpText, "provoke-a-panic-in-session"))
		f, err := readFrame(reader)
		if err != nil {
			t.Fatal(err)
		}
		wantCloseFrame(t, f.Header.OpCode, string(f.Payload), 1011)
		end.wantClose(t, 1011)
		_ = conn.Close()
		end.wantGone(t)
		if n := count("driver"); n != 2 {
			t.Errorf("%d panics of the driver are counted; want 2", n)
		}
		wantOther("a session's over TLS")

		h := dial(t, g.listeners["public"])
		h.send(t, request("/provoke-a-panic-in-handshake"))
		if status := h.answer(t).StatusCode; status != http.StatusBadGateway {
			t.Errorf("the handshake got %d; want 502", status)
		}
		eventually(t, patience, "the handshake's panic counted", func() bool { return count("proxy")+count("driver") == 3 })
		wantOther("a handshake's")

		eventually(t, patience, "a probe's panic counted", func() bool { return count("balancer") > 0 })
		wantOther("a probe's")

		for _, place := range []string{"session", "handshake", "probe"} {
			eventually(t, patience, "a line with the stack of a panic in a "+place, func() bool {
				for line := range strings.SplitSeq(g.log.last(), "\n") {
					if strings.Contains(line, panicMessage) && strings.Contains(line, "provoked in "+place) && strings.Contains(line, `"level":"error"`) && strings.Contains(line, "recovery.Provoke") {
						return true
					}
				}
				return false
			})
		}
		eventually(t, patience, "access lines of the sessions and the handshake", func() bool { return strings.Count(g.log.last(), `"reason":"internal_error"`) == 3 })
	})
}

// startSick starts a backend whose answers to probes provoke panics.
func startSick(t *testing.T) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4096))
			_, _ = c.Write([]byte("HTTP/1.1 200 provoke-a-panic-in-probe\r\nContent-Length: 0\r\n\r\n"))
			_ = c.Close()
		}
	}()
	return ln.Addr().String()
}
