package tls

import (
	"context"
	ctls "crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"sluice/internal/filewatch"
	"sluice/internal/units"
)

// newClient returns a client whose files are watched until the test ends.
func newClient(t *testing.T, cfg ClientConfig) (client *Client, reloads chan string) {
	t.Helper()
	cfg.WatchInterval = units.Duration(time.Minute)
	reloads = make(chan string, 10)
	client, err := NewClient(&cfg, Options{Files: filewatch.NewWatcher(zap.NewNop(), nil), Reloaded: func(result string) { reloads <- result }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		client.Run(ctx)
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return client, reloads
}

// reach connects to a backend and returns what is wrong with that.
func reach(address string, config *ctls.Config) error {
	conn, err := ctls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", address, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, err = conn.Read(make([]byte, 1)) // in TLS 1.3 a refusal comes after the client's handshake
	return err
}

func TestBackendsProveTheirNames(t *testing.T) {
	ca, directory := newAuthority(t, "backends"), t.TempDir()
	backend := serve(t, testConfig(ca.issue(t, []string{"backend.internal"}, loopback).write(t, directory, "backend")), Options{})
	authorities := filepath.Join(directory, "ca.pem")
	replaceFile(t, authorities, ca.pem)
	others := filepath.Join(directory, "others.pem")
	replaceFile(t, others, newAuthority(t, "others").pem)
	for _, test := range []struct {
		name string
		cfg  ClientConfig
		host string
		isOK bool
	}{
		{"by the host of the address", ClientConfig{CA: authorities}, "127.0.0.1", true},
		{"by another host", ClientConfig{CA: authorities}, "other.internal", false},
		{"by server_name", ClientConfig{CA: authorities, ServerName: "backend.internal"}, "other.internal", true},
		{"by another server_name", ClientConfig{CA: authorities, ServerName: "other.internal"}, "127.0.0.1", false},
		{"to another authority", ClientConfig{CA: others}, "127.0.0.1", false},
		{"to the system's authorities", ClientConfig{}, "127.0.0.1", false},
		{"to nobody", ClientConfig{Insecure: true}, "other.internal", true},
	} {
		client, _ := newClient(t, test.cfg)
		if err := reach(backend.address, client.Config(test.host)); (err == nil) != test.isOK {
			t.Errorf("%s: %v; want success: %v", test.name, err, test.isOK)
		}
	}
}

func TestBackendsAreShownTheClientsCertificate(t *testing.T) {
	ca, directory := newAuthority(t, "everyone"), t.TempDir()
	authorities := filepath.Join(directory, "ca.pem")
	replaceFile(t, authorities, ca.pem)
	cfg := testConfig(ca.issue(t, []string{"backend.internal"}).write(t, directory, "backend"))
	cfg.ClientAuth, cfg.ClientCA = ClientAuthRequire, authorities
	backend := serve(t, cfg, Options{})
	shown := ca.issue(t, nil).write(t, directory, "gateway")
	with, _ := newClient(t, ClientConfig{CA: authorities, Cert: shown.Cert, Key: shown.Key})
	without, _ := newClient(t, ClientConfig{CA: authorities})
	if err := reach(backend.address, with.Config("backend.internal")); err != nil {
		t.Errorf("with a certificate: %v", err)
	}
	if err := reach(backend.address, without.Config("backend.internal")); err == nil {
		t.Error("without a certificate the backend lets the gateway in")
	}
}

func TestAuthoritiesOfBackendsAreReloaded(t *testing.T) {
	before, after, directory := newAuthority(t, "before"), newAuthority(t, "after"), t.TempDir()
	backend := serve(t, testConfig(after.issue(t, []string{"backend.internal"}).write(t, directory, "backend")), Options{})
	authorities := filepath.Join(directory, "ca.pem")
	replaceFile(t, authorities, before.pem)
	client, reloads := newClient(t, ClientConfig{CA: authorities})
	if err := reach(backend.address, client.Config("backend.internal")); err == nil {
		t.Fatal("a backend of an unknown authority is taken")
	}
	replaceFile(t, authorities, []byte("broken"))
	want(t, reloads, ReloadRefused)
	replaceFile(t, authorities, after.pem)
	want(t, reloads, ReloadApplied)
	if err := reach(backend.address, client.Config("backend.internal")); err != nil {
		t.Errorf("after the reload: %v", err)
	}
}

func TestSessionsWithBackendsResume(t *testing.T) {
	ca, directory := newAuthority(t, "backends"), t.TempDir()
	backend := serve(t, testConfig(ca.issue(t, []string{"backend.internal"}).write(t, directory, "backend")), Options{})
	authorities := filepath.Join(directory, "ca.pem")
	replaceFile(t, authorities, ca.pem)
	client, _ := newClient(t, ClientConfig{CA: authorities})
	for _, result := range []string{ResultFull, ResultResumed} {
		if err := reach(backend.address, client.Config("backend.internal")); err != nil {
			t.Fatal(err)
		}
		want(t, backend.labels, [2]string{"1.3", result})
	}
}

func TestConnectionsToOneHostShareAConfig(t *testing.T) {
	client, _ := newClient(t, ClientConfig{})
	first := client.Config("a.internal")
	if client.Config("a.internal") != first {
		t.Error("each connection gets a configuration of its own")
	}
	if other := client.Config("b.internal"); other == first || other.ServerName != "b.internal" || first.ServerName != "a.internal" {
		t.Errorf("the configurations are for %q and %q", first.ServerName, other.ServerName)
	}
	for i := range 2 * maxNamedConfigs {
		client.Config(fmt.Sprintf("%d.internal", i))
	}
	if count := len(client.config.Load().named); count > maxNamedConfigs {
		t.Errorf("%d configurations are kept, want at most %d", count, maxNamedConfigs)
	}
}
