package tls

import (
	"context"
	ctls "crypto/tls"
	"net"
)

// Handshake returns conn as the server's side of a TLS connection whose handshake is done. It
// blocks until then, or until ctx ends, which closes conn. On error, a *HandshakeError, the caller
// still owns conn, and closes it; crypto/tls has sent the alert if there is one for the fault.
//
// NetConn of the result returns a connection whose own method NetConn returns conn. Deadlines of
// conn are left alone. Handshake is safe for use by several goroutines, and so for thousands of
// connections at once: of those, MaxHandshakes compute and the others wait.
func (s *Server) Handshake(ctx context.Context, conn net.Conn) (*ctls.Conn, error) {
	shake := &handshake{ctx: ctx, slots: s.slots}
	defer shake.release() // after a panic, too
	lower := &gate{Conn: conn, shake: shake}
	config := s.config.Load() // a reload is for later handshakes
	secure := ctls.Server(lower, config)
	err := secure.HandshakeContext(ctx)
	// When ctx ends, HandshakeContext returns the error of ctx, whatever the cause was.
	if isBusy := lower.open(); isBusy {
		err = errBusy
	}
	state := secure.ConnectionState()
	version := VersionLabel(state.Version)
	var result string
	switch {
	case err != nil:
		result = resultOf(err, state, config.ClientAuth)
	case state.NegotiatedProtocol == challengeProtocol:
		result, err = ResultChallenge, ErrChallenge
	case state.DidResume:
		result = ResultResumed
	default:
		result = ResultFull
	}
	s.handshaken(version, result)
	if result == ResultPlainHTTP {
		err = ErrPlainHTTP
	}
	if err != nil {
		return nil, &HandshakeError{Version: version, Result: result, Err: err}
	}
	return secure, nil
}
