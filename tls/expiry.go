package tls

import (
	"crypto/x509"
	"time"

	"go.uber.org/zap"
)

// expiryLookInterval is the time between two looks at the end of certificates.
const expiryLookInterval = 24 * time.Hour

// Expiry returns when the certificates end, by the first name of each; of several with one name
// the earliest. It is safe for use by several goroutines.
func (s *Server) Expiry() map[string]time.Time {
	ends := map[string]time.Time{}
	for _, leaf := range s.leaves() {
		name := labelOf(leaf)
		if end, found := ends[name]; !found || leaf.NotAfter.Before(end) {
			ends[name] = leaf.NotAfter
		}
	}
	return ends
}

// leaves returns the certificates of the listener, those of ACME among them.
func (s *Server) leaves() []*x509.Certificate {
	var leaves []*x509.Certificate
	for _, cert := range s.table.Load().byOrder {
		leaves = append(leaves, cert.Leaf)
	}
	if s.acme != nil {
		leaves = append(leaves, s.acme.leaves()...)
	}
	return leaves
}

// warnOfExpiry writes a line for each certificate that has ended, or will soon.
func (s *Server) warnOfExpiry(now time.Time) {
	for _, leaf := range s.leaves() {
		switch left := leaf.NotAfter.Sub(now); {
		case left < 0:
			s.log.Warn("certificate expired", zap.String("name", labelOf(leaf)), zap.Time("not_after", leaf.NotAfter))
		case left < expiresSoon(leaf):
			s.log.Warn("certificate expires soon", zap.String("name", labelOf(leaf)), zap.Time("not_after", leaf.NotAfter))
		}
	}
}

// expiresSoon is how long before its end a certificate is warned about: two weeks, less for one
// that lives for days. Whatever renews it has then tried for long: usual is a third of the life.
func expiresSoon(leaf *x509.Certificate) time.Duration {
	return min(14*24*time.Hour, leaf.NotAfter.Sub(leaf.NotBefore)/6)
}

// labelOf returns the name that logs and metrics have for a certificate.
func labelOf(leaf *x509.Certificate) string {
	if names := namesOf(leaf); len(names) > 0 {
		return names[0]
	}
	if len(leaf.IPAddresses) > 0 {
		return leaf.IPAddresses[0].String()
	}
	return leaf.SerialNumber.Text(16)
}
