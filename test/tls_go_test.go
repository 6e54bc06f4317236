//go:build unix

package test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// The suites that crypto/tls offers can't be set. It prefers ChaCha20 where one of the processors has no AES, which the gateway is told of its own.
func TestGoTalksOverTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	site := ca.issue(t, "site")
	for setting, suite := range map[string]string{"GODEBUG=": "", "GODEBUG=cpu.aes=off": tlsSuites[2]} { // "": any
		t.Run(setting, func(t *testing.T) {
			ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*site.certificate()}, MinVersion: tls.VersionTLS13})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = ln.Close() })
			path := filepath.Join(t.TempDir(), "sluice.toml")
			config := basics + section("", site) + poolAt("wss://"+ln.Addr().String()) + fmt.Sprintf("[pool.tls]\nca = %q", ca.cert)
			if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			g := runProgram(t, "env", func(string) {}, 1, setting, sluice, "run", "-config", path)
			accepted := make(chan *tls.Conn, 1)
			go func() {
				for range 2 {
					if c, err := ln.Accept(); err == nil {
						accepted <- c.(*tls.Conn)
					}
				}
			}()
			cache := tls.NewLRUClientSessionCache(1)
			for i, code := range []ws.StatusCode{1000, 4321} {
				conn, err := tls.Dial("tcp", g.listeners["public"], &tls.Config{RootCAs: ca.pool(), ServerName: "localhost", ClientSessionCache: cache})
				if err != nil {
					t.Fatal(err)
				}
				client := bridge(t, conn, true)
				client.send(t, request("/"))
				var served *tls.Conn
				select {
				case served = <-accepted:
				case <-time.After(patience):
					t.Fatal("the gateway doesn't come to its backend")
				}
				backend := bridge(t, served, false)
				backend.mayWait()
				if _, err := http.ReadRequest(backend.reader); err != nil {
					t.Fatal(err)
				}
				backend.send(t, switching())
				client.wantOpen(t)
				for _, c := range []*tls.Conn{conn, served} {
					state := c.ConnectionState()
					if got := tls.CipherSuiteName(state.CipherSuite); suite != "" && got != suite || state.DidResume != (i == 1) {
						t.Errorf("session %d: %s, resumed %t", i, got, state.DidResume)
					}
				}
				exchange(t, client, backend)
				if i == 0 {
					endSession(t, client, backend, code, "")
				} else {
					endSession(t, backend, client, code, "bye")
				}
				client.wantEnd(t)
				backend.wantEnd(t)
			}
		})
	}
}

// bridge returns a wire to the other end of a TLS connection. It is reset where the connection ends without close_notify.
func bridge(t *testing.T, conn *tls.Conn, isClient bool) *wire {
	t.Helper()
	ln := listenRaw(t)
	ours := dial(t, ln.Addr().String())
	ours.isClient = isClient
	theirs, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = theirs.Close(), conn.Close() })
	go pass(conn, theirs)
	go pass(theirs, conn)
	return ours
}

// pass sends to one what comes from the other, and its end.
func pass(to, from interface {
	net.Conn
	CloseWrite() error
}) {
	if _, err := io.Copy(to, from); err == nil {
		_ = to.CloseWrite()
	} else if tcp, isTCP := to.(*net.TCPConn); isTCP {
		_ = tcp.SetLinger(0)
		_ = tcp.Close()
	}
}
