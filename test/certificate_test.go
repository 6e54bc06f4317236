//go:build unix

package test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAClientGetsTheCertificateOfTheNameItAsksFor(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	withRSA, withECDSA := ca.issueRSA(t, "rsa", named("site.test")), ca.issue(t, "ecdsa", named("site.test"))
	wild, exact := ca.issue(t, "wild", named("*.wild.test")), ca.issue(t, "exact", named("exact.wild.test"))
	g := secureGateway(t, section("", withRSA, withECDSA, wild, exact), runEcho(t))
	onlyRSA := tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}
	for _, test := range []struct {
		name  string
		knows *tls.Config
		want  pair
	}{
		{"site.test", &tls.Config{}, withECDSA},
		{"SITE.test", &tls.Config{MaxVersion: tls.VersionTLS12}, withECDSA},
		{"site.test", &onlyRSA, withRSA},
		{"any.wild.test", &tls.Config{}, wild},
		{"exact.wild.test", &tls.Config{}, exact},
		{"two.labels.wild.test", &tls.Config{}, withECDSA}, // the default, in the kind that is best for the client
		{"unknown.test", &tls.Config{}, withECDSA},
		{"unknown.test", &onlyRSA, withRSA},
		{"", &tls.Config{}, withECDSA},
	} {
		config := test.knows.Clone()
		config.ServerName, config.InsecureSkipVerify = test.name, true
		conn, reader, err := openTLS(g, config)
		if err != nil {
			t.Errorf("a client that asks for %q: %v", test.name, err)
			continue
		}
		if got := conn.ConnectionState().PeerCertificates[0]; got.SerialNumber.Cmp(test.want.parsed.SerialNumber) != 0 {
			t.Errorf("a client that asks for %q got the certificate of %v with a %v key, want that of %v with %v", test.name,
				got.DNSNames, got.PublicKeyAlgorithm, test.want.parsed.DNSNames, test.want.parsed.PublicKeyAlgorithm)
		}
		echoes(t, conn, reader, []byte("hello"))
		_ = conn.Close()
	}
	// Who asks for an unknown name and looks at what it gets, refuses it.
	_, _, err := openTLS(g, &tls.Config{ServerName: "unknown.test", RootCAs: ca.pool()})
	if hostname := (x509.HostnameError{}); !errors.As(err, &hostname) {
		t.Errorf("a client that verifies an unknown name: %v", err)
	}
	eventually(t, patience, "its alert is counted", func() bool {
		return g.count(t, `sluice_tls_handshakes_total{result="alert",version="1.3"}`) == 1
	})
}

func TestACertificateIsReplacedUnderLiveSessions(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	g := secureGateway(t, section("", ca.issue(t, "site")), runEcho(t))
	config := &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"}
	const count = 200
	live := make([]*tlsSession, count)
	for i := range live {
		live[i] = openSession(t, g, config)
	}
	message := bytes.Repeat([]byte("x"), 70_000)
	stream := streamTLS(t, g, config)
	// Each replacement is served in time where the machine doesn't stall: so one of three has to be.
	fastest := time.Hour
	for range 3 {
		renewed := ca.issue(t, "site")
		at := time.Now()
		eventually(t, patience, "new sessions get the new certificate", func() bool { return stream.first(renewed.parsed.SerialNumber) != nil })
		fastest = min(fastest, stream.first(renewed.parsed.SerialNumber).Sub(at))
		for _, s := range live {
			echoes(t, s.conn, s.reader, message)
		}
	}
	if fastest > time.Second {
		t.Errorf("a new certificate is served %v behind its file's change, want a second at most", fastest)
	}
	stream.wantNoErrors(t)
	t.Logf("%d new sessions, the new certificate after %v", stream.count, fastest)
}

func TestABrokenCertificateKeepsTheOneBeforeAndIsToldOnce(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	site, keys := ca.issue(t, "site"), filepath.Join(t.TempDir(), "tickets")
	rotate := func() { replaceFile(t, keys, []byte(base64.StdEncoding.EncodeToString([]byte(rand.Text()+"012345")))) }
	rotate()
	g := secureGateway(t, section(fmt.Sprintf("watch_interval = \"100ms\"\ntickets = { key_file = %q }", keys), site), runEcho(t))
	config := &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"}
	live := openSession(t, g, config)
	refused := func() int { return g.count(t, `sluice_certificate_reloads_total{result="refused"}`) }
	applied := func() int { return g.count(t, `sluice_certificate_reloads_total{result="applied"}`) }
	stranger := newAuthority(t, t.TempDir(), "stranger")
	for i, content := range []string{"broken", readText(t, stranger.cert)} { // no certificate; one of another key
		replaceFile(t, site.cert, []byte(content))
		eventually(t, patience, "the broken one is counted", func() bool { return refused() == i+1 })
		// Two more looks, as changes of another file show.
		for range 2 {
			before := applied()
			rotate()
			eventually(t, patience, "another file is reloaded", func() bool { return applied() > before })
		}
		if n := refused(); n != i+1 {
			t.Errorf("%d refusals counted for %d broken files", n, i+1)
		}
		if n := strings.Count(g.log.String(), "file refused, the one before stays"); n != i+1 {
			t.Errorf("%d lines about %d broken files", n, i+1)
		}
		s := openSession(t, g, config)
		if got := s.conn.ConnectionState().PeerCertificates[0]; got.SerialNumber.Cmp(site.parsed.SerialNumber) != 0 {
			t.Error("behind a broken replacement another certificate is shown")
		}
	}
	echoes(t, live.conn, live.reader, []byte("hello"))
	renewed := ca.issue(t, "site")
	eventually(t, patience, "a good one is taken", func() bool {
		s := openSession(t, g, config)
		return s.conn.ConnectionState().PeerCertificates[0].SerialNumber.Cmp(renewed.parsed.SerialNumber) == 0
	})
}

func TestAnExpiredCertificateIsWarnedAboutAndServed(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	ends := func(at time.Time) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = at.Add(-90*24*time.Hour), at }
	}
	over := ca.issue(t, "over", named("over.test"), ends(time.Now().Add(-time.Hour)))
	soon := ca.issue(t, "soon", named("soon.test"), ends(time.Now().Add(24*time.Hour)))
	g := secureGateway(t, section("", over, soon), runEcho(t))
	warnings := func(message, name string) (n int) {
		for line := range strings.Lines(g.log.String()) {
			if strings.Contains(line, `"level":"warn"`) && strings.Contains(line, message) && strings.Contains(line, name) {
				n++
			}
		}
		return n
	}
	if n := warnings("certificate expired", "over.test"); n != 1 {
		t.Errorf("%d warnings about the certificate that has ended, want 1", n)
	}
	if n := warnings("certificate expires soon", "soon.test"); n != 1 {
		t.Errorf("%d warnings about the one that ends soon, want 1", n)
	}
	expiry := func(name string) int {
		return g.count(t, fmt.Sprintf("sluice_certificate_expiry_seconds{name=%q}", name))
	}
	for name, p := range map[string]pair{"over.test": over, "soon.test": soon} {
		if got, want := expiry(name), int(p.parsed.NotAfter.Unix()); got != want {
			t.Errorf("%s ends at %d, the metric says, want %d", name, got, want)
		}
	}
	config := &tls.Config{RootCAs: ca.pool(), ServerName: "over.test"}
	invalid := x509.CertificateInvalidError{}
	if _, _, err := openTLS(g, config); !errors.As(err, &invalid) || invalid.Reason != x509.Expired {
		t.Errorf("a client that verifies the ended certificate: %v", err)
	}
	renewed := ca.issue(t, "over", named("over.test"))
	eventually(t, patience, "the renewed one is served", func() bool {
		conn, _, err := openTLS(g, config)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	if got, want := expiry("over.test"), int(renewed.parsed.NotAfter.Unix()); got != want {
		t.Errorf("behind the renewal it ends at %d, the metric says, want %d", got, want)
	}
}

func TestAClientWithoutTheRightCertificateGetsAnAlertAndNoErrorLine(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	ca, clients, strangers := newAuthority(t, directory, "authority"), newAuthority(t, directory, "clients"), newAuthority(t, directory, "strangers")
	known, stranger := clients.issue(t, "device 7"), strangers.issue(t, "device 8")
	over := clients.issue(t, "device 9", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	more := fmt.Sprintf("client_auth = \"require\"\nclient_ca = %q", clients.cert)
	g := secureGateway(t, section(more, ca.issue(t, "site")), runEcho(t))
	failed := 0
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		missing := "tls: certificate required"
		if version == tls.VersionTLS12 {
			missing = "tls: handshake failure" // RFC 5246 section 7.4.6
		}
		for _, test := range []struct {
			name  string
			shown *tls.Certificate
			alert string // empty: it is let in
		}{
			{"none", &tls.Certificate{}, missing},
			{"a stranger's", stranger.certificate(), "tls: unknown certificate authority"},
			{"one that has ended", over.certificate(), "tls: expired certificate"},
			{"a right one", known.certificate(), ""},
		} {
			conn, reader, err := openTLS(g, &tls.Config{
				RootCAs: ca.pool(), ServerName: "localhost", MaxVersion: version,
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return test.shown, nil },
			})
			operation := new(net.OpError)
			switch {
			case test.alert == "" && err == nil:
				echoes(t, conn, reader, []byte("hello"))
				_ = conn.Close()
			case test.alert == "" || !errors.As(err, &operation) || operation.Op != "remote error" || operation.Err.Error() != test.alert:
				t.Errorf("%s, certificate: %s: %v, want the alert %q", tls.VersionName(version), test.name, err, test.alert)
			default:
				failed++
			}
		}
	}
	counted := func(version string) int {
		return g.count(t, fmt.Sprintf(`sluice_tls_handshakes_total{result="client_certificate",version=%q}`, version))
	}
	if a, b := counted("1.2"), counted("1.3"); a != 3 || b != 3 {
		t.Errorf("%d and %d handshakes counted that ended for a client's certificate, want 3 of each version", a, b)
	}
	told := 0
	for line := range strings.Lines(g.log.String()) {
		switch {
		case strings.Contains(line, `"level":"error"`), strings.Contains(line, `"level":"warn"`):
			t.Errorf("a client's mistake is told to the operator: %s", line)
		case strings.Contains(line, `"level":"debug"`) && strings.Contains(line, "TLS handshake ended"):
			told++
		}
	}
	if told != failed {
		t.Errorf("%d debug lines about %d handshakes", told, failed)
	}
}

func TestTheSubjectOfAClientIsPassedOnAndCannotBeForged(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	ca, clients := newAuthority(t, directory, "authority"), newAuthority(t, directory, "clients")
	known := clients.issue(t, "client", subject(pkix.Name{CommonName: "device 7\r\nX-Admin: yes", Organization: []string{"Example, Inc."}}))
	const want = `CN=device 7\0D\0AX-Admin: yes,O=Example\, Inc.`
	backend := listenRaw(t)
	more := fmt.Sprintf("client_auth = \"request\"\nclient_ca = %q", clients.cert)
	g := secureGateway(t, section(more, ca.issue(t, "site")), backend.Addr().String())
	forged := []string{"X-Client-Cert-Subject: CN=root", "x-client-cert-subject: CN=root", "X_Client_Cert_Subject: CN=root"}
	plain := head(append([]string{"GET / HTTP/1.1", "Host: gateway.test"}, forged...)...)
	for name, head := range map[string]string{"WebSocket": request("/", forged...), "plain": plain} {
		for _, isKnown := range []bool{true, false} {
			config := &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"}
			if isKnown {
				config.Certificates = []tls.Certificate{*known.certificate()}
			}
			conn, err := tls.Dial("tcp", g.listeners["public"], config)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, head); err != nil {
				t.Fatal(err)
			}
			header := backend.accept(t).request.Header
			_ = conn.Close()
			got := header.Values("X-Client-Cert-Subject")
			if isKnown && (len(got) != 1 || got[0] != want) || !isKnown && len(got) > 0 {
				t.Errorf("%s request, certificate %v: the backend got the subjects %q, want %q or none", name, isKnown, got, want)
			}
			if header.Get("X-Admin") != "" || header.Get("X-Forwarded-Proto") != "https" {
				t.Errorf("%s request, certificate %v: the backend got %v", name, isKnown, header)
			}
			for field := range header {
				if strings.Contains(field, "_") {
					t.Errorf("%s request: the backend got %s: %q", name, field, header[field])
				}
			}
		}
	}
}
