package tls

import (
	ctls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"strings"
)

// MaxSubjectBytes bounds what ClientSubject returns; a certificate with more ends the handshake.
const MaxSubjectBytes = 4 << 10

// errSubject is the fault of a client's certificate whose subject can't be passed to backends.
var errSubject = errors.New("client certificate: subject unreadable or too long")

// ClientSubject returns the subject of the certificate that the client proved to own and that an
// authority of client_ca vouches for, in the form of RFC 2253 ("CN=device 7,O=Example"); "" if there
// is none. It is printable ASCII without exception, so it is safe as a field's value.
func ClientSubject(conn *ctls.Conn) string {
	state := conn.ConnectionState()
	if len(state.VerifiedChains) == 0 {
		return ""
	}
	subject, _ := subjectOf(state.VerifiedChains[0][0]) // its error has ended the handshake
	return subject
}

// verifySubject refuses the certificates whose subject ClientSubject could not return whole: one
// that were cut could be taken for another.
func verifySubject(state ctls.ConnectionState) error {
	if len(state.VerifiedChains) == 0 {
		return nil
	}
	_, err := subjectOf(state.VerifiedChains[0][0])
	return err
}

// subjectOf returns the subject of cert in the order that the certificate has it, which
// cert.Subject.String() does not.
func subjectOf(cert *x509.Certificate) (string, error) {
	var names pkix.RDNSequence
	if rest, err := asn1.Unmarshal(cert.RawSubject, &names); err != nil || len(rest) > 0 {
		return "", errSubject
	}
	subject := printable(names.String())
	if len(subject) > MaxSubjectBytes {
		return "", errSubject
	}
	return subject, nil
}

// printable escapes the bytes that may not stand in a field's value, and those beyond ASCII, which
// backends decode each in its own way. RFC 2253 section 2.4: "If that character to be escaped is
// [not special] […] a backslash and two hex digits, which form a single byte in the code of the
// character".
func printable(s string) string {
	const hex = "0123456789ABCDEF"
	var escaped strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' {
			escaped.Write([]byte{'\\', hex[c>>4], hex[c&15]})
		} else {
			escaped.WriteByte(c)
		}
	}
	return escaped.String()
}
