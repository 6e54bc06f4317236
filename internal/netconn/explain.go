package netconn

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"unicode"
)

// maxExplanation bounds the bytes of an explanation: a certificate's names may be many.
const maxExplanation = 256

// Explain returns the cause of a connection's failure in words for an operator. The operations that Go's packages name around the cause are
// left out, and so are control characters.
func Explain(err error) string {
	text := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, explain(err))
	if len(text) > maxExplanation {
		text = strings.ToValidUTF8(text[:maxExplanation], "") + "…"
	}
	return text
}

func explain(err error) string {
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		return "no address found for the name " + name.Name
	case errors.As(err, &name) && name.IsTimeout:
		return "lookup of the name " + name.Name + " timed out"
	case errors.As(err, &name):
		return "lookup of the name " + name.Name + " failed: " + name.Err
	case errors.As(err, &certificate):
		return "TLS: " + strings.TrimPrefix(innermost(certificate.Err).Error(), "x509: ")
	case errors.As(err, &record):
		return "TLS: the peer speaks no TLS"
	case errors.As(err, &op) && op.Op == "remote error":
		return "TLS: the peer refuses: " + strings.TrimPrefix(op.Err.Error(), "tls: ")
	case IsTimeout(err):
		return "timed out"
	case errors.Is(err, syscall.ENOENT):
		return "the socket does not exist"
	case errors.Is(err, syscall.ECONNRESET):
		return "connection reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return "connection closed"
	default:
		return innermost(err).Error()
	}
}

// innermost returns the error that err wraps last.
func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
