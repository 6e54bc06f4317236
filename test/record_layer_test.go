//go:build unix

package test

import (
	"crypto/tls"
	"runtime"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// echoOverTLS exchanges a message with a backend over TLS 1.3.
func echoOverTLS(t *testing.T, g *gateway, backend rawBackend, config *tls.Config) {
	t.Helper()
	conn, reader, b := openTLSTo(t, g, backend, config)
	if v := conn.ConnectionState().Version; v != tls.VersionTLS13 {
		t.Fatalf("%s; want TLS 1.3", tls.VersionName(v))
	}
	if err := wsutil.WriteClientText(conn, []byte("there")); err != nil {
		t.Fatal(err)
	}
	b.wantFrame(t, ws.OpText, "there")
	b.send(t, b.frame(ws.OpText, "and back"))
	if f, err := readFrame(reader); err != nil || string(f.Payload) != "and back" {
		t.Errorf("the client got %q, %v", f.Payload, err)
	}
}

func TestTheMetricTellsWhoseRecordLayerSessionsHave(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there are no loops")
	}
	const warning = "sessions over TLS 1.3 keep the record layer of crypto/tls"
	ca := newAuthority(t, t.TempDir(), "authority")
	pair := ca.issue(t, "site")
	config := &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"}
	for name, c := range map[string]struct {
		env, driver string
		layer       int
		warns       bool
	}{
		"loops":              {"", "loop", 1, false},
		"goroutines":         {"", "goroutine", 0, false},
		"loops in FIPS mode": {"fips140=on", "loop", 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GODEBUG", c.env)
			backend := listenRaw(t)
			on := strings.Replace(basics, "[gateway]\n", "[gateway]\ndriver = \""+c.driver+"\"\n", 1)
			g := runGateway(t, on+section("", pair)+poolAt(backend.Addr().String()))
			echoOverTLS(t, g, backend, config)
			if n := g.count(t, "sluice_tls_record_layer"); n != c.layer {
				t.Errorf("sluice_tls_record_layer is %d; want %d", n, c.layer)
			}
			if warns := strings.Contains(g.log.last(), warning); warns != c.warns {
				t.Errorf("a warning: %t; want %t\n%s", warns, c.warns, g.log.last())
			}
		})
	}
}
