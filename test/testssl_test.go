//go:build unix

package test

import (
	"crypto/x509"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

var needTestSSL = need{"testssl.sh", "testssl.sh (Debian)", succeeds("testssl", "--version")}

// A finding is one of testssl.sh's.
type finding struct{ ID, Severity, Finding string }

// findings are what testssl.sh says of a listener. checks are its options.
func findings(t *testing.T, address, ca string, checks ...string) []finding {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "findings.json")
	args := append([]string{"--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none", "--ip", "127.0.0.1", "--jsonfile", path}, checks...)
	if ca != "" {
		args = append(args, "--add-ca", ca)
	}
	out, err := exec.Command("testssl", append(args, "localhost:"+port)...).CombinedOutput()
	if _, hasCode := err.(*exec.ExitError); err != nil && !hasCode { // its code counts what it dislikes
		t.Fatal(err)
	}
	var all []finding
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return all
}

// The whole report is in docs/tls.md. What is left out here takes minutes (simulated clients, each cipher), or concerns the backend
// (the fields of its answers).
func TestTestSSLFindsNothingWorseThanLow(t *testing.T) {
	t.Parallel()
	requires(t, needTestSSL, needOpenSSL)
	ca := newAuthority(t, t.TempDir(), "authority")
	site := ca.issue(t, "site", func(c *x509.Certificate) {
		// A certificate that nobody could revoke is rated high; nothing is fetched from there.
		c.CRLDistributionPoints = []string{"http://localhost/authority.crl"}
	})
	g := secureGateway(t, section("", site), runEcho(t))
	all := findings(t, g.listeners["public"], ca.cert, "--protocols", "--standard", "--server-defaults", "--vulnerable")
	seen := map[string]bool{}
	for _, f := range all {
		seen[f.ID] = true
		if slices.Contains([]string{"MEDIUM", "HIGH", "CRITICAL", "FATAL"}, f.Severity) || f.Severity == "WARN" && f.ID != "engine_problem" {
			t.Errorf("%s: %s: %s", f.Severity, f.ID, f.Finding)
		} else if f.Severity == "LOW" {
			t.Logf("%s: %s: %s", f.Severity, f.ID, f.Finding)
		}
	}
	for _, id := range []string{"SSLv3", "TLS1", "TLS1_1", "TLS1_2", "TLS1_3", "cipherlist_3DES_IDEA", "cert_chain_of_trust", "heartbleed", "LUCKY13"} {
		if !seen[id] {
			t.Errorf("testssl.sh says nothing of %s", id)
		}
	}
}
