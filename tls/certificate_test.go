package tls

import (
	"crypto/rsa"
	ctls "crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"sluice/internal/units"
)

// newLog returns a logger and what it writes.
func newLog() (*zap.Logger, *observer.ObservedLogs) {
	core, lines := observer.New(zapcore.InfoLevel)
	return zap.New(core), lines
}

func TestCertificateIsChosenBySNI(t *testing.T) {
	ca, directory := newAuthority(t, "authority"), t.TempDir()
	first := ca.issue(t, []string{"first.example.com", "also.first.example.com"})
	exact := ca.issue(t, []string{"exact.example.com"})
	wildcard := ca.issue(t, []string{"*.example.com"})
	s := serve(t, testConfig(first.write(t, directory, "1"), exact.write(t, directory, "2"), wildcard.write(t, directory, "3")), Options{})
	for _, test := range []struct {
		name string
		want issued
	}{
		{"first.example.com", first},
		{"also.first.example.com", first},
		{"exact.example.com", exact},
		{"EXACT.Example.com", exact},
		{"any.example.com", wildcard},
		{"two.labels.example.com", first},
		{"example.com", first},
		{"unknown.test", first},
		{"", first},
	} {
		got := s.serial(t, &ctls.Config{ServerName: test.name, InsecureSkipVerify: true})
		if got.Cmp(test.want.serial) != 0 {
			t.Errorf("for %q: certificate %v, want %v", test.name, got, test.want.serial)
		}
	}
}

func TestEachClientGetsTheBestOfRSAAndECDSA(t *testing.T) {
	ca, directory := newAuthority(t, "authority"), t.TempDir()
	names := []string{"example.com"}
	withRSA := ca.issueFor(t, rsaKey(), names)
	withECDSA := ca.issue(t, names)
	s := serve(t, testConfig(withRSA.write(t, directory, "rsa"), withECDSA.write(t, directory, "ecdsa")), Options{})
	onlyRSA := []uint16{ctls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	for _, test := range []struct {
		client string
		config *ctls.Config
		want   issued
	}{
		{"of today", &ctls.Config{}, withECDSA},
		{"with TLS 1.2", &ctls.Config{MaxVersion: ctls.VersionTLS12}, withECDSA},
		{"with RSA only", &ctls.Config{MaxVersion: ctls.VersionTLS12, CipherSuites: onlyRSA}, withRSA},
	} {
		for _, name := range []string{"example.com", "unknown.test"} {
			test.config.ServerName, test.config.InsecureSkipVerify = name, true
			if got := s.serial(t, test.config); got.Cmp(test.want.serial) != 0 {
				t.Errorf("a client %s that asks for %q got certificate %v, want %v", test.client, name, got, test.want.serial)
			}
		}
	}
	if _, isRSA := withRSA.parsed(t).PrivateKey.(*rsa.PrivateKey); !isRSA {
		t.Error("the RSA certificate has no RSA key")
	}
}

func TestReplacedCertificateReachesNewHandshakesAndLeavesLiveSessionsAlone(t *testing.T) {
	ca, directory := newAuthority(t, "authority"), t.TempDir()
	old := ca.issue(t, []string{"example.com"})
	files := old.write(t, directory, "site")
	s := serve(t, testConfig(files), Options{})
	client := trusting(ca, "example.com")
	var live []*ctls.Conn
	for range 200 {
		conn, _ := s.dial(t, client)
		live = append(live, conn)
	}

	renewed := ca.issue(t, []string{"example.com"})
	started := time.Now()
	renewed.write(t, directory, "site")
	waitForSerial(t, s, client, renewed)
	if took := time.Since(started); took > 3*time.Second {
		t.Errorf("new handshakes got the new certificate after %v", took)
	}
	for i, conn := range live {
		if !isAlive(conn) {
			t.Fatalf("live session %d ended with the reload", i)
		}
	}
}

// waitForSerial waits for reloads, until clients get a certificate. Between the replacement of a
// certificate and that of its key a look may fall that refuses them.
func waitForSerial(t *testing.T, s *served, client *ctls.Config, want issued) {
	t.Helper()
	for deadline := time.After(patience); ; {
		select {
		case <-s.reloads:
			if s.serial(t, client).Cmp(want.serial) == 0 {
				return
			}
		case <-deadline:
			t.Fatalf("no reload brought certificate %v", want.serial)
		}
	}
}

func TestSwappedSymlinkOfKubernetesIsSeen(t *testing.T) {
	ca, volume := newAuthority(t, "authority"), t.TempDir()
	link := func(destination, name string) {
		t.Helper()
		if err := os.Symlink(destination, filepath.Join(volume, name)); err != nil {
			t.Fatal(err)
		}
	}
	issue := func(revision string) issued {
		t.Helper()
		if err := os.Mkdir(filepath.Join(volume, revision), 0o700); err != nil {
			t.Fatal(err)
		}
		cert := ca.issue(t, []string{"example.com"})
		cert.write(t, filepath.Join(volume, revision), "tls")
		return cert
	}
	issue("..1")
	link("..1", "..data")
	link("..data/tls.crt", "tls.crt")
	link("..data/tls.key", "tls.key")
	s := serve(t, testConfig(CertificateConfig{Cert: filepath.Join(volume, "tls.crt"), Key: filepath.Join(volume, "tls.key")}), Options{})
	client := trusting(ca, "example.com")
	for _, revision := range []string{"..2", "..3"} {
		renewed := issue(revision)
		link(revision, "..data_tmp")
		if err := os.Rename(filepath.Join(volume, "..data_tmp"), filepath.Join(volume, "..data")); err != nil {
			t.Fatal(err)
		}
		waitForSerial(t, s, client, renewed)
	}
}

func TestBrokenReplacementKeepsTheOldCertificateAndIsCounted(t *testing.T) {
	ca, directory := newAuthority(t, "authority"), t.TempDir()
	good := ca.issue(t, []string{"example.com"})
	files := good.write(t, directory, "site")
	log, lines := newLog()
	s := serve(t, testConfig(files), Options{Log: log})
	client := trusting(ca, "example.com")

	replaceFile(t, files.Cert, []byte("not a certificate"))
	want(t, s.reloads, ReloadRefused)
	if got := s.serial(t, client); got.Cmp(good.serial) != 0 {
		t.Errorf("after a broken replacement clients get certificate %v, want the old %v", got, good.serial)
	}
	if refused := lines.FilterMessage("file refused, the one before stays").Len(); refused != 1 {
		t.Errorf("%d lines tell of it, want 1", refused)
	}

	renewed := ca.issue(t, []string{"example.com"})
	renewed.write(t, directory, "site")
	waitForSerial(t, s, client, renewed)
}

func TestFilesAreLookedAtWithoutEvents(t *testing.T) {
	ca, directory := newAuthority(t, "authority"), t.TempDir()
	cfg := testConfig(ca.issue(t, []string{"example.com"}).write(t, directory, "site"))
	cfg.WatchInterval = units.Duration(50 * time.Millisecond)
	s := servePolled(t, cfg)
	renewed := ca.issue(t, []string{"example.com"})
	renewed.write(t, directory, "site")
	waitForSerial(t, s, trusting(ca, "example.com"), renewed)
}

func TestNewTellsOfEveryMissingFile(t *testing.T) {
	cfg := testConfig(CertificateConfig{Cert: "/absent/1.crt", Key: "/absent/1.key"}, CertificateConfig{Cert: "/absent/2.crt", Key: "/absent/2.key"})
	cfg.Tickets.KeyFile = "/absent/tickets"
	_, err := New(cfg, Options{})
	if err == nil {
		t.Fatal("New took files that aren't there")
	}
	for _, path := range []string{"/absent/1.crt", "/absent/2.crt", "/absent/tickets"} {
		if !strings.Contains(err.Error(), path) {
			t.Errorf("the error does not name %s: %v", path, err)
		}
	}
}

func TestExpiryIsToldAndWarnedAbout(t *testing.T) {
	ca, directory := newAuthority(t, "authority"), t.TempDir()
	ends := func(at time.Time) func(*x509.Certificate) {
		return func(cert *x509.Certificate) { cert.NotBefore, cert.NotAfter = at.Add(-90*24*time.Hour), at }
	}
	now := time.Now().Truncate(time.Second).UTC()
	const day = 24 * time.Hour
	log, lines := newLog()
	server, err := New(testConfig(
		ca.issue(t, []string{"healthy.test"}, ends(now.Add(30*day))).write(t, directory, "1"),
		ca.issue(t, []string{"soon.test"}, ends(now.Add(13*day))).write(t, directory, "2"),
		ca.issue(t, []string{"over.test"}, ends(now.Add(-day))).write(t, directory, "3"),
		ca.issue(t, []string{"healthy.test"}, ends(now.Add(20*day))).write(t, directory, "4"),
		ca.issue(t, []string{"*.wild.test"}, ends(now.Add(60*day))).write(t, directory, "5"),
	), Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	got := server.Expiry()
	for name, end := range map[string]time.Time{
		"healthy.test": now.Add(20 * day), "soon.test": now.Add(13 * day), "over.test": now.Add(-day), "*.wild.test": now.Add(60 * day),
	} {
		if !got[name].Equal(end) {
			t.Errorf("%s ends at %v, want %v", name, got[name], end)
		}
	}
	if len(got) != 4 {
		t.Errorf("%d names, want 4: %v", len(got), got)
	}
	for message, name := range map[string]string{"certificate expired": "over.test", "certificate expires soon": "soon.test"} {
		warned := lines.FilterMessage(message).All()
		if len(warned) != 1 || warned[0].ContextMap()["name"] != name || warned[0].Level != zapcore.WarnLevel {
			t.Errorf("%q: %v, want one warning for %s", message, warned, name)
		}
	}
}

func TestSelfSignedCertificateIsForThisMachine(t *testing.T) {
	cfg := testConfig()
	cfg.SelfSigned = true
	s := serve(t, cfg, Options{})
	conn, _ := s.dial(t, &ctls.Config{InsecureSkipVerify: true})
	leaf := conn.ConnectionState().PeerCertificates[0]
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	for _, name := range []string{"localhost", "127.0.0.1", "::1", hostname} {
		if _, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots}); err != nil {
			t.Errorf("for %s: %v", name, err)
		}
	}
	if leaf.PublicKeyAlgorithm != x509.ECDSA {
		t.Errorf("the key is %v, want ECDSA", leaf.PublicKeyAlgorithm)
	}
}

func TestClientAuthoritiesAreReloaded(t *testing.T) {
	ca, directory := newAuthority(t, "authority"), t.TempDir()
	before, after := newAuthority(t, "before"), newAuthority(t, "after")
	cfg := testConfig(ca.issue(t, []string{"example.com"}).write(t, directory, "site"))
	cfg.ClientAuth, cfg.ClientCA = ClientAuthRequire, filepath.Join(directory, "clients.pem")
	replaceFile(t, cfg.ClientCA, before.pem)
	s := serve(t, cfg, Options{})
	client := trusting(ca, "example.com")
	client.ClientSessionCache = ctls.NewLRUClientSessionCache(1)
	client.Certificates = []ctls.Certificate{before.issue(t, nil).parsed(t)}
	s.dial(t, client)
	want(t, s.labels, [2]string{"1.3", ResultFull})

	replaceFile(t, cfg.ClientCA, after.pem)
	want(t, s.reloads, ReloadApplied)
	if conn, err := ctls.Dial("tcp", s.address, client); err == nil {
		_, err = conn.Read(make([]byte, 1)) // in TLS 1.3 the refusal comes after the client's handshake
		_ = conn.Close()
		if err == nil {
			t.Error("a client of an authority that was taken away is let in, by its ticket")
		}
	}
	want(t, s.labels, [2]string{"1.3", ResultClientCertificate})
	client.Certificates = []ctls.Certificate{after.issue(t, nil).parsed(t)}
	s.dial(t, client)
	want(t, s.labels, [2]string{"1.3", ResultFull})
}

func TestAPairReplacedOneFileAfterTheOtherIsNotRefused(t *testing.T) {
	for name, serve := range map[string]func(testing.TB, *Config) *served{
		"events":  func(t testing.TB, cfg *Config) *served { return serve(t, cfg, Options{}) },
		"polling": servePolled,
	} {
		t.Run(name, func(t *testing.T) {
			ca, directory := newAuthority(t, "authority"), t.TempDir()
			names := []string{"example.com"}
			cfg := testConfig(ca.issue(t, names).write(t, directory, "site"))
			cfg.WatchInterval = units.Duration(5 * time.Millisecond)
			s := serve(t, cfg)
			// On a machine that stalls, the two files may be too far apart: one attempt has to do.
			for range 5 {
				renewed := ca.issue(t, names)
				replaceFile(t, cfg.Certificate[0].Key, renewed.key)
				time.Sleep(50 * time.Millisecond) // ten looks
				replaceFile(t, cfg.Certificate[0].Cert, renewed.cert)
				isTorn := false
				for result := ""; result != ReloadApplied; isTorn = isTorn || result == ReloadRefused {
					select {
					case result = <-s.reloads:
					case <-time.After(patience):
						t.Fatal("the renewed certificate isn't taken")
					}
				}
				if !isTorn {
					return
				}
			}
			t.Error("each time a key that came before its certificate was refused")
		})
	}
}

func TestASwitchedParentDirectoryIsSeen(t *testing.T) {
	ca, directory := newAuthority(t, "authority"), t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := os.Mkdir(filepath.Join(directory, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	current := filepath.Join(directory, "current")
	if err := os.Symlink("a", current); err != nil {
		t.Fatal(err)
	}
	ca.issue(t, []string{"example.com"}).write(t, filepath.Join(directory, "a"), "site")
	renewed := ca.issue(t, []string{"example.com"})
	renewed.write(t, filepath.Join(directory, "b"), "site")
	s := serve(t, testConfig(CertificateConfig{Cert: filepath.Join(current, "site.crt"), Key: filepath.Join(current, "site.key")}), Options{})
	if err := os.Remove(current); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("b", current); err != nil {
		t.Fatal(err)
	}
	waitForSerial(t, s, trusting(ca, "example.com"), renewed)
}
