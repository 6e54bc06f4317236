package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// wantWarnings checks the warnings of a configuration: each line must contain its want.
func wantWarnings(t *testing.T, text string, want ...string) {
	t.Helper()
	var lines []string
	for _, w := range mustParse(t, text).Warnings {
		lines = append(lines, w.Warning())
	}
	for i, line := range lines {
		if i >= len(want) || !strings.Contains(line, want[i]) {
			t.Errorf("warning %q", line)
		}
	}
	if len(lines) != len(want) {
		t.Errorf("%d warnings, want %d: %q", len(lines), len(want), want)
	}
}

func TestAConfigurationThatIsMeantHasNoWarnings(t *testing.T) { wantWarnings(t, least) }

// Faults D.
func TestAPoolWithoutARouteIsAWarning(t *testing.T) {
	wantWarnings(t, least+"[[pool]]\nname = \"spare\"\nbackend = [{ address = \"127.0.0.1:9001\" }]\n",
		`test.toml:10: warning: pool[1]: no route uses the pool "spare"`)
}

// Faults D.
func TestAConnectTimeoutThatNeverEndsADialIsAWarning(t *testing.T) {
	wantWarnings(t, strings.Replace(least, "[[pool]]", "connect_timeout = \"11s\"\n[[pool]]", 1),
		`test.toml:7: warning: route[0].connect_timeout: over handshake_timeout, which ends a dial earlier, got 11s (want at most 10s)`)
}

// writePair writes a certificate that is valid between two times, and its key with a mode.
func writePair(t *testing.T, from, to time.Time, mode os.FileMode) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, NotBefore: from, NotAfter: to}
	certDER, err := x509.CreateCertificate(rand.Reader, &template, &template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	write := func(path, kind string, der []byte, mode os.FileMode) {
		err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
		if err == nil {
			err = os.Chmod(path, mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write(cert, "CERTIFICATE", certDER, 0o644)
	write(key, "PRIVATE KEY", keyDER, mode)
	return cert, key
}

func TestAPoolThatKeepsItsClientsBesideOneThatDoesNotIsAWarning(t *testing.T) {
	for _, test := range []struct {
		policy string
		want   []string
	}{
		{"least_conn", []string{`route[1].pools: clients of the pool "other" that come again gather in the pool "echo", whose policy is sticky`}},
		{"ip_hash", nil},
		{"sticky", nil},
	} {
		text := least + `policy = "sticky"
sticky.secret = "0123456789abcdef"
[[route]]
path = "/canary"
pools = [{ pool = "echo" }, { pool = "other" }]
[[pool]]
name = "other"
backend = [{ address = "127.0.0.1:9001" }]
sticky.secret = "0123456789abcdef"
policy = "` + test.policy + `"
`
		wantWarnings(t, text, test.want...)
	}
}

// Faults D.
func TestCertificatesThatNoClientAcceptsAreWarnings(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		from, to time.Time
		want     []string
	}{
		{now.Add(-time.Hour), now.Add(time.Hour), nil},
		{now.Add(-2 * time.Hour), now.Add(-time.Hour), []string{"cert: the certificate expired at "}},
		{now.Add(time.Hour), now.Add(2 * time.Hour), []string{"cert: the certificate is not valid before "}},
	} {
		cert, key := writePair(t, test.from, test.to, 0o600)
		wantWarnings(t, least+fmt.Sprintf("[pool.tls]\ncert = %q\nkey = %q\n", cert, key), test.want...)
		wantWarnings(t, strings.Replace(least, "[[route]]", fmt.Sprintf("tls.certificate = [{ cert = %q, key = %q }]\n[[route]]", cert, key), 1), test.want...)
	}
}

// Faults D.
func TestSecretsThatEveryUserMayReadAreWarnings(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("this system has no such modes")
	}
	cert, key := writePair(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), 0o666)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(secret, 0o644); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("admin.token_file = %q\n", secret) +
		strings.Replace(least, "[[route]]", fmt.Sprintf("tls.certificate = [{ cert = %q, key = %q }]\n[[route]]", cert, key), 1) +
		fmt.Sprintf("policy = \"sticky\"\nsticky.secret_file = %q\n", secret)
	wantWarnings(t, text,
		"admin.token_file: every user may read the file: its mode is 0644",
		"listener[0].tls.certificate[0].key: every user may write the file: its mode is 0666",
		"pool[0].sticky.secret_file: every user may read the file: its mode is 0644")
}

func TestARouteThatAnotherOneHidesIsAWarning(t *testing.T) {
	wantWarnings(t, least+"[[route]]\npath_regexp = \"^/a\"\npool = \"echo\"\n", "test.toml:10: warning: route[1]: never reached: route[0] ranks higher and matches all its requests (want a higher priority, to come first)")
}

func TestRoutesThatOnlyTheOrderDecidesAboutAreAWarning(t *testing.T) {
	wantWarnings(t, least+"[[route]]\nheader = { X-A = \"1\" }\npool = \"echo\"\n[[route]]\nheader = { X-B = \"1\" }\npool = \"echo\"\n",
		"test.toml:13: warning: route[2]: has the rank of route[1], and a request may match both: the first one in the file gets it (want priority, to decide without the order)")
}

func TestWhatOnlyLooksLikeAWildcardOrAVariableIsAWarning(t *testing.T) {
	wantWarnings(t, least+"[[route]]\npath = \"/a/*\"\npool = \"echo\"\nrewrite_path = \"/b/$1\"\nrequest_header = { X-A = \"$remote_addr\", X-B = \"5$\" }\n"+
		"[[route]]\npath = \"/c\"\nredirect = \"https://b.example$request_uri\"\n[[route]]\npath = \"/d\"\npool = \"echo\"\nrewrite_location = true\n",
		`route[1].path: "*" stands for itself`, `route[1].rewrite_path: "$" stands for itself`, "route[1].request_header.X-A: has no variables",
		"route[2].redirect: has no variables", "route[3].rewrite_location: without strip_prefix or rewrite_path it has no effect")
}

func TestAConditionThatOnlyATrustedProxyMeetsIsAWarningWithoutOne(t *testing.T) {
	text := least + "[[route]]\npath = \"/x\"\npool = \"echo\"\nheader = { X-Forwarded-Proto = \"https\", X-Room = \"1\" }\n"
	wantWarnings(t, text, `route[1].header.X-Forwarded-Proto: never met`)
	trusting := strings.Replace(text, "[[route]]", "trusted_proxies = [\"10.0.0.0/8\"]\n[[route]]", 1)
	wantWarnings(t, trusting)
	certificate := strings.Replace(trusting, "X-Forwarded-Proto", "X-Client-Cert-Subject", 1)
	wantWarnings(t, certificate, `route[1].header.X-Client-Cert-Subject: never met`)
	wantWarnings(t, strings.Replace(certificate, "[[route]]", "trusted_client_certificate = true\n[[route]]", 1))
}

func TestRoutesThatDifferOnlyInValuesThatAreNotShownAreAWarning(t *testing.T) {
	t.Setenv("SLUICE_TEST_SECRET", "hunter2")
	const text = least + "[[route]]\nheader = { %s = \"a\" }\npool = \"echo\"\n[[route]]\nheader = { %[1]s = \"%s\" }\npool = \"echo\"\n"
	wantWarnings(t, fmt.Sprintf(text, "X-Token", "b"), "test.toml:13: warning: route[2]: its name in logs and metrics is that of route[1] (want name, to distinguish them)")
	wantWarnings(t, fmt.Sprintf(text, "X-Version", "${SLUICE_TEST_SECRET}"))
}
