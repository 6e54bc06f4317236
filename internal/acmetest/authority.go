// Package acmetest runs an ACME authority for tests: the program in internal/pebble, as a process of its own. No part of the program
// imports it.
package acmetest

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// An Authority issues certificates by RFC 8555.
type Authority struct {
	URL    string         // of its directory
	CAFile string         // PEM of the authority that signed the certificate of URL
	Roots  *x509.CertPool // the authority that signs the certificates that it issues

	close func()
}

// Options are the properties of an authority.
type Options struct {
	HTTPPort, TLSPort int           // where it validates, at 127.0.0.1
	KeyID, Key        string        // of the external account that accounts must be bound to; empty: none
	Life              time.Duration // of certificates, in whole seconds; zero: 90 days
}

// Start starts an authority, which ends with the test.
func Start(t testing.TB, o Options) *Authority {
	t.Helper()
	// The go command caches the program. It passes no signals on: the program ends with its standard input.
	command := exec.Command("go", "run", "-C", filepath.Join(moduleRoot(t), "internal", "pebble"), ".",
		"-http-port", strconv.Itoa(o.HTTPPort), "-tls-port", strconv.Itoa(o.TLSPort), "-key-id", o.KeyID, "-key", o.Key, "-life", o.Life.String())
	var stderr bytes.Buffer
	command.Stderr = &stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	a := &Authority{CAFile: filepath.Join(t.TempDir(), "pebble.pem"), Roots: x509.NewCertPool()}
	a.close = sync.OnceFunc(func() {
		_ = stdin.Close()
		_, _ = io.Copy(io.Discard, stdout)
		if err := command.Wait(); err != nil {
			t.Errorf("the ACME authority: %v: %s", err, stderr.String())
		}
	})
	t.Cleanup(a.close)

	var told struct{ URL, CA, Root string }
	if err := json.NewDecoder(stdout).Decode(&told); err != nil {
		a.close()
		t.Fatalf("the ACME authority doesn't start: %v", err)
	}
	a.URL = told.URL
	if !a.Roots.AppendCertsFromPEM([]byte(told.Root)) {
		t.Fatalf("the ACME authority has no root certificate: %q", told.Root)
	}
	if err := os.WriteFile(a.CAFile, []byte(told.CA), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// Close ends the authority before the test ends.
func (a *Authority) Close() { a.close() }

// moduleRoot returns the directory of the module that is tested.
func moduleRoot(t testing.TB) string {
	t.Helper()
	file, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(strings.TrimSpace(string(file)))
}
