package tls

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	ctls "crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
)

// A table finds certificates by the name that a client asks for. Immutable.
type table struct {
	exact    map[string][]*ctls.Certificate
	wildcard map[string][]*ctls.Certificate // "*.example.com" is under "example.com"
	byOrder  []*ctls.Certificate
	fallback []*ctls.Certificate // the default, and those with its first name
}

// newTable returns the table of certs, whose first one is the default. If several have the same name, those that are cheaper to sign with
// come first, not those that come first in the configuration.
func newTable(certs []*ctls.Certificate) *table {
	t := &table{
		exact:    map[string][]*ctls.Certificate{},
		wildcard: map[string][]*ctls.Certificate{},
		byOrder:  certs,
	}
	sorted := slices.Clone(certs)
	slices.SortStableFunc(sorted, func(a, b *ctls.Certificate) int { return signingCost(a) - signingCost(b) })
	for _, cert := range sorted {
		for _, name := range namesOf(cert.Leaf) {
			if parent, isWildcard := strings.CutPrefix(name, "*."); isWildcard {
				t.wildcard[parent] = append(t.wildcard[parent], cert)
			} else {
				t.exact[name] = append(t.exact[name], cert)
			}
		}
	}
	if len(certs) > 0 {
		t.fallback = t.named(namesOf(certs[0].Leaf))
		if len(t.fallback) == 0 {
			t.fallback = certs[:1]
		}
	}
	return t
}

// named returns the certificates that have the first of names.
func (t *table) named(names []string) []*ctls.Certificate {
	if len(names) == 0 {
		return nil
	}
	if parent, isWildcard := strings.CutPrefix(names[0], "*."); isWildcard {
		return t.wildcard[parent]
	}
	return t.exact[names[0]]
}

// find returns the certificate for a client: of those with the exact name the first that the
// client can use, else of those with its wildcard. It returns nil if no certificate has the name.
func (t *table) find(hello *ctls.ClientHelloInfo) *ctls.Certificate {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	exact := t.exact[name]
	var wildcard []*ctls.Certificate
	// RFC 9525 section 6.3: a wildcard stands for exactly one label.
	if _, parent, found := strings.Cut(name, "."); found {
		wildcard = t.wildcard[parent]
	}
	if cert := firstUsable(hello, exact, wildcard); cert != nil {
		return cert
	}
	// None fits: the handshake fails, with what crypto/tls says of the one that is nearest.
	for _, certs := range [][]*ctls.Certificate{exact, wildcard} {
		if len(certs) > 0 {
			return certs[0]
		}
	}
	return nil
}

// byDefault returns the certificate for a client whose name nothing has, or nil if there is none.
func (t *table) byDefault(hello *ctls.ClientHelloInfo) *ctls.Certificate {
	if len(t.fallback) == 0 {
		return nil
	}
	nameless := *hello
	nameless.ServerName = "" // SupportsCertificate would refuse a certificate for its name
	if cert := firstUsable(&nameless, t.fallback); cert != nil {
		return cert
	}
	return t.fallback[0]
}

// firstUsable returns the first certificate of lists that a client can use, nil if it can use none.
func firstUsable(hello *ctls.ClientHelloInfo, lists ...[]*ctls.Certificate) *ctls.Certificate {
	for _, certs := range lists {
		for _, cert := range certs {
			if hello.SupportsCertificate(cert) == nil {
				return cert
			}
		}
	}
	return nil
}

// signingCost orders certificates: an ECDSA signature costs a tenth of an RSA one.
func signingCost(cert *ctls.Certificate) int {
	switch cert.Leaf.PublicKey.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return 0
	default:
		return 1
	}
}

// namesOf returns the names that a certificate is for, in lower case. The common name counts only
// where there are no others, as with certificates that clients with their own rules use.
func namesOf(leaf *x509.Certificate) []string {
	names := make([]string, 0, len(leaf.DNSNames))
	for _, name := range leaf.DNSNames {
		names = append(names, strings.ToLower(name))
	}
	if len(names) == 0 && len(leaf.IPAddresses) == 0 && leaf.Subject.CommonName != "" {
		names = append(names, strings.ToLower(leaf.Subject.CommonName))
	}
	return names
}
