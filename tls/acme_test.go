package tls

import (
	"context"
	ctls "crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pebbleca "github.com/letsencrypt/pebble/v2/ca"
	pebbledb "github.com/letsencrypt/pebble/v2/db"
	pebbleva "github.com/letsencrypt/pebble/v2/va"
	pebblewfe "github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// An acmeAuthority is a Pebble of the test's own.
type acmeAuthority struct {
	url    string
	caFile string // of what signed the certificate of url
	roots  *x509.CertPool
	server *http.Server
}

// A binding is an external account that the authority knows.
type binding struct{ id, key string }

// startPebble starts an authority that validates at the given ports of 127.0.0.1, whatever the name.
// With a binding it takes only accounts that are bound to it.
func startPebble(t *testing.T, httpPort, tlsPort int, account *binding) *acmeAuthority {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	t.Setenv("PEBBLE_AUTHZREUSE", "0")
	quiet := log.New(io.Discard, "", 0)
	store := pebbledb.NewMemoryStore()
	if account != nil {
		if err := store.AddExternalAccountKeyByID(account.id, account.key); err != nil {
			t.Fatal(err)
		}
	}
	signer := pebbleca.New(quiet, store, "", "ecdsa", 0, 1, map[string]pebbleca.Profile{"default": {Description: "of a test"}})
	validator := pebbleva.New(quiet, httpPort, tlsPort, true, startDNS(t), store)
	front := pebblewfe.New(quiet, store, validator, signer, []string{"pebble.test"}, true, account != nil, 1, 1)

	directory := t.TempDir()
	own := newAuthority(t, "pebble's own")
	cert := own.issue(t, nil, loopback).parsed(t)
	a := &acmeAuthority{caFile: filepath.Join(directory, "pebble.pem"), roots: x509.NewCertPool()}
	replaceFile(t, a.caFile, own.pem)
	a.roots.AddCert(signer.GetRootCert(0).Cert)
	ln := listen(t)
	a.url = "https://" + ln.Addr().String() + pebblewfe.DirectoryPath
	a.server = &http.Server{
		Handler:   front.Handler(),
		TLSConfig: &ctls.Config{Certificates: []ctls.Certificate{cert}},
		ErrorLog:  quiet,
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = a.server.ServeTLS(ln, "", "")
	}()
	t.Cleanup(func() {
		_ = a.server.Close()
		<-ended
	})
	return a
}

// startDNS starts a DNS server that has every name at 127.0.0.1, and returns its address.
func startDNS(t *testing.T) string {
	t.Helper()
	ln := listen(t)
	server := &dns.Server{Listener: ln, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, query *dns.Msg) {
		answer := new(dns.Msg)
		answer.SetReply(query)
		if question := query.Question[0]; question.Qtype == dns.TypeA {
			header := dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET}
			answer.Answer = append(answer.Answer, &dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)})
		}
		_ = w.WriteMsg(answer)
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.ActivateAndServe()
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-ended
	})
	return ln.Addr().String()
}

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

// acmeConfig returns a section for a domain of the authority.
func (a *acmeAuthority) config(t *testing.T, challenge string) *Config {
	cfg := testConfig()
	cfg.ACME = testACME("chat.test")
	cfg.ACME.Directory, cfg.ACME.CAFile = a.url, a.caFile
	cfg.ACME.Storage = filepath.Join(t.TempDir(), "acme")
	cfg.ACME.Email = "operator@chat.test"
	cfg.ACME.Challenges = []string{challenge}
	if problems := problemsOf(cfg.Check); len(problems) > 0 {
		t.Fatalf("Check: %q", problems)
	}
	return cfg
}

// checkSite fails the test unless a client that trusts the authority reaches its domain.
func (a *acmeAuthority) checkSite(t *testing.T, s *served) {
	t.Helper()
	conn, _ := s.dial(t, &ctls.Config{RootCAs: a.roots, ServerName: "chat.test", NextProtos: []string{"http/1.1"}})
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
	authority := startPebble(t, portOf(plain), portOf(secure), nil)
	s := serveOn(t, secure, authority.config(t, ChallengeHTTP), Options{Address: secure.Addr().String(), HTTPAddress: plain.Addr().String()})
	servePlain(t, plain, s.server.HTTPChallenge)
	want(t, s.reloads, ReloadApplied)
	authority.checkSite(t, s)
	if body, ok := s.server.HTTPChallenge(t.Context(), "chat.test", ChallengePath+"none"); ok {
		t.Errorf("a challenge that nobody waits for is answered: %q", body)
	}
}

func TestACMEObtainsACertificateByTLSALPN01(t *testing.T) {
	secure := listen(t)
	authority := startPebble(t, 0, portOf(secure), nil)
	s := serveOn(t, secure, authority.config(t, ChallengeTLSALPN), Options{Address: secure.Addr().String()})
	want(t, s.reloads, ReloadApplied)
	hasChallenge := false
	for len(s.labels) > 0 {
		label := <-s.labels
		hasChallenge = hasChallenge || label[1] == ResultChallenge
	}
	if !hasChallenge {
		t.Error("no handshake was counted as a challenge")
	}
	authority.checkSite(t, s)
	s.checkStrangersChallenge(t)
}

func TestACMEIsNotAskedForAClientCertificate(t *testing.T) {
	secure := listen(t)
	authority := startPebble(t, 0, portOf(secure), nil)
	cfg := authority.config(t, ChallengeTLSALPN)
	clients := newAuthority(t, "clients")
	cfg.ClientAuth, cfg.ClientCA = ClientAuthRequire, filepath.Join(t.TempDir(), "clients.pem")
	replaceFile(t, cfg.ClientCA, clients.pem)
	s := serveOn(t, secure, cfg, Options{Address: secure.Addr().String()})
	want(t, s.reloads, ReloadApplied)
	stranger := &ctls.Config{RootCAs: authority.roots, ServerName: "chat.test"}
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
	authority := startPebble(t, 0, portOf(secure), nil)
	cfg := authority.config(t, ChallengeTLSALPN)
	first := serveOn(t, secure, cfg, Options{Address: secure.Addr().String()})
	want(t, first.reloads, ReloadApplied)
	_ = authority.server.Close()

	again := listen(t)
	second := serveOn(t, again, cfg, Options{Address: again.Addr().String()})
	want(t, second.reloads, ReloadApplied)
	authority.checkSite(t, second)
}

func TestACMEBindsItsAccountToAnExternalOne(t *testing.T) {
	secure := listen(t)
	account := &binding{"kid-1", base64.RawURLEncoding.EncodeToString(randomBytes(32))}
	authority := startPebble(t, 0, portOf(secure), account)
	cfg := authority.config(t, ChallengeTLSALPN)
	unbound := serve(t, cfg, Options{Address: secure.Addr().String()})
	want(t, unbound.reloads, ReloadRefused)

	cfg = authority.config(t, ChallengeTLSALPN)
	cfg.ACME.EABKeyID, cfg.ACME.EABKeyFile = account.id, filepath.Join(t.TempDir(), "eab.key")
	replaceFile(t, cfg.ACME.EABKeyFile, []byte(account.key+"=\n"))
	bound := serveOn(t, secure, cfg, Options{Address: secure.Addr().String()})
	want(t, bound.reloads, ReloadApplied)
	authority.checkSite(t, bound)
}

func TestACMEStandsBesideCertificatesOfFiles(t *testing.T) {
	secure := listen(t)
	authority := startPebble(t, 0, portOf(secure), nil)
	cfg := authority.config(t, ChallengeTLSALPN)
	file := newAuthority(t, "authority").issue(t, []string{"file.test"})
	cfg.Certificate = []CertificateConfig{file.write(t, t.TempDir(), "site")}
	s := serveOn(t, secure, cfg, Options{Address: secure.Addr().String()})
	want(t, s.reloads, ReloadApplied)
	for _, name := range []string{"file.test", "unknown.test", ""} {
		if got := s.serial(t, &ctls.Config{ServerName: name, InsecureSkipVerify: true}); got.Cmp(file.serial) != 0 {
			t.Errorf("for %q: certificate %v, want the file's", name, got)
		}
	}
	s.dial(t, &ctls.Config{RootCAs: authority.roots, ServerName: "chat.test"})
}

func TestWithoutACertificateYetHandshakesFailAndAreCounted(t *testing.T) {
	authority := &acmeAuthority{url: "https://127.0.0.1:1/directory", caFile: filepath.Join(t.TempDir(), "ca.pem")}
	replaceFile(t, authority.caFile, newAuthority(t, "nobody").pem)
	secure := listen(t)
	s := serveOn(t, secure, authority.config(t, ChallengeTLSALPN), Options{Address: secure.Addr().String()})
	for _, name := range []string{"chat.test", "unknown.test", ""} {
		if conn, err := ctls.Dial("tcp", s.address, &ctls.Config{ServerName: name, InsecureSkipVerify: true}); err == nil {
			_ = conn.Close()
			t.Errorf("a client that asks for %q got a connection", name)
		}
		want(t, s.labels, [2]string{"1.3", ResultNoCertificate})
	}
}

func TestACMENeedsAListenerThatCanAnswer(t *testing.T) {
	authority := &acmeAuthority{url: "https://127.0.0.1:1/directory", caFile: filepath.Join(t.TempDir(), "ca.pem")}
	replaceFile(t, authority.caFile, newAuthority(t, "nobody").pem)
	for _, test := range []struct {
		challenge string
		options   Options
	}{
		{ChallengeHTTP, Options{Address: "127.0.0.1:443"}},
		{ChallengeTLSALPN, Options{HTTPAddress: "127.0.0.1:80"}},
	} {
		_, err := New(authority.config(t, test.challenge), test.options)
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
