package tls

import (
	"context"
	"crypto/rand"
	ctls "crypto/tls"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"sluice/internal/filewatch"
	"sluice/internal/units"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// A served is a Server behind a listener. It writes the client's subject and a line feed to each
// connection, and then sends back what comes.
type served struct {
	server   *Server
	address  string
	labels   chan [2]string // version and result of each handshake
	errs     chan error     // of each handshake that failed
	reloads  chan string
	sessions chan *ctls.Conn
}

// testConfig returns a section as the loader makes it: with the defaults of the tags.
func testConfig(pairs ...CertificateConfig) *Config {
	return &Config{
		Certificate:   pairs,
		MinVersion:    MinVersion12,
		ClientAuth:    ClientAuthNone,
		Tickets:       TicketConfig{Rotate: units.Duration(12 * time.Hour)},
		WatchInterval: units.Duration(time.Minute),
	}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// serve serves until the test ends, with events of files.
func serve(t testing.TB, cfg *Config, options Options) *served {
	t.Helper()
	options.Files = filewatch.NewWatcher(zap.NewNop(), nil)
	return serveOn(t, listen(t), cfg, options)
}

// servePolled serves until the test ends, without events of files.
func servePolled(t testing.TB, cfg *Config) *served {
	t.Helper()
	return serveOn(t, listen(t), cfg, Options{})
}

// serveOn serves until the test ends.
func serveOn(t testing.TB, ln net.Listener, cfg *Config, options Options) *served {
	t.Helper()
	s := &served{
		address:  ln.Addr().String(),
		labels:   make(chan [2]string, 2000),
		errs:     make(chan error, 2000),
		reloads:  make(chan string, 100),
		sessions: make(chan *ctls.Conn, 2000),
	}
	options.Handshaken = func(version, result string) { s.labels <- [2]string{version, result} }
	options.Reloaded = func(result string) { s.reloads <- result }
	server, err := New(cfg, options)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	s.server = server
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { server.Run(ctx) })
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { s.session(ctx, conn) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = ln.Close()
		running.Wait()
	})
	return s
}

func (s *served) session(ctx context.Context, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	secure, err := s.server.Handshake(ctx, conn)
	if err != nil {
		s.errs <- err
		return
	}
	s.sessions <- secure
	if _, err := io.WriteString(secure, ClientSubject(secure)+"\n"); err != nil {
		return
	}
	_, _ = io.Copy(secure, secure)
}

// dial shakes hands and reads the line with the subject, so that tickets have come.
func (s *served) dial(t testing.TB, config *ctls.Config) (conn *ctls.Conn, subject string) {
	t.Helper()
	conn, err := ctls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", s.address, config)
	if err != nil {
		t.Fatalf("dial for %q: %v", config.ServerName, err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	var line []byte
	for one := make([]byte, 1); ; line = append(line, one...) {
		if _, err := io.ReadFull(conn, one); err != nil {
			t.Fatalf("read the subject: %v", err)
		}
		if one[0] == '\n' {
			return conn, string(line)
		}
	}
}

// serial returns the serial number of the certificate that a client with a name gets.
func (s *served) serial(t testing.TB, config *ctls.Config) *big.Int {
	t.Helper()
	conn, _ := s.dial(t, config)
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber
}

// trusting returns a client's configuration.
func trusting(ca *authority, name string) *ctls.Config {
	return &ctls.Config{RootCAs: ca.pool(), ServerName: name}
}

// isAlive says whether a session still passes bytes.
func isAlive(conn net.Conn) bool {
	sent := make([]byte, 100)
	_, _ = rand.Read(sent)
	if _, err := conn.Write(sent); err != nil {
		return false
	}
	got := make([]byte, len(sent))
	_, err := io.ReadFull(conn, got)
	return err == nil && string(got) == string(sent)
}

// want receives from c, and fails the test if something else comes, or nothing.
func want[T comparable](t testing.TB, c <-chan T, want T) {
	t.Helper()
	select {
	case got := <-c:
		if got != want {
			t.Fatalf("got %v, want %v", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("got nothing, want %v", want)
	}
}
