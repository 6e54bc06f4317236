package tls

import (
	ctls "crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// parsePair returns the certificate of a chain and its key, both in PEM; its Leaf is set.
func parsePair(certPEM, keyPEM []byte) (*ctls.Certificate, error) {
	cert, err := ctls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	// X509KeyPair reads only the first one.
	for _, der := range cert.Certificate[1:] {
		if _, err := x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("intermediate: %w", err)
		}
	}
	return &cert, nil
}

// parsePool returns the certificates in a PEM text. Unlike AppendCertsFromPEM it takes none if one
// is broken: an authority that is silently left out shows only when its clients fail.
func parsePool(text []byte) (*x509.CertPool, error) {
	pool, count := x509.NewCertPool(), 0
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		pool.AddCert(cert)
		count++
	}
	if count == 0 {
		return nil, errors.New("no certificate in it")
	}
	return pool, nil
}
