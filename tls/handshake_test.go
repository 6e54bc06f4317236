package tls

import (
	"context"
	ctls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/netconn"
)

// shake runs a handshake of server against what client does to the other end of a connection.
func shake(t *testing.T, ctx context.Context, server *Server, client func(net.Conn)) (*ctls.Conn, error) {
	t.Helper()
	ln := listen(t)
	defer ln.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			return
		}
		defer conn.Close()
		client(conn)
	}()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = conn.Close()
		<-done
	}()
	return server.Handshake(ctx, conn)
}

func newServer(t *testing.T, cfg *Config, labels chan [2]string) *Server {
	t.Helper()
	server, err := New(cfg, Options{Handshaken: func(version, result string) { labels <- [2]string{version, result} }})
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func TestHandshakesThatFailAreNamed(t *testing.T) {
	ca, directory := newAuthority(t, "authority"), t.TempDir()
	cfg := testConfig(ca.issue(t, []string{"example.com"}).write(t, directory, "site"))
	cfg.MinVersion = MinVersion13
	labels := make(chan [2]string, 1)
	server := newServer(t, cfg, labels)
	raw := func(bytes string) func(net.Conn) {
		return func(conn net.Conn) {
			_, _ = io.WriteString(conn, bytes)
			_, _ = io.Copy(io.Discard, conn)
		}
	}
	secure := func(config *ctls.Config) func(net.Conn) {
		return func(conn net.Conn) {
			config.ServerName = "example.com"
			_ = ctls.Client(conn, config).Handshake()
			_, _ = io.Copy(io.Discard, conn)
		}
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	for _, test := range []struct {
		name    string
		ctx     context.Context
		client  func(net.Conn)
		version string
		result  string
	}{
		{"an HTTP request", t.Context(), raw("GET / HTTP/1.1\r\n"), "none", ResultPlainHTTP},
		{"an HTTP upload", t.Context(), raw("POST /upload HTTP/1.1\r\n"), "none", ResultPlainHTTP},
		{"another protocol", t.Context(), raw("SSH-2.0-OpenSSH_9.2\r\n"), "none", ResultNotTLS},
		{"TLS that goes on as something else", t.Context(), raw(string(clientHello(t)) + "SSH-2.0"), "1.3", ResultProtocol},
		{"a client that leaves", t.Context(), func(net.Conn) {}, "none", ResultClosed},
		{"half a record, then nothing", late, raw("\x16\x03\x01\x00\xf0\x01"), "none", ResultTimeout},
		{"a caller that gave up", canceled, raw(""), "none", ResultCanceled},
		{"an older version", t.Context(), secure(&ctls.Config{RootCAs: ca.pool(), MaxVersion: ctls.VersionTLS12}), "none", ResultProtocol},
		{"another application protocol", t.Context(), secure(&ctls.Config{RootCAs: ca.pool(), NextProtos: []string{"h2"}}), "1.3", ResultProtocol},
		{"a client that doesn't trust us", t.Context(), secure(&ctls.Config{}), "1.3", ResultAlert},
	} {
		conn, err := shake(t, test.ctx, server, test.client)
		failed, isNamed := errors.AsType[*HandshakeError](err)
		if conn != nil || !isNamed || failed.Version != test.version || failed.Result != test.result {
			t.Errorf("%s: %v, %v; want version %s, result %s", test.name, conn, err, test.version, test.result)
		}
		if got := errors.Is(err, ErrPlainHTTP); got != (test.result == ResultPlainHTTP) {
			t.Errorf("%s: is ErrPlainHTTP: %v", test.name, got)
		}
		want(t, labels, [2]string{test.version, test.result})
	}
}

// curl -0 offers http/1.0 alone. Faults C20.
func TestApplicationProtocols(t *testing.T) {
	ca, directory := newAuthority(t, "authority"), t.TempDir()
	cfg := testConfig(ca.issue(t, []string{"example.com"}).write(t, directory, "site"))
	for _, test := range []struct {
		offered []string
		want    string
		http2   string // where HTTP/2 is offered
	}{
		{nil, "", ""},
		{[]string{"http/1.0"}, "http/1.0", "http/1.0"},
		{[]string{"http/1.1"}, "http/1.1", "http/1.1"},
		{[]string{"http/1.0", "http/1.1"}, "http/1.1", "http/1.1"},
		{[]string{"h2", "http/1.1"}, "http/1.1", "h2"},
		{[]string{"http/1.1", "h2"}, "http/1.1", "h2"},
	} {
		for _, isOffered := range []bool{false, true} {
			want := test.want
			if isOffered {
				want = test.http2
			}
			server, err := New(cfg, Options{HTTP2: isOffered})
			if err != nil {
				t.Fatal(err)
			}
			conn, err := shake(t, t.Context(), server, func(conn net.Conn) {
				_ = ctls.Client(conn, &ctls.Config{RootCAs: ca.pool(), ServerName: "example.com", NextProtos: test.offered}).Handshake()
				_, _ = io.Copy(io.Discard, conn)
			})
			if err != nil {
				t.Errorf("offered %q: %v", test.offered, err)
			} else if got := conn.ConnectionState().NegotiatedProtocol; got != want {
				t.Errorf("offered %q, HTTP/2 by the server %t: agreed to %q, want %q", test.offered, isOffered, got, want)
			}
		}
	}
}

func TestPlainHTTPCanBeAnsweredInPlainText(t *testing.T) {
	cfg := testConfig()
	cfg.SelfSigned = true
	server := newServer(t, cfg, make(chan [2]string, 1))
	ours, theirs := net.Pipe()
	defer ours.Close()
	answer := make(chan string, 1)
	go func() {
		defer theirs.Close()
		_, _ = io.WriteString(theirs, "GET / HTTP/1.1\r\n")
		text, _ := io.ReadAll(theirs)
		answer <- string(text)
	}()
	if _, err := server.Handshake(t.Context(), ours); !errors.Is(err, ErrPlainHTTP) {
		t.Fatalf("Handshake = %v, want ErrPlainHTTP", err)
	}
	// What crypto/tls did not take off the connection has to be read before a pipe's peer reads.
	go func() { _, _ = io.Copy(io.Discard, ours) }()
	if _, err := io.WriteString(ours, "HTTP/1.1 400 Bad Request\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	_ = ours.Close()
	want(t, answer, "HTTP/1.1 400 Bad Request\r\n\r\n")
}

func TestNetConnLeadsToTheGivenConnection(t *testing.T) {
	cfg := testConfig()
	cfg.SelfSigned = true
	server := newServer(t, cfg, make(chan [2]string, 1))
	ours, theirs := net.Pipe()
	defer ours.Close()
	go func() {
		client := ctls.Client(theirs, &ctls.Config{InsecureSkipVerify: true})
		_ = client.Handshake()
		_, _ = io.Copy(io.Discard, client)
	}()
	secure, err := server.Handshake(t.Context(), ours)
	if err != nil {
		t.Fatal(err)
	}
	lower, ok := secure.NetConn().(interface{ NetConn() net.Conn })
	if !ok || lower.NetConn() != ours {
		t.Errorf("below the TLS connection is %T, which does not lead to the one given", secure.NetConn())
	}
	if len(server.slots) != 0 {
		t.Error("a handshake that is over holds a slot")
	}
}

func TestSilentClientsHoldNoSlot(t *testing.T) {
	ca, directory := newAuthority(t, "authority"), t.TempDir()
	cfg := testConfig(ca.issue(t, []string{"example.com"}).write(t, directory, "site"))
	cfg.MaxHandshakes = 1
	s := serve(t, cfg, Options{})
	hello := clientHello(t)
	for i := range 60 {
		conn, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// Nothing; half a ClientHello; a whole one, and silence where the client's Finished is due.
		if _, err := conn.Write(hello[:[]int{0, len(hello) / 2, len(hello)}[i%3]]); err != nil {
			t.Fatal(err)
		}
		if i%3 == 2 { // its handshake has come to where it waits
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.ReadFull(conn, make([]byte, 5)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 5 {
		conn, _ := s.dial(t, trusting(ca, "example.com"))
		if !isAlive(conn) {
			t.Fatal("a client between silent ones got no session")
		}
	}
}

// clientHello returns the first flight of a client.
func clientHello(t *testing.T) []byte {
	t.Helper()
	_, client := newEnds()
	client.in.setAgain()
	if err := ctls.Client(client, &ctls.Config{ServerName: "example.com"}).Handshake(); err != errAgain {
		t.Fatal(err)
	}
	return client.out.take()
}

func TestHandshakeWhoseTurnNeverComesIsBusy(t *testing.T) {
	cfg := testConfig()
	cfg.SelfSigned = true
	cfg.MaxHandshakes = 1
	server := newServer(t, cfg, make(chan [2]string, 1))
	server.slots <- struct{}{}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := shake(t, ctx, server, func(conn net.Conn) {
		_ = ctls.Client(conn, &ctls.Config{InsecureSkipVerify: true}).Handshake()
	})
	if failed, ok := errors.AsType[*HandshakeError](err); !ok || failed.Result != ResultBusy {
		t.Errorf("Handshake = %v, want result %s", err, ResultBusy)
	}
	if <-server.slots; len(server.slots) != 0 {
		t.Error("the handshake holds a slot")
	}
}

// Faults C5.
func TestAClientThatHasGoneByItsTurnCostsNoComputation(t *testing.T) {
	cfg := testConfig()
	cfg.SelfSigned = true
	cfg.MaxHandshakes = 1
	hello := clientHello(t)
	for name, leave := range map[string]func(*net.TCPConn){
		"by a reset":                func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() },
		"by the end of its stream":  func(c *net.TCPConn) { _ = c.Close() },
		"by the end of its writing": func(c *net.TCPConn) { _ = c.CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			labels := make(chan [2]string, 1)
			server := newServer(t, cfg, labels)
			server.slots <- struct{}{} // another handshake computes
			ln := listen(t)
			defer ln.Close()
			conn, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			accepted, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer accepted.Close()
			if _, err := conn.Write(hello); err != nil {
				t.Fatal(err)
			}
			read := &reading{Conn: accepted, bytes: make(chan int, 8)}
			failed := make(chan error, 1)
			go func() {
				_, err := server.Handshake(t.Context(), read)
				failed <- err
			}()
			<-read.bytes // from here on it waits for its turn
			leave(conn.(*net.TCPConn))
			if err := netconn.AwaitHangup(accepted); err != nil {
				t.Fatal(err)
			}
			<-server.slots
			if err := <-failed; !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("Handshake = %v, want %v", err, io.ErrUnexpectedEOF)
			}
			// No version was chosen: the ClientHello was not processed.
			want(t, labels, [2]string{"none", ResultClosed})
		})
	}
}

// A reading tells how many bytes each read got.
type reading struct {
	net.Conn
	bytes chan int
}

func (r *reading) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.bytes <- n
	return n, err
}

func (r *reading) NetConn() net.Conn { return r.Conn }

func TestClientCertificates(t *testing.T) {
	ca, directory := newAuthority(t, "authority"), t.TempDir()
	clients, strangers := newAuthority(t, "clients"), newAuthority(t, "strangers")
	name := pkix.Name{CommonName: "device 7", Organization: []string{"Example, Inc."}}
	named := func(cert *x509.Certificate) { cert.Subject = name }
	known := []ctls.Certificate{clients.issue(t, nil, named).parsed(t)}
	unknown := []ctls.Certificate{strangers.issue(t, nil, named).parsed(t)}
	over := []ctls.Certificate{clients.issue(t, nil, func(cert *x509.Certificate) { cert.NotAfter = time.Now().Add(-time.Minute) }).parsed(t)}
	endless := []ctls.Certificate{clients.issue(t, nil, func(cert *x509.Certificate) {
		cert.Subject = pkix.Name{Organization: []string{strings.Repeat("é", MaxSubjectBytes/6+1)}}
	}).parsed(t)}
	const subject = `CN=device 7,O=Example\, Inc.`
	files := ca.issue(t, []string{"example.com"}).write(t, directory, "site")
	authorities := filepath.Join(directory, "clients.pem")
	replaceFile(t, authorities, clients.pem)
	for _, test := range []struct {
		auth   string
		shown  []ctls.Certificate
		result string
		want   string
	}{
		{ClientAuthNone, known, ResultFull, ""},
		{ClientAuthRequest, nil, ResultFull, ""},
		{ClientAuthRequest, known, ResultFull, subject},
		{ClientAuthRequest, unknown, ResultClientCertificate, ""},
		{ClientAuthRequire, nil, ResultClientCertificate, ""},
		{ClientAuthRequire, known, ResultFull, subject},
		{ClientAuthRequire, unknown, ResultClientCertificate, ""},
		{ClientAuthRequire, over, ResultClientCertificate, ""},
		{ClientAuthRequire, endless, ResultClientCertificate, ""},
	} {
		cfg := testConfig(files)
		if cfg.ClientAuth = test.auth; test.auth != ClientAuthNone {
			cfg.ClientCA = authorities
		}
		labels := make(chan [2]string, 1)
		server := newServer(t, cfg, labels)
		for version, label := range map[uint16]string{ctls.VersionTLS12: "1.2", ctls.VersionTLS13: "1.3"} {
			conn, err := shake(t, t.Context(), server, func(conn net.Conn) {
				client := ctls.Client(conn, &ctls.Config{RootCAs: ca.pool(), ServerName: "example.com", MaxVersion: version,
					// Unlike Certificates, this shows one that no listed authority has signed.
					GetClientCertificate: func(*ctls.CertificateRequestInfo) (*ctls.Certificate, error) {
						if test.shown == nil {
							return &ctls.Certificate{}, nil
						}
						return &test.shown[0], nil
					}})
				_ = client.Handshake()
			})
			want(t, labels, [2]string{label, test.result})
			if err != nil {
				continue
			}
			if got := ClientSubject(conn); got != test.want {
				t.Errorf("client_auth %s, TLS %s: subject %q, want %q", test.auth, label, got, test.want)
			}
		}
	}
}

func TestSubjectCannotInject(t *testing.T) {
	ca := newAuthority(t, "authority")
	for _, test := range []struct {
		name    string
		subject pkix.Name
		want    string
	}{
		{"plain", pkix.Name{CommonName: "alice", Organization: []string{"Example"}}, "CN=alice,O=Example"},
		{"line ends", pkix.Name{CommonName: "a\r\nX-Admin: yes"}, `CN=a\0D\0AX-Admin: yes`},
		{"another name inside", pkix.Name{CommonName: "bob,CN=alice"}, `CN=bob\,CN=alice`},
		{"a joined name inside", pkix.Name{CommonName: "bob+CN=alice"}, `CN=bob\+CN=alice`},
		{"quotes and backslashes", pkix.Name{CommonName: `"a\b"`}, `CN=\"a\\b\"`},
		{"spaces at the ends", pkix.Name{CommonName: " a "}, `CN=\ a\ `},
		{"beyond ASCII", pkix.Name{CommonName: "Zoë\x7f"}, `CN=Zo\C3\AB\7F`},
		{"NUL", pkix.Name{CommonName: "a\x00b"}, `CN=a\00b`},
		{"an unknown attribute", pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{1, 2, 3}, Value: "x\r\n"}}}, "1.2.3=#1303780d0a"},
		{"none", pkix.Name{}, ""},
	} {
		cert := ca.issue(t, nil, func(cert *x509.Certificate) { cert.Subject = test.subject }).parsed(t)
		got, err := subjectOf(cert.Leaf)
		if test.name == "an unknown attribute" {
			// Its type of string is the encoder's choice.
			if !strings.HasPrefix(got, "1.2.3=#") || strings.ContainsAny(got, "\r\n") {
				t.Errorf("%s: %q", test.name, got)
			}
			continue
		}
		if got != test.want || err != nil {
			t.Errorf("%s: %q, %v; want %q", test.name, got, err, test.want)
		}
	}
}

func TestRunEndsWithAllThatItBegan(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	ca, directory := newAuthority(t, "authority"), t.TempDir()
	server := newServer(t, testConfig(ca.issue(t, []string{"example.com"}).write(t, directory, "site")), make(chan [2]string, 1))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		server.Run(ctx)
		close(ended)
	}()
	cancel()
	<-ended
}
