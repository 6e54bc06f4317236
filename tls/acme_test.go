package tls

import (
	"context"
	ctls "crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/internal/acmetest"
)

func portOf(ln net.Listener) int { return ln.Addr().(*net.TCPAddr).Port }

// servePlain answers HTTP as a plain listener of the gateway does.
func servePlain(t *testing.T, ln net.Listener, challenge func(ctx context.Context, host, path string) (string, bool)) {
	t.Helper()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := challenge(r.Context(), r.Host, r.URL.Path)
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, body)
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(ln)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
}

// acmeSection returns a section for a domain of the authority.
func acmeSection(t *testing.T, a *acmetest.Authority, challenge string) *Config {
	t.Helper()
	cfg := testConfig()
	cfg.ACME = testACME("chat.test")
	cfg.ACME.Directory, cfg.ACME.CAFile = a.URL, a.CAFile
	cfg.ACME.Storage = filepath.Join(t.TempDir(), "acme")
	cfg.ACME.Email = "operator@chat.test"
	cfg.ACME.Challenges = []string{challenge}
	if problems := problemsOf(cfg.Check); len(problems) > 0 {
		t.Fatalf("Check: %q", problems)
	}
	return cfg
}

// checkSite fails the test unless a client that trusts the authority reaches its domain.
func (s *served) checkSite(t *testing.T, a *acmetest.Authority) {
	t.Helper()
	conn, _ := s.dial(t, &ctls.Config{RootCAs: a.Roots, ServerName: "chat.test", NextProtos: []string{"http/1.1"}})
	if state := conn.ConnectionState(); state.NegotiatedProtocol != "http/1.1" {
		t.Errorf("the protocol is %q", state.NegotiatedProtocol)
	}
	nameless, _ := s.dial(t, &ctls.Config{InsecureSkipVerify: true})
	if leaf := nameless.ConnectionState().PeerCertificates[0]; leaf.VerifyHostname("chat.test") != nil {
		t.Errorf("without a name clients get a certificate for %q", leaf.DNSNames)
	}
	if end := s.server.Expiry()["chat.test"]; time.Until(end) < time.Hour {
		t.Errorf("the certificate's end is told as %v", end)
	}
}

func TestACMEObtainsACertificateByHTTP01(t *testing.T) {
	plain, secure := listen(t), listen(t)
	authority := acmetest.Start(t, acmetest.Options{HTTPPort: portOf(plain), TLSPort: portOf(secure)})
	s := serveOn(t, secure, acmeSection(t, authority, ChallengeHTTP), Options{Address: secure.Addr().String(), HTTPAddress: plain.Addr().String()})
	servePlain(t, plain, s.server.HTTPChallenge)
	want(t, s.reloads, ReloadApplied)
	s.checkSite(t, authority)
	if body, ok := s.server.HTTPChallenge(t.Context(), "chat.test", ChallengePath+"none"); ok {
		t.Errorf("a challenge that nobody waits for is answered: %q", body)
	}
}

func TestACMEObtainsACertificateByTLSALPN01(t *testing.T) {
	secure := listen(t)
	authority := acmetest.Start(t, acmetest.Options{TLSPort: portOf(secure)})
	s := serveOn(t, secure, acmeSection(t, authority, ChallengeTLSALPN), Options{Address: secure.Addr().String()})
	want(t, s.reloads, ReloadApplied)
	hasChallenge := false
	for len(s.labels) > 0 {
		label := <-s.labels
		hasChallenge = hasChallenge || label[1] == ResultChallenge
	}
	if !hasChallenge {
		t.Error("no handshake was counted as a challenge")
	}
	s.checkSite(t, authority)
	s.checkStrangersChallenge(t)
}

func TestACMEIsNotAskedForAClientCertificate(t *testing.T) {
	secure := listen(t)
	authority := acmetest.Start(t, acmetest.Options{TLSPort: portOf(secure)})
	cfg := acmeSection(t, authority, ChallengeTLSALPN)
	clients := newAuthority(t, "clients")
	cfg.ClientAuth, cfg.ClientCA = ClientAuthRequire, filepath.Join(t.TempDir(), "clients.pem")
	replaceFile(t, cfg.ClientCA, clients.pem)
	s := serveOn(t, secure, cfg, Options{Address: secure.Addr().String()})
	want(t, s.reloads, ReloadApplied)
	stranger := &ctls.Config{RootCAs: authority.Roots, ServerName: "chat.test"}
	if err := reach(s.address, stranger); err == nil {
		t.Error("a client without a certificate is let in")
	}
	client := stranger.Clone()
	client.Certificates = []ctls.Certificate{clients.issue(t, nil).parsed(t)}
	s.dial(t, client)
	s.checkStrangersChallenge(t)
}

// checkStrangersChallenge fails the test if a handshake for acme-tls/1 outside of a challenge gets
// a certificate.
func (s *served) checkStrangersChallenge(t *testing.T) {
	t.Helper()
	for _, name := range []string{"chat.test", "other.test"} {
		conn, err := ctls.Dial("tcp", s.address, &ctls.Config{InsecureSkipVerify: true, ServerName: name, NextProtos: []string{challengeProtocol}})
		if err == nil {
			_ = conn.Close()
			t.Errorf("a stranger's challenge for %s is answered", name)
		}
	}
}

func TestACMECertificateSurvivesARestartWithoutItsAuthority(t *testing.T) {
	secure := listen(t)
	authority := acmetest.Start(t, acmetest.Options{TLSPort: portOf(secure)})
	cfg := acmeSection(t, authority, ChallengeTLSALPN)
	first := serveOn(t, secure, cfg, Options{Address: secure.Addr().String()})
	want(t, first.reloads, ReloadApplied)
	authority.Close()

	again := listen(t)
	second := serveOn(t, again, cfg, Options{Address: again.Addr().String()})
	want(t, second.reloads, ReloadApplied)
	second.checkSite(t, authority)
}

func TestAStoredACMECertificateIsServedFromTheFirstHandshakeOn(t *testing.T) {
	secure := listen(t)
	authority := acmetest.Start(t, acmetest.Options{TLSPort: portOf(secure)})
	cfg := acmeSection(t, authority, ChallengeTLSALPN)
	first := serveOn(t, secure, cfg, Options{Address: secure.Addr().String()})
	want(t, first.reloads, ReloadApplied)

	server, err := New(cfg, Options{Address: secure.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := shake(t, t.Context(), server, func(conn net.Conn) { // before Run
		_ = ctls.Client(conn, &ctls.Config{RootCAs: authority.Roots, ServerName: "chat.test"}).Handshake()
	})
	if err != nil {
		t.Errorf("the first handshake: %v", err)
	} else {
		_ = conn.Close()
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	server.Run(ended)
}

func TestACMERenewsACertificateThatIsServed(t *testing.T) {
	secure := listen(t)
	authority := acmetest.Start(t, acmetest.Options{TLSPort: portOf(secure), Life: 5 * time.Second})
	s := serveOn(t, secure, acmeSection(t, authority, ChallengeTLSALPN), Options{Address: secure.Addr().String()})
	want(t, s.reloads, ReloadApplied)
	client := &ctls.Config{ServerName: "chat.test", InsecureSkipVerify: true} // it may have ended, on a slow machine
	before := s.serial(t, client)
	live, _ := s.dial(t, client)
	deadline := time.Now().Add(patience)
	for s.serial(t, client).Cmp(before) == 0 {
		if time.Now().After(deadline) {
			t.Fatalf("the certificate isn't renewed in %v", patience)
		}
		// The cache looks each ten minutes. What it does then is done here now.
		if err := s.server.acme.cache.RenewManagedCertificates(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	want(t, s.reloads, ReloadApplied)
	_ = live.SetDeadline(time.Now().Add(patience))
	if !isAlive(live) {
		t.Error("the renewal has ended a live session")
	}
}

func TestACMEBindsItsAccountToAnExternalOne(t *testing.T) {
	secure := listen(t)
	key := base64.RawURLEncoding.EncodeToString(randomBytes(32))
	authority := acmetest.Start(t, acmetest.Options{TLSPort: portOf(secure), KeyID: "kid-1", Key: key})
	cfg := acmeSection(t, authority, ChallengeTLSALPN)
	unbound := serve(t, cfg, Options{Address: secure.Addr().String()})
	want(t, unbound.reloads, ReloadRefused)

	cfg = acmeSection(t, authority, ChallengeTLSALPN)
	cfg.ACME.EABKeyID, cfg.ACME.EABKeyFile = "kid-1", filepath.Join(t.TempDir(), "eab.key")
	replaceFile(t, cfg.ACME.EABKeyFile, []byte(key+"=\n"))
	bound := serveOn(t, secure, cfg, Options{Address: secure.Addr().String()})
	want(t, bound.reloads, ReloadApplied)
	bound.checkSite(t, authority)
}

func TestACMEStandsBesideCertificatesOfFiles(t *testing.T) {
	secure := listen(t)
	authority := acmetest.Start(t, acmetest.Options{TLSPort: portOf(secure)})
	cfg := acmeSection(t, authority, ChallengeTLSALPN)
	file := newAuthority(t, "authority").issue(t, []string{"file.test"})
	cfg.Certificate = []CertificateConfig{file.write(t, t.TempDir(), "site")}
	s := serveOn(t, secure, cfg, Options{Address: secure.Addr().String()})
	want(t, s.reloads, ReloadApplied)
	for _, name := range []string{"file.test", "unknown.test", ""} {
		if got := s.serial(t, &ctls.Config{ServerName: name, InsecureSkipVerify: true}); got.Cmp(file.serial) != 0 {
			t.Errorf("for %q: certificate %v, want the file's", name, got)
		}
	}
	s.dial(t, &ctls.Config{RootCAs: authority.Roots, ServerName: "chat.test"})
}

func TestWithoutACertificateYetHandshakesFailAndAreCounted(t *testing.T) {
	authority := &acmetest.Authority{URL: "https://127.0.0.1:1/directory", CAFile: filepath.Join(t.TempDir(), "ca.pem")}
	replaceFile(t, authority.CAFile, newAuthority(t, "nobody").pem)
	secure := listen(t)
	s := serveOn(t, secure, acmeSection(t, authority, ChallengeTLSALPN), Options{Address: secure.Addr().String()})
	for _, name := range []string{"chat.test", "unknown.test", ""} {
		if conn, err := ctls.Dial("tcp", s.address, &ctls.Config{ServerName: name, InsecureSkipVerify: true}); err == nil {
			_ = conn.Close()
			t.Errorf("a client that asks for %q got a connection", name)
		}
		want(t, s.labels, [2]string{"1.3", ResultNoCertificate})
	}
}

func TestACMENeedsAListenerThatCanAnswer(t *testing.T) {
	authority := &acmetest.Authority{URL: "https://127.0.0.1:1/directory", CAFile: filepath.Join(t.TempDir(), "ca.pem")}
	replaceFile(t, authority.CAFile, newAuthority(t, "nobody").pem)
	for _, test := range []struct {
		challenge string
		options   Options
	}{
		{ChallengeHTTP, Options{Address: "127.0.0.1:443"}},
		{ChallengeTLSALPN, Options{HTTPAddress: "127.0.0.1:80"}},
	} {
		_, err := New(acmeSection(t, authority, test.challenge), test.options)
		if err == nil || !strings.Contains(err.Error(), "no listener can answer") {
			t.Errorf("New with %s for %s = %v", fmt.Sprint(test.options), test.challenge, err)
		}
	}
}

func TestPlainCaseOfACMEUsesBothChallenges(t *testing.T) {
	cfg := testACME("chat.example.com")
	template, err := issuerTemplate(cfg, Options{Address: "0.0.0.0:443", HTTPAddress: "0.0.0.0:80"})
	if err != nil {
		t.Fatal(err)
	}
	if template.CA != letsEncryptURL || template.DisableHTTPChallenge || template.DisableTLSALPNChallenge ||
		template.AltHTTPPort != 80 || template.AltTLSALPNPort != 443 || template.ExternalAccount != nil || !template.Agreed {
		t.Errorf("issuer %+v", template)
	}
	cfg.Directory = DirectoryStaging
	if template, err = issuerTemplate(cfg, Options{Address: ":443"}); err != nil || template.CA != letsEncryptStagingURL || !template.DisableHTTPChallenge {
		t.Errorf("issuer %+v, %v", template, err)
	}
}
