package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// wantReloads waits until so many reloads were applied.
func (g *Gateway) wantReloads(t *testing.T, count float64) {
	t.Helper()
	eventually(t, fmt.Sprintf("%v reloads", count), func() bool { return countOf(t, g.reloads, reloadApplied) == count })
}

// Faults B7.
func TestTheConfigurationIsReloadedBesideABusyLog(t *testing.T) {
	directory := t.TempDir()
	g := startGateway(t, fmt.Sprintf("watch = true\n[log]\noutput = %q", filepath.Join(directory, "unused.log")), failingLog{t})
	busy := filepath.Join(filepath.Dir(g.options.Path), "sluice.log")
	stop := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				_ = os.WriteFile(busy, []byte("a line\n"), 0o600)
			}
		}
	})
	defer func() {
		close(stop)
		writing.Wait()
	}()
	g.append(t, "# one\n")
	g.wantReloads(t, 1)
}

// Faults B7.
func TestTheConfigurationIsFollowedThroughSymbolicLinks(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"a", "b", "etc"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(root, "etc", "sluice.toml")
	link := func(destination, path string) {
		t.Helper()
		if err := os.Symlink(destination, path+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	writeConfig(t, filepath.Join(root, "a", "sluice.toml"), "watch = true")
	writeConfig(t, filepath.Join(root, "b", "sluice.toml"), "watch = true\nmax_sessions = 7")
	link("a", filepath.Join(root, "current"))
	link("../current/sluice.toml", path)
	g := newGatewayOf(t, path, failingLog{t})
	g.runInTest(t)
	g.append(t, "# one\n") // in a, to which etc's link leads
	g.wantReloads(t, 1)
	link("b", filepath.Join(root, "current"))
	g.wantReloads(t, 2)
}

// Faults B7.
func TestTheConfigurationIsPolledWhereThereAreNoEvents(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sluice.toml")
	writeConfig(t, path, "watch = true")
	g := newGatewayOf(t, path, failingLog{t})
	g.watch.files, g.watch.interval = nil, 20*time.Millisecond
	g.runInTest(t)
	g.append(t, "# one\n")
	g.wantReloads(t, 1)
}

// The configuration changes between its first reading and the start of the watch.
func TestAChangeBeforeTheWatchBeginsIsReloaded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sluice.toml")
	writeConfig(t, path, "watch = true")
	g := newGatewayOf(t, path, failingLog{t})
	g.append(t, "# one\n")
	g.runInTest(t)
	g.wantReloads(t, 1)
}

// A user of Linux may have 128 inotify instances by default.
// Faults B7.
func TestAGatewayHasOneInotifyInstance(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("inotify is of Linux")
	}
	directory := t.TempDir()
	cert, key := writeCertificate(t, directory)
	more := "watch = true\n"
	for i := range 5 {
		more += fmt.Sprintf("[[listener]]\nname = \"tls%d\"\naddress = \"127.0.0.1:0\"\ntls = { certificate = [{ cert = %q, key = %q }] }\n", i, cert, key)
	}
	more += fmt.Sprintf("[[pool]]\nname = \"secure\"\nbackend = [{ address = \"wss://127.0.0.1:1\" }]\ntls = { ca = %q }\n[[route]]\npath = \"/secure\"\npool = \"secure\"\n", cert)
	before := inotifyInstances(t)
	g := startGateway(t, more, failingLog{t})
	eventually(t, "an inotify instance", func() bool { return inotifyInstances(t) > before })
	g.append(t, "# one\n")
	g.wantReloads(t, 1) // the watch of the configuration has its events
	if got := inotifyInstances(t) - before; got != 1 {
		t.Errorf("the gateway has %d inotify instances, want 1", got)
	}
}

// inotifyInstances counts those of this process.
func inotifyInstances(t *testing.T) (count int) {
	t.Helper()
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, descriptor := range descriptors {
		if target, err := os.Readlink(filepath.Join("/proc/self/fd", descriptor.Name())); err == nil && target == "anon_inode:inotify" {
			count++
		}
	}
	return count
}

// writeCertificate writes a certificate and its key.
func writeCertificate(t *testing.T, directory string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"gateway.test"}, NotAfter: time.Now().Add(365 * 24 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("site.crt", "CERTIFICATE", cert), write("site.key", "PRIVATE KEY", keyDER)
}
