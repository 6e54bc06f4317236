// Package pebble starts an ACME authority for tests: Pebble in the process of the test, with a DNS server that has every name at
// 127.0.0.1. No part of the program imports it.
package pebble

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// An Authority issues certificates by RFC 8555. Immutable.
type Authority struct {
	URL    string         // of its directory
	CAFile string         // PEM of what signed the certificate of URL
	Roots  *x509.CertPool // what signs the certificates that it issues

	server *httptest.Server
}

// Options are what an authority is to be like.
type Options struct {
	HTTPPort, TLSPort int           // where it validates, at 127.0.0.1
	KeyID, Key        string        // of the external account that accounts must be bound to; empty: none
	Life              time.Duration // of certificates, in whole seconds; zero: Pebble's default of 90 days
}

// Start starts an authority, which ends with the test.
func Start(t testing.TB, o Options) *Authority {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	t.Setenv("PEBBLE_AUTHZREUSE", "0")
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	if o.KeyID != "" {
		if err := store.AddExternalAccountKeyByID(o.KeyID, o.Key); err != nil {
			t.Fatal(err)
		}
	}
	profile := ca.Profile{Description: "of a test", ValidityPeriod: uint64(o.Life / time.Second)}
	signer := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": profile})
	validator := va.New(quiet, o.HTTPPort, o.TLSPort, true, startDNS(t), store)
	front := wfe.New(quiet, store, validator, signer, []string{"pebble.test"}, true, o.KeyID != "", 1, 1)

	server := httptest.NewUnstartedServer(front.Handler())
	server.Config.ErrorLog = quiet
	server.StartTLS()
	t.Cleanup(server.Close)
	a := &Authority{
		URL:    server.URL + wfe.DirectoryPath,
		CAFile: filepath.Join(t.TempDir(), "pebble.pem"),
		Roots:  x509.NewCertPool(),
		server: server,
	}
	a.Roots.AddCert(signer.GetRootCert(0).Cert)
	own := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(a.CAFile, own, 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// Close ends the authority before the test ends.
func (a *Authority) Close() { a.server.Close() }

// startDNS starts a DNS server, and returns its address.
func startDNS(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: ln, Handler: dns.HandlerFunc(answer)}
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

func answer(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg)
	reply.SetReply(query)
	if question := query.Question[0]; question.Qtype == dns.TypeA {
		header := dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET}
		reply.Answer = append(reply.Answer, &dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)})
	}
	_ = w.WriteMsg(reply)
}
