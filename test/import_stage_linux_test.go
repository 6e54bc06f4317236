package test

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice/internal/config"
)

// A stage has the addresses, certificates and backends of a migration.
type stage struct {
	t         *testing.T
	directory string
	authority pair
	leaf      pair
	listeners map[string]string // address in the original → here
	backends  map[string]string // address in the original → here
}

func newStage(t *testing.T) *stage {
	s := &stage{t: t, directory: t.TempDir(), listeners: map[string]string{}, backends: map[string]string{}}
	s.authority = newAuthority(t, t.TempDir(), "ca")
	s.leaf = s.authority.issue(t, "leaf")
	return s
}

// copy copies the directory of a configuration, or its only file, with each text changed. It returns the path of the copy.
func (s *stage) copy(t *testing.T, path string, change, complete func(text string) string) string {
	t.Helper()
	root := filepath.Dir(path)
	isAlone := !strings.HasSuffix(path, "/nginx.conf")
	err := filepath.WalkDir(root, func(name string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || isAlone && name != path {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		to := filepath.Join(s.directory, strings.TrimPrefix(name, root))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		changed := string(text)
		if name == path || strings.HasSuffix(name, ".conf") || filepath.Ext(name) == "" {
			changed = change(changed)
		}
		if name == path {
			changed = complete(changed)
		}
		return os.WriteFile(to, []byte(changed), 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(s.directory, filepath.Base(path))
}

// withoutLines removes the lines that begin so, apart from space, each with the block that it opens.
func withoutLines(text string, beginnings []string) string {
	var kept []string
	depth := 0 // of the block that is removed
	for line := range strings.Lines(text) {
		isGone := slices.ContainsFunc(beginnings, func(b string) bool { return strings.HasPrefix(strings.TrimSpace(line), b) })
		if depth == 0 && !isGone {
			kept = append(kept, line)
			continue
		}
		depth += strings.Count(line, "{") - strings.Count(line, "}")
	}
	return strings.Join(kept, "")
}

// listener returns the address here of a listener of the original.
func (s *stage) listener(original string) string {
	if _, port, err := net.SplitHostPort(original); err == nil {
		original = port
	}
	if s.listeners[original] == "" {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			s.t.Fatal(err)
		}
		s.listeners[original] = ln.Addr().String()
		_ = ln.Close()
	}
	return s.listeners[original]
}

// backend returns the address here of a backend of the original, and starts it.
func (s *stage) backend(original string, isTLS bool) string {
	if s.backends[original] == "" {
		server := httptest.NewUnstartedServer(nil)
		server.Config.Handler = describing(server.Listener.Addr().String())
		if isTLS {
			server.TLS = &tls.Config{Certificates: []tls.Certificate{s.certificate()}}
			server.StartTLS()
		} else {
			server.Start()
		}
		s.t.Cleanup(server.Close)
		s.backends[original] = server.Listener.Addr().String()
	}
	return s.backends[original]
}

// wantOwnBackends ends the test if an import leads elsewhere than to the backends of the test.
func (s *stage) wantOwnBackends(file *config.File) {
	own := map[string]bool{}
	for _, address := range s.backends {
		own[address], own["wss://"+address] = true, true
	}
	for i := range file.Pool {
		for _, b := range file.Pool[i].Backend {
			if !own[b.Address] {
				s.t.Fatalf("the backend %s of the pool %s is not the test's", b.Address, file.Pool[i].Name)
			}
		}
	}
}

func (s *stage) certificate() tls.Certificate {
	certificate, err := tls.LoadX509KeyPair(s.leaf.cert, s.leaf.key)
	if err != nil {
		s.t.Fatal(err)
	}
	return certificate
}

// await waits until every listener of the import accepts.
func (s *stage) await(t *testing.T, file *config.File, process *program) {
	t.Helper()
	for i := range file.Listener {
		address := file.Listener[i].Address
		eventually(t, patience, "a listener at "+address, func() bool {
			select {
			case <-process.exited:
				t.Fatal("it has ended")
			default:
			}
			conn, err := net.Dial("tcp", address)
			if err == nil {
				_ = conn.Close()
			}
			return err == nil
		})
	}
}

// withSecret writes the secret that an import names, and returns the import with the path of that.
func (s *stage) withSecret(text []byte) []byte {
	path := filepath.Join(s.directory, "sticky.secret")
	replaceFile(s.t, path, []byte("0123456789abcdef"))
	return bytes.ReplaceAll(text, []byte("/etc/sluice/sticky.secret"), []byte(path))
}

// withKey returns the path of a file with a certificate and its key.
func (s *stage) withKey() string {
	path := filepath.Join(filepath.Dir(s.leaf.cert), "both.pem")
	var both []byte
	for _, name := range []string{s.leaf.cert, s.leaf.key} {
		text, err := os.ReadFile(name)
		if err != nil {
			s.t.Fatal(err)
		}
		both = append(both, text...)
	}
	replaceFile(s.t, path, both)
	return path
}
