package tls

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sluice/internal/units"
)

// problemsOf returns what a Check reports, as "key: problem".
func problemsOf(check func(units.Report)) []string {
	var problems []string
	check(func(key, problem string, _ any, want string) {
		if want == "" {
			problem += ", without a word of what is wanted"
		}
		problems = append(problems, key+": "+problem)
	})
	return problems
}

// testACME returns a section as the loader makes it: with the defaults of the tags.
func testACME(domains ...string) *ACMEConfig {
	return &ACMEConfig{Domains: domains, Directory: DirectoryLetsEncrypt, Storage: "/var/lib/sluice/acme"}
}

func TestCheckReportsEveryProblemOfAListener(t *testing.T) {
	ca, directory := newAuthority(t, "authority"), t.TempDir()
	site, other := ca.issue(t, []string{"a.test"}).write(t, directory, "site"), ca.issue(t, []string{"b.test"}).write(t, directory, "other")
	pem := filepath.Join(directory, "ca.pem")
	replaceFile(t, pem, ca.pem)
	keys := filepath.Join(directory, "keys")
	keyFile(t, keys, 1)
	keyLog, exposed := filepath.Join(directory, "keys.log"), filepath.Join(directory, "exposed.log")
	for path, mode := range map[string]os.FileMode{keyLog: 0o600, exposed: 0o640} {
		if err := errors.Join(os.WriteFile(path, nil, mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name   string
		change func(cfg *Config)
		want   []string
	}{
		{"good", func(cfg *Config) {}, nil},
		{"all that there is", func(cfg *Config) {
			cfg.ACME = testACME("chat.example.com", "xn--bcher-kva.example")
			cfg.ACME.EABKeyID, cfg.ACME.EABKey, cfg.ACME.CAFile = "id", "a2V5", pem
			cfg.ACME.Challenges = []string{ChallengeHTTP, ChallengeTLSALPN}
			cfg.ClientAuth, cfg.ClientCA = ClientAuthRequest, pem
			cfg.Tickets.KeyFile = keys
			cfg.MaxHandshakes, cfg.MinVersion = 8, MinVersion13
		}, nil},
		{"no certificate", func(cfg *Config) { cfg.Certificate = nil }, []string{"certificate: missing"}},
		{"self_signed alone", func(cfg *Config) { cfg.Certificate, cfg.SelfSigned = nil, true }, nil},
		{"self_signed beside others", func(cfg *Config) { cfg.SelfSigned = true }, []string{"self_signed: beside other certificates"}},
		{"absent files", func(cfg *Config) { cfg.Certificate = []CertificateConfig{{Cert: "/absent/a", Key: "/absent/b"}} },
			[]string{"certificate[0].cert: no such file or directory", "certificate[0].key: no such file or directory"}},
		{"no files", func(cfg *Config) { cfg.Certificate = append(cfg.Certificate, CertificateConfig{}) },
			[]string{"certificate[1].cert: missing", "certificate[1].key: missing"}},
		{"another certificate's key", func(cfg *Config) { cfg.Certificate[0].Key = other.Key },
			[]string{"certificate[0].cert: tls: private key does not match public key"}},
		{"min_version", func(cfg *Config) { cfg.MinVersion = "1.1" }, []string{"min_version: unknown"}},
		{"client_auth", func(cfg *Config) { cfg.ClientAuth = "maybe" }, []string{"client_auth: unknown"}},
		{"client_ca without use", func(cfg *Config) { cfg.ClientCA = pem }, []string{"client_ca: without use"}},
		{"no client_ca", func(cfg *Config) { cfg.ClientAuth = ClientAuthRequire }, []string{"client_ca: missing"}},
		{"client_ca of something else", func(cfg *Config) { cfg.ClientAuth, cfg.ClientCA = ClientAuthRequire, site.Key },
			[]string{"client_ca: no certificate in it"}},
		{"numbers", func(cfg *Config) { cfg.MaxHandshakes, cfg.WatchInterval, cfg.Tickets.Rotate = -1, 0, 0 },
			[]string{"tickets.rotate: not positive", "max_handshakes: negative", "watch_interval: not positive"}},
		{"key_file", func(cfg *Config) { cfg.Tickets.KeyFile = pem },
			[]string{"tickets.key_file: line 1 is not 32 bytes in base64"}},
		{"key_log_file that is new", func(cfg *Config) { cfg.KeyLogFile = filepath.Join(directory, "new.log") }, nil},
		{"key_log_file that is there", func(cfg *Config) { cfg.KeyLogFile = keyLog }, nil},
		{"key_log_file without its directory", func(cfg *Config) { cfg.KeyLogFile = "/absent/keys.log" },
			[]string{"key_log_file: its directory: no such file or directory"}},
		{"key_log_file that is a directory", func(cfg *Config) { cfg.KeyLogFile = directory }, []string{"key_log_file: is a directory"}},
		{"key_log_file that is no regular file", func(cfg *Config) { cfg.KeyLogFile = os.DevNull }, []string{"key_log_file: not a regular file"}},
		{"key_log_file that its group may read", func(cfg *Config) { cfg.KeyLogFile = exposed },
			[]string{"key_log_file: its group may read the file: its mode is 0640"}},
		{"acme without domains", func(cfg *Config) { cfg.ACME = testACME() }, []string{"acme.domains: missing"}},
		{"acme for what is no name", func(cfg *Config) {
			cfg.ACME = testACME("*.example.com", "10.0.0.1", "localhost", "a..b", "a b.test", "-a.test")
		},
			[]string{"acme.domains[0]: not a name", "acme.domains[1]: not a name", "acme.domains[2]: not a name",
				"acme.domains[3]: not a name", "acme.domains[4]: not a name", "acme.domains[5]: not a name"}},
		{"acme by plain HTTP", func(cfg *Config) {
			cfg.ACME = testACME("a.test")
			cfg.ACME.Directory = "http://ca.test/dir"
		}, []string{"acme.directory: not a directory"}},
		{"acme with an unknown challenge, without storage", func(cfg *Config) {
			cfg.ACME = testACME("a.test")
			cfg.ACME.Challenges, cfg.ACME.Storage = []string{"dns-01"}, ""
		}, []string{"acme.storage: missing", "acme.challenges[0]: unknown"}},
		{"half a binding", func(cfg *Config) {
			cfg.ACME = testACME("a.test")
			cfg.ACME.EABKeyID = "id"
		}, []string{"acme.eab_key: missing"}},
		{"the other half", func(cfg *Config) {
			cfg.ACME = testACME("a.test")
			cfg.ACME.EABKey = "a2V5"
		}, []string{"acme.eab_key_id: missing"}},
		{"a binding twice", func(cfg *Config) {
			cfg.ACME = testACME("a.test")
			cfg.ACME.EABKeyID, cfg.ACME.EABKey, cfg.ACME.EABKeyFile = "id", "a2V5", keys
		}, []string{"acme.eab_key_file: beside eab_key"}},
		{"a binding's key", func(cfg *Config) {
			cfg.ACME = testACME("a.test")
			cfg.ACME.EABKeyID, cfg.ACME.EABKeyFile = "id", pem
		}, []string{"acme.eab_key_file: not base64url"}},
	} {
		cfg := testConfig(site)
		test.change(cfg)
		if got := problemsOf(cfg.Check); !slices.Equal(got, test.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", test.name, got, test.want)
		}
	}
	if _, err := os.Stat(filepath.Join(directory, "new.log")); err == nil {
		t.Error("Check has made a key log")
	}
}

func TestCheckReportsEveryProblemOfAPool(t *testing.T) {
	ca, directory := newAuthority(t, "authority"), t.TempDir()
	pair := ca.issue(t, nil).write(t, directory, "gateway")
	pem := filepath.Join(directory, "ca.pem")
	replaceFile(t, pem, ca.pem)
	const minute = units.Duration(time.Minute)
	for _, test := range []struct {
		name string
		cfg  ClientConfig
		want []string
	}{
		{"nothing", ClientConfig{WatchInterval: minute}, nil},
		{"everything", ClientConfig{CA: pem, ServerName: "a.test", Cert: pair.Cert, Key: pair.Key, WatchInterval: minute}, nil},
		{"insecure", ClientConfig{Insecure: true, WatchInterval: minute}, nil},
		{"insecure with ca", ClientConfig{CA: pem, Insecure: true, WatchInterval: minute}, []string{"insecure: beside ca"}},
		{"cert without key", ClientConfig{Cert: pair.Cert, WatchInterval: minute}, []string{"key: missing"}},
		{"absent ca", ClientConfig{CA: "/absent"}, []string{"ca: no such file or directory", "watch_interval: not positive"}},
	} {
		if got := problemsOf(test.cfg.Check); !slices.Equal(got, test.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", test.name, got, test.want)
		}
	}
}
