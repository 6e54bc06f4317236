//go:build unix

package test

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"testing"
)

func TestGatewaysThatShareAKeyFileResumeEachOthersSessions(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	site := ca.issue(t, "site")
	keys := filepath.Join(t.TempDir(), "tickets")
	write := func(numbers ...byte) {
		text := ""
		for _, n := range numbers {
			text += base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{n}, 32)) + "\n"
		}
		replaceFile(t, keys, []byte(text))
	}
	write(1)
	backend := runEcho(t)
	shared := section(fmt.Sprintf("[listener.tls.tickets]\nkey_file = %q", keys), site)
	one, other := secureGateway(t, shared, backend), secureGateway(t, shared, backend)
	stranger := secureGateway(t, section("", site), backend)
	client := func(version uint16) *tls.Config {
		return &tls.Config{RootCAs: ca.pool(), ServerName: "localhost", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	}
	// visit tells whether a client's session at a gateway goes on from the one before.
	visit := func(g *gateway, config *tls.Config) bool {
		t.Helper()
		conn, reader, err := openTLS(g, config)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		echoes(t, conn, reader, []byte("hello"))
		return conn.ConnectionState().DidResume
	}
	for version, label := range map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"} {
		config := client(version)
		if visit(one, config) || !visit(other, config) || !visit(one, config) || visit(stranger, config) {
			t.Errorf("TLS %s: a session resumes where it can't, or doesn't where it can", label)
		}
		for _, count := range []struct {
			at     *gateway
			result string
			want   int
		}{{one, "full", 1}, {one, "resumed", 1}, {other, "resumed", 1}, {other, "full", 0}, {stranger, "full", 1}} {
			if got := count.at.count(t, fmt.Sprintf("sluice_tls_handshakes_total{result=%q,version=%q}", count.result, label)); got != count.want {
				t.Errorf("TLS %s: %d handshakes counted as %s, want %d", label, got, count.result, count.want)
			}
		}
	}
	// The file's keys rotate: a new one in front, the one before still opens, then it is gone.
	config := client(tls.VersionTLS13)
	visit(one, config)
	applied := func(g *gateway) int { return g.count(t, `sluice_certificate_reloads_total{result="applied"}`) }
	for i, step := range []struct {
		keys    []byte
		resumes bool
	}{{[]byte{2, 1}, true}, {[]byte{3, 2}, true}, {[]byte{4}, false}} {
		write(step.keys...)
		eventually(t, patience, "both have the new keys", func() bool { return applied(one) == i+1 && applied(other) == i+1 })
		if got := visit(other, config); got != step.resumes {
			t.Errorf("behind the keys %d a session resumes: %v, want %v", step.keys, got, step.resumes)
		}
	}
}
