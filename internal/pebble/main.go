// Command pebble runs an ACME authority for tests until its standard input ends: Pebble, with a DNS server that has every name at
// 127.0.0.1. Package internal/acmetest starts it. It is a module of its own, so that the program's go.mod lists only what the program
// needs.
package main

import (
	"encoding/json"
	"encoding/pem"
	"flag"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// A description is the line that the program writes when the authority answers.
type description struct {
	URL string `json:"url"` // of its directory
	CA  string `json:"ca"`  // PEM of the certificate of URL
	// Root is the PEM of the certificate that the authority signs with.
	Root string `json:"root"`
}

func main() {
	httpPort := flag.Int("http-port", 0, "validate http-01 at this `PORT` of 127.0.0.1")
	tlsPort := flag.Int("tls-port", 0, "validate tls-alpn-01 at this `PORT` of 127.0.0.1")
	keyID := flag.String("key-id", "", "the `ID` of the external account that accounts must be bound to (default none)")
	key := flag.String("key", "", "its `KEY`, in base64url")
	life := flag.Duration("life", 0, "how long certificates are valid, in whole seconds (default 90 days)")
	flag.Parse()
	for name, value := range map[string]string{"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"} {
		if err := os.Setenv(name, value); err != nil {
			log.Fatal(err)
		}
	}

	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	if *keyID != "" {
		if err := store.AddExternalAccountKeyByID(*keyID, *key); err != nil {
			log.Fatal(err)
		}
	}
	resolver, err := startDNS()
	if err != nil {
		log.Fatal(err)
	}
	profile := ca.Profile{Description: "of a test", ValidityPeriod: uint64(*life / time.Second)}
	signer := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": profile})
	validator := va.New(quiet, *httpPort, *tlsPort, true, resolver, store)
	front := wfe.New(quiet, store, validator, signer, []string{"pebble.test"}, true, *keyID != "", 1, 1)
	server := httptest.NewUnstartedServer(front.Handler())
	server.Config.ErrorLog = quiet
	server.StartTLS()

	err = json.NewEncoder(os.Stdout).Encode(description{
		URL:  server.URL + wfe.DirectoryPath,
		CA:   toPEM(server.Certificate().Raw),
		Root: toPEM(signer.GetRootCert(0).Cert.Raw),
	})
	if err != nil {
		log.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test closes it, or ends
}

func toPEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// startDNS starts a DNS server, and returns its address.
func startDNS() (address string, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &dns.Server{Listener: ln, Handler: dns.HandlerFunc(answer)}
	go serveDNS(server)
	return ln.Addr().String(), nil
}

// serveDNS runs until the process ends.
func serveDNS(server *dns.Server) {
	if err := server.ActivateAndServe(); err != nil {
		log.Fatal(err)
	}
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
