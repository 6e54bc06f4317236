package tls

import (
	"bytes"
	"context"
	ctls "crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// How a handshake ended; the label result of sluice_tls_handshakes_total.
const (
	ResultFull              = "full"               // established
	ResultResumed           = "resumed"            // established, with a session ticket
	ResultChallenge         = "challenge"          // an authority has validated a domain by tls-alpn-01
	ResultPlainHTTP         = "plain_http"         // the client speaks HTTP without TLS
	ResultNotTLS            = "not_tls"            // the client speaks something else
	ResultTimeout           = "timeout"            // the client took too long
	ResultBusy              = "busy"               // the time went by waiting for other handshakes
	ResultCanceled          = "canceled"           // the caller gave up
	ResultClosed            = "closed"             // the client closed the connection
	ResultNoCertificate     = "no_certificate"     // there is none for the client
	ResultClientCertificate = "client_certificate" // the client's is missing or wrong
	ResultAlert             = "alert"              // the client refused, as for a certificate it doesn't trust
	ResultProtocol          = "protocol"           // no version, cipher or protocol in common, or a fault
)

// A HandshakeError says why Handshake returned no connection.
type HandshakeError struct {
	Version string // as VersionLabel
	Result  string // one of the Result constants
	Err     error
}

func (e *HandshakeError) Error() string { return fmt.Sprintf("TLS handshake: %s: %v", e.Result, e.Err) }

func (e *HandshakeError) Unwrap() error { return e.Err }

var (
	// ErrPlainHTTP is a handshake's error where the client sent an HTTP request. Nothing was sent
	// to it, so a response in plain text is understood.
	ErrPlainHTTP = errors.New("an HTTP request without TLS")
	// ErrChallenge is the error of a handshake that was an authority's validation: it is over, and
	// all is well. RFC 8737 section 4: the connection carries no data.
	ErrChallenge = errors.New("an ACME challenge, answered")
)

// VersionLabel returns the label of a version of TLS: "1.2", "1.3", or "none" for a handshake that
// ended before one was chosen.
func VersionLabel(version uint16) string {
	switch version {
	case ctls.VersionTLS12:
		return "1.2"
	case ctls.VersionTLS13:
		return "1.3"
	default:
		return "none"
	}
}

// resultOf names the error of a handshake.
func resultOf(err error, state ctls.ConnectionState, auth ctls.ClientAuthType) string {
	if header, ok := errors.AsType[ctls.RecordHeaderError](err); ok {
		switch {
		case header.Conn == nil: // so crypto/tls says that TLS had begun
			return ResultProtocol
		case isHTTP(header.RecordHeader):
			return ResultPlainHTTP
		default:
			return ResultNotTLS
		}
	}
	if _, ok := errors.AsType[*ctls.CertificateVerificationError](err); ok {
		return ResultClientCertificate
	}
	if operation, ok := errors.AsType[*net.OpError](err); ok {
		switch operation.Op { // by which crypto/tls distinguishes the peer's alerts from its own
		case "remote error":
			return ResultAlert
		case "local error":
			return ResultProtocol
		}
	}
	networkErr, isNetworkErr := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, errBusy):
		return ResultBusy
	case errors.Is(err, context.Canceled):
		return ResultCanceled
	case errors.Is(err, errNoCertificate):
		return ResultNoCertificate
	case errors.Is(err, errSubject):
		return ResultClientCertificate
	case isNetworkErr && networkErr.Timeout(): // context.DeadlineExceeded is one
		return ResultTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), isNetworkErr:
		return ResultClosed
	case auth == ctls.RequireAndVerifyClientCert && state.CipherSuite != 0 && len(state.PeerCertificates) == 0:
		// A missing certificate has an error without a type. Versions, ciphers and protocols were
		// agreed on before, so little else can be meant.
		return ResultClientCertificate
	default:
		return ResultProtocol
	}
}

// isHTTP reports whether the first five bytes of a connection are those of an HTTP request.
func isHTTP(start [5]byte) bool {
	for _, method := range []string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH", "CONNE", "TRACE", "PRI *"} {
		if bytes.Equal(start[:], []byte(method)) {
			return true
		}
	}
	return false
}
