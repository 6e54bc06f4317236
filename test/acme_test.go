//go:build unix

package test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/internal/acmetest"
)

// freePort returns a port that nobody listens at. It isn't one of those that the kernel gives away.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 20_000 + rand.IntN(10_000)
		if ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = ln.Close()
			return port
		}
	}
	t.Fatal("no free port")
	panic("unreachable")
}

// An acmeSite is where a gateway with a listener by ACME is, and one without TLS beside it.
type acmeSite struct {
	httpPort, tlsPort int
	storage           string
}

func newACMESite(t *testing.T) acmeSite {
	return acmeSite{freePort(t), freePort(t), filepath.Join(t.TempDir(), "acme")}
}

// run serves with an authority.
func (s acmeSite) run(t *testing.T, authority *acmetest.Authority, backend, more string) *gateway {
	t.Helper()
	return runGateway(t, s.config(authority, backend, more))
}

// config is the configuration for an authority. more are lines of [listener.tls.acme]. The listener "public" is the one with TLS.
func (s acmeSite) config(authority *acmetest.Authority, backend, more string) string {
	return fmt.Sprintf(`
[gateway]
drain = "0s"
[admin]
address = "127.0.0.1:0"
[log]
level = "debug"
[[listener]]
name = "plain"
address = "127.0.0.1:%d"
[[listener]]
name = "public"
address = "127.0.0.1:%d"
[listener.tls.acme]
domains = ["chat.test"]
directory = %q
ca_file = %q
storage = %q
%s
[[route]]
pool = "pool"
[[pool]]
name = "pool"
backend = [{ address = %q }]
`, s.httpPort, s.tlsPort, authority.URL, authority.CAFile, s.storage, more, backend)
}

// untilServed waits until clients get a certificate for the domain other than one before; nil: there was none.
func (g *gateway) untilServed(t *testing.T, before *x509.Certificate) (leaf *x509.Certificate, chain []*x509.Certificate) {
	t.Helper()
	eventually(t, 6*patience, "a certificate is obtained and served", func() bool {
		conn, reader, err := openTLS(g, &tls.Config{ServerName: "chat.test", InsecureSkipVerify: true})
		if err != nil {
			return false
		}
		defer conn.Close()
		chain = conn.ConnectionState().PeerCertificates
		leaf = chain[0]
		if before != nil && leaf.Equal(before) {
			return false
		}
		echoes(t, conn, reader, []byte("hello"))
		return true
	})
	return leaf, chain
}

// wantIssued wants a chain to be of the authority and for the domain, and the metrics to tell of it.
func (g *gateway) wantIssued(t *testing.T, authority *acmetest.Authority, chain []*x509.Certificate) {
	t.Helper()
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	// As of its first second: it may live for a few of them only.
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: "chat.test", Roots: authority.Roots, Intermediates: between, CurrentTime: chain[0].NotBefore.Add(time.Second)})
	if err != nil {
		t.Errorf("the certificate that is served: %v", err)
	}
	if got, want := g.count(t, `sluice_certificate_expiry_seconds{name="chat.test"}`), int(chain[0].NotAfter.Unix()); got != want {
		t.Errorf("it ends at %d, the metric says, want %d", got, want)
	}
	if g.count(t, `sluice_certificate_reloads_total{result="applied"}`) == 0 {
		t.Error("that it was obtained isn't counted")
	}
}

func TestACertificateIsObtainedByEachChallenge(t *testing.T) {
	key := "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W" // base64url
	for name, test := range map[string]struct {
		options acmetest.Options
		more    string
	}{
		"http-01":             {acmetest.Options{}, `challenges = ["http-01"]`},
		"tls-alpn-01":         {acmetest.Options{}, `challenges = ["tls-alpn-01"]`},
		"an external account": {acmetest.Options{KeyID: "kid-1", Key: key}, fmt.Sprintf("eab_key_id = \"kid-1\"\neab_key = %q", key)},
	} {
		t.Run(name, func(t *testing.T) {
			site := newACMESite(t)
			test.options.HTTPPort, test.options.TLSPort = site.httpPort, site.tlsPort
			authority := acmetest.Start(t, test.options)
			g := site.run(t, authority, runEcho(t), test.more)
			_, chain := g.untilServed(t, nil)
			g.wantIssued(t, authority, chain)
			challenges := g.count(t, `sluice_tls_handshakes_total{result="challenge",version="1.3"}`)
			if isByTLS := challenges > 0; name == "tls-alpn-01" && !isByTLS || name == "http-01" && isByTLS {
				t.Errorf("%d challenges were answered by TLS", challenges)
			}
			if strings.Contains(g.log.String(), `"level":"error"`) {
				t.Errorf("an error is told:\n%s", g.log.last())
			}
		})
	}
}

func TestWithoutItsExternalAccountNoCertificateIsObtained(t *testing.T) {
	site := newACMESite(t)
	authority := acmetest.Start(t, acmetest.Options{HTTPPort: site.httpPort, TLSPort: site.tlsPort, KeyID: "kid-1", Key: "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"})
	g := site.run(t, authority, runEcho(t), "")
	eventually(t, 6*patience, "the refused order is counted", func() bool {
		return g.count(t, `sluice_certificate_reloads_total{result="refused"}`) > 0
	})
	if !strings.Contains(g.log.String(), "externalAccountRequired") {
		t.Errorf("the operator isn't told why:\n%s", g.log.last())
	}
	if _, _, err := openTLS(g, &tls.Config{ServerName: "chat.test", InsecureSkipVerify: true}); err == nil {
		t.Error("a session begins without a certificate")
	}
	plain, err := join(g.listeners["plain"], nil, "/")
	if err != nil {
		t.Fatalf("the listener without TLS meanwhile: %v", err)
	}
	plain.leave()
}

func TestAnObtainedCertificateIsKeptAndRenewed(t *testing.T) {
	site := newACMESite(t)
	backend := runEcho(t)
	authority := acmetest.Start(t, acmetest.Options{HTTPPort: site.httpPort, TLSPort: site.tlsPort, Life: 5 * time.Second})
	first := site.run(t, authority, backend, "")
	before, chain := first.untilServed(t, nil)
	first.wantIssued(t, authority, chain)
	first.signal(t, syscall.SIGTERM)
	if code := first.exitCode(t, 2*patience); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	eventually(t, patience, "the certificate ends", func() bool { return time.Now().After(before.NotAfter) })
	second := site.run(t, authority, backend, "")
	_, chain = second.untilServed(t, before)
	second.wantIssued(t, authority, chain)
}

func TestAReloadOfACMELosesNoHandshake(t *testing.T) {
	site := newACMESite(t)
	backend := runEcho(t)
	authority := acmetest.Start(t, acmetest.Options{HTTPPort: site.httpPort, TLSPort: site.tlsPort})
	g := runChanging(t, site.config(authority, backend, ""))
	g.untilServed(t, nil)
	stream := streamTLS(t, g.gateway, &tls.Config{RootCAs: authority.Roots, ServerName: "chat.test"})
	for i := range 10 {
		g.change(t, site.config(authority, backend, fmt.Sprintf("email = \"operator-%d@chat.test\"", i)))
	}
	before := stream.served()
	eventually(t, patience, "the stream goes on", func() bool { return stream.served() > before })
	stream.wantNoErrors(t)
}
