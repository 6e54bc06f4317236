package tls

import (
	"bytes"
	ctls "crypto/tls"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// secretsOf returns the lines of a key log, sorted: both sides of a handshake write the same, in another order.
func secretsOf(text []byte) []string { return slices.Sorted(strings.Lines(string(text))) }

// readFile returns the content of a file, nil if there is none.
func readFile(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return text
}

func TestTheKeyLogHasTheSecretsOfItsClients(t *testing.T) {
	ca, directory := newAuthority(t, "authority"), t.TempDir()
	cfg := testConfig(ca.issue(t, []string{"example.com"}).write(t, directory, "site"))
	cfg.KeyLogFile = filepath.Join(directory, "keys.log")
	s := serve(t, cfg, Options{})
	var clients bytes.Buffer // of all connections: the file is appended to
	for _, test := range []struct {
		version uint16
		labels  []string
	}{
		{ctls.VersionTLS12, []string{"CLIENT_RANDOM"}},
		{ctls.VersionTLS13, []string{"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"}},
	} {
		client := trusting(ca, "example.com")
		client.MaxVersion, client.KeyLogWriter = test.version, &clients
		client.ClientSessionCache = ctls.NewLRUClientSessionCache(1)
		for _, isResumed := range []bool{false, true} {
			count := 1
			if isResumed && test.version == ctls.VersionTLS12 {
				count = 0 // the secret is that of the connection before it, and crypto/tls logs none
			}
			begin := clients.Len()
			if conn, _ := s.dial(t, client); conn.ConnectionState().DidResume != isResumed {
				t.Errorf("%s: resumed %v, want %v", ctls.VersionName(test.version), !isResumed, isResumed)
			}
			for _, label := range test.labels {
				if n := bytes.Count(clients.Bytes()[begin:], []byte(label+" ")); n != count {
					t.Errorf("%s: the client has logged %d lines of %s, want %d", ctls.VersionName(test.version), n, label, count)
				}
			}
			if got, want := secretsOf(readFile(t, cfg.KeyLogFile)), secretsOf(clients.Bytes()); !slices.Equal(got, want) {
				t.Errorf("%s: the file has\n%q\nand its clients logged\n%q", ctls.VersionName(test.version), got, want)
			}
		}
	}
	if info, err := os.Stat(cfg.KeyLogFile); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v; want a mode of 0600", info, err)
	}
}

func TestTheKeyLogIsAppendedToAndMayBeMovedAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.log")
	if err := os.WriteFile(path, []byte("# before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log, lines := newLog()
	keys := newKeyLog(path, log)
	for _, step := range []struct{ line, want string }{{"one\n", "# before\none\n"}, {"two\n", "# before\none\ntwo\n"}} {
		_, _ = keys.Write([]byte(step.line))
		if got := readFile(t, path); string(got) != step.want {
			t.Errorf("the file has %q, want %q", got, step.want)
		}
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	_, _ = keys.Write([]byte("three\n"))
	if got := readFile(t, path); string(got) != "three\n" {
		t.Errorf("the new file has %q, want only what came after it", got)
	}
	if lines.Len() > 0 {
		t.Errorf("%d lines of log: %v", lines.Len(), lines.All())
	}
}

func TestAKeyLogThatCannotBeWrittenEndsNoHandshake(t *testing.T) {
	ca, directory := newAuthority(t, "authority"), t.TempDir()
	cfg := testConfig(ca.issue(t, []string{"example.com"}).write(t, directory, "site"))
	cfg.KeyLogFile = filepath.Join(directory, "gone", "keys.log")
	log, lines := newLog()
	s := serve(t, cfg, Options{Log: log})
	for _, version := range []uint16{ctls.VersionTLS12, ctls.VersionTLS13} {
		client := trusting(ca, "example.com")
		client.MaxVersion = version
		if conn, _ := s.dial(t, client); !isAlive(conn) {
			t.Errorf("%s: the connection passes nothing", ctls.VersionName(version))
		}
	}
	if lines.FilterMessage("TLS keys not written").Len() == 0 {
		t.Error("the log doesn't tell of it")
	}
}

func TestFailuresOfTheKeyLogAreLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, lines := newLog()
		keys := newKeyLog(filepath.Join(t.TempDir(), "gone", "keys.log"), log)
		for minute := range 3 {
			for range 50 {
				if n, err := keys.Write([]byte("line\n")); n != 5 || err != nil {
					t.Fatalf("Write = %d, %v; want 5 and no error", n, err)
				}
				time.Sleep(time.Second)
			}
			if lines.Len() != minute+1 {
				t.Errorf("%d lines in %d minutes: %v", lines.Len(), minute+1, lines.All())
			}
			time.Sleep(10 * time.Second)
		}
	})
}

func TestKeysAreNotWrittenToAFileThatOthersMayRead(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("this system has no such modes")
	}
	path := filepath.Join(t.TempDir(), "keys.log")
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o602} {
		log, lines := newLog()
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, _ = newKeyLog(path, log).Write([]byte("secret\n"))
		if got := readFile(t, path); len(got) > 0 {
			t.Errorf("mode %04o: the file has %q", mode, got)
		}
		if lines.Len() != 1 {
			t.Errorf("mode %04o: %d lines of log, want 1", mode, lines.Len())
		}
	}
}
