package load

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/echo"
)

// servers start an echo backend for a scheme and return its URL and the file of its certificate.
var servers = map[string]func(t *testing.T) (url, ca string){"ws": startPlain, "wss": startTLS}

func startPlain(t *testing.T) (url, ca string) {
	return "ws://" + serve(t, nil), ""
}

func startTLS(t *testing.T) (url, ca string) { return startTLSWith(t, nil) }

func startTLSWith(t *testing.T, verify func(tls.ConnectionState) error) (url, ca string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca = filepath.Join(t.TempDir(), "cert.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := serve(t, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, VerifyConnection: verify})
	return "wss://" + addr, ca
}

func serve(t *testing.T, config *tls.Config) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = ln.Addr().String()
	if config != nil {
		ln = tls.NewListener(ln, config)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- echo.Serve(ctx, ln, echo.Options{}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("echo.Serve = %v", err)
		}
	})
	return addr
}

// fakeServer answers each request with fixed bytes and ends its side.
func fakeServer(t *testing.T, answer string) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			answerOnce(c.(*net.TCPConn), answer)
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return ln.Addr().String()
}

func answerOnce(c *net.TCPConn, answer string) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	var head strings.Builder
	for !strings.HasSuffix(head.String(), "\r\n\r\n") {
		if _, err := io.CopyN(&head, c, 1); err != nil {
			return
		}
	}
	_, key, _ := strings.Cut(head.String(), "Sec-WebSocket-Key: ")
	key, _, _ = strings.Cut(key, "\r\n")
	_, _ = io.WriteString(c, strings.ReplaceAll(answer, "ACCEPT", acceptOf(key)))
	_ = c.CloseWrite()
	_, _ = io.Copy(io.Discard, c)
}

func mustRun(t *testing.T, o Options) *Report {
	t.Helper()
	r, err := Run(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// texts returns the errors of a report.
func texts(r *Report) map[string]string {
	m := map[string]string{}
	for kind, f := range r.ErrorsByKind {
		m[kind] = f.First
	}
	return m
}
