//go:build unix

package test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// A pair is a certificate and its key, in files.
type pair struct {
	cert, key string
	parsed    *x509.Certificate
	signer    crypto.Signer
}

// newAuthority makes a pair that signs others.
func newAuthority(t *testing.T, directory, name string) pair {
	t.Helper()
	return writePair(t, nil, newECDSAKey(t), directory, name, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
		c.Subject = pkix.Name{CommonName: name}
	})
}

// issue makes a pair for localhost beside the authority's own, in the place of what is in the files.
func (p *pair) issue(t *testing.T, file string, changes ...func(*x509.Certificate)) pair {
	t.Helper()
	return writePair(t, p, newECDSAKey(t), filepath.Dir(p.cert), file, changes...)
}

// issueRSA is issue with an RSA key.
func (p *pair) issueRSA(t *testing.T, file string, changes ...func(*x509.Certificate)) pair {
	t.Helper()
	return writePair(t, p, rsaKey(), filepath.Dir(p.cert), file, changes...)
}

// named makes a certificate one for those names only.
func named(names ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject, c.DNSNames, c.IPAddresses = pkix.Name{CommonName: names[0]}, names, nil
	}
}

// subject gives a certificate that subject.
func subject(name pkix.Name) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.Subject = name }
}

func writePair(t *testing.T, by *pair, key crypto.Signer, directory, file string, changes ...func(*x509.Certificate)) pair {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: file},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, change := range changes {
		change(template)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.parsed, by.signer
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p := pair{cert: filepath.Join(directory, file+".pem"), key: filepath.Join(directory, file+".key"), signer: key}
	if p.parsed, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	replaceFile(t, p.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	replaceFile(t, p.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return p
}

// replaceFile writes a file whole, as those do who renew certificates.
func replaceFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func newECDSAKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// rsaKey is made once: that takes long.
var rsaKey = sync.OnceValue(func() crypto.Signer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// pool returns who trusts the pair as an authority.
func (p *pair) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.parsed)
	return pool
}

// certificate returns the pair as crypto/tls shows it.
func (p *pair) certificate() *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{p.parsed.Raw}, PrivateKey: p.signer, Leaf: p.parsed}
}

// section is the [listener.tls] of pairs, of which the first one is the default; more are lines below.
func section(more string, pairs ...pair) string {
	text := "[listener.tls]\ncertificate = ["
	for _, p := range pairs {
		text += fmt.Sprintf("{ cert = %q, key = %q }, ", p.cert, p.key)
	}
	return text + "]\n" + more + "\n"
}
