package netconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Faults C10: the causes that operators meet are told apart, each once and in plain words.
func TestExplainNamesTheCauseAlone(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	secure := server.Listener.Addr().String()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	dialTLS := func(config *tls.Config) error {
		_, err := tls.Dial("tcp", secure, config)
		return fmt.Errorf("dial backend wss://%s: %w", secure, err)
	}
	plain := httptest.NewServer(nil)
	defer plain.Close()
	_, plainErr := tls.Dial("tcp", plain.Listener.Addr().String(), nil)
	_, refused := net.Dial("tcp", "127.0.0.1:1")
	_, missing := net.Dial("unix", filepath.Join(t.TempDir(), "none"))
	expired, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	_, late := new(net.Dialer).DialContext(expired, "tcp", secure)
	for _, test := range []struct {
		err  error
		want string
	}{
		{refused, "connection refused"},
		{missing, "the socket does not exist"},
		{late, "timed out"},
		{dialTLS(nil), "TLS: certificate signed by unknown authority"},
		{dialTLS(&tls.Config{RootCAs: roots, ServerName: "chat.internal"}),
			"TLS: certificate is valid for example.com, *.example.com, not chat.internal"},
		{plainErr, "TLS: the peer speaks no TLS"},
		{fmt.Errorf("dial: %w", &net.DNSError{Err: "no such host", Name: "chat.internal", Server: "10.0.0.2:53", IsNotFound: true}), "no address found for the name chat.internal"},
		{&net.DNSError{Err: "i/o timeout", Name: "chat.internal", IsTimeout: true}, "lookup of the name chat.internal timed out"},
		{&net.DNSError{Err: "server misbehaving", Name: "chat.internal"}, "lookup of the name chat.internal failed: server misbehaving"},
		{&net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, "connection reset"},
		{fmt.Errorf("read the answer: %w", io.ErrUnexpectedEOF), "connection closed"},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, "TLS: the peer refuses: bad certificate"},
		{syscall.EMFILE, "too many open files"},
		{errors.New("two\nlines and \x1b[31mred"), "two?lines and ?[31mred"},
		{errors.New(strings.Repeat("é", 300)), strings.Repeat("é", 128) + "…"},
	} {
		if test.err == nil {
			t.Fatalf("no error; want %q", test.want)
		}
		if got := Explain(test.err); got != test.want {
			t.Errorf("Explain(%v) = %q; want %q", test.err, got, test.want)
		}
	}
}
