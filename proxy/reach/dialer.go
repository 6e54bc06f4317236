package reach

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"

	"sluice/balancer"
	"sluice/proxy/driver"
)

// A tlsError is a failure of the TLS handshake with a backend.
type tlsError struct{ err error }

func (e *tlsError) Error() string { return e.err.Error() }
func (e *tlsError) Unwrap() error { return e.err }

// errNoHTTP2 means that a backend would speak HTTP/1.1.
var errNoHTTP2 = errors.New("the backend does not choose h2 (ALPN)")

// A Dialer connects to the backends of a pool. Immutable.
type Dialer struct {
	// TLS returns the configuration for a backend with that host name.
	TLS func(host string) *tls.Config
}

// Dial connects to a backend, sends opening, which may be nil, and makes the TLS handshake if the backend speaks TLS. ctx bounds all of it.
// The error is a *DialError.
func (d Dialer) Dial(ctx context.Context, b *balancer.Backend, opening []byte) (net.Conn, error) {
	conn, err := d.dial(ctx, b, opening)
	if err != nil {
		return nil, &DialError{err}
	}
	return conn, nil
}

func (d Dialer) dial(ctx context.Context, b *balancer.Backend, opening []byte) (ready net.Conn, err error) {
	tcp := net.Dialer{KeepAlive: -1} // the gateway sends pings of its own
	conn, err := tcp.DialContext(ctx, b.Network(), b.Address())
	if err != nil {
		return nil, err
	}
	driver.Tune(conn)
	defer func() {
		if ready == nil { // after an error, or a panic
			_ = conn.Close()
		}
	}()
	if len(opening) > 0 {
		if _, err := conn.Write(opening); err != nil { // it fits into the buffer of a new socket
			return nil, err
		}
	}
	name, isTLS := b.TLS()
	if !isTLS {
		return conn, nil
	}
	config := d.TLS(name)
	client := tls.Client(driver.NewSwitch(conn, nil), config)
	if err := client.HandshakeContext(ctx); err != nil {
		return nil, &tlsError{err}
	}
	if name := balancer.ProtocolHTTP2; slices.Contains(config.NextProtos, name) && client.ConnectionState().NegotiatedProtocol != name {
		_ = client.Close()
		return nil, &tlsError{errNoHTTP2}
	}
	return client, nil
}
