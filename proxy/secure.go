package proxy

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"go.uber.org/zap"

	"sluice/balancer"
	"sluice/internal/netconn"
	"sluice/proxy/driver"
	"sluice/proxy/reach"
	"sluice/upgrade"
)

// A TLSServer makes the TLS connections of a listener. Any goroutine may call its methods.
type TLSServer interface {
	// Handshake makes the TLS handshake on conn. It returns the TLS connection, and the subject of the client's verified certificate, or ""
	// if the client has shown none. It blocks until the handshake is complete, or ctx ends. After an error the caller still owns conn. The
	// error ErrPlainHTTP means that nothing was sent to the client, and that the client understands an answer in plain text.
	Handshake(ctx context.Context, conn net.Conn) (secure *tls.Conn, subject string, err error)
}

// ErrPlainHTTP is a TLSServer's error where the client sent an HTTP request without TLS.
var ErrPlainHTTP = errors.New("HTTP without TLS")

// secure makes the TLS handshake. Bytes that were read after a PROXY header are its beginning. After an error other than a
// *upgrade.Rejection no answer is possible.
func (c *connection) secure(deadline time.Time) error {
	_ = c.client.SetWriteDeadline(deadline)
	early := &c.core.Memory.FromClient
	lower := driver.NewSwitch(c.client, bytes.Clone(early.Bytes()))
	early.Reset()
	ctx, cancel := context.WithDeadline(c.proxy.ctx, deadline)
	defer cancel()
	secure, subject, err := c.listener.tls.Handshake(ctx, lower)
	if err == nil {
		// The write deadline stays: while crypto/tls reads the head, it answers KeyUpdates.
		state := secure.ConnectionState()
		c.client, c.core.Client.Certificate = secure, subject
		c.core.Client.TLSVersion, c.core.Client.ServerName = state.Version, state.ServerName
		return nil
	}
	if errors.Is(err, ErrPlainHTTP) {
		return upgrade.ErrPlainHTTP
	}
	if ce := c.proxy.log.Check(zap.DebugLevel, "TLS handshake ended"); ce != nil {
		ce.Write(zap.String("listener", c.listener.name), zap.String("client", reach.FormatClient(c.core.Client.Peer)), zap.Error(err))
	}
	if ctx.Err() == nil {
		// The client may have sent more than was read. Then a close would send a reset, which overtakes the alert.
		netconn.LingerClose(c.client)
	}
	return err
}

// challengePath is the prefix of the paths of ACME's http-01 (RFC 8555 section 8.3).
var challengePath = []byte("/.well-known/acme-challenge/")

// IsChallenge implements handshake.Gateway.
func (l *listener) IsChallenge(r *upgrade.Request) bool {
	return l.proxy.challenge != nil && l.tls == nil && bytes.HasPrefix(r.Path(), challengePath)
}

// answerChallenge answers a request of an ACME authority, and reports whether it was one.
func (c *connection) answerChallenge() bool {
	req := &c.core.Memory.Request
	body, isOurs := c.proxy.challenge(c.proxy.ctx, string(req.Hostname()), string(req.Path()))
	if isOurs {
		_ = c.client.SetWriteDeadline(time.Now().Add(refusalTimeout))
		_, _ = fmt.Fprintf(c.client, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
	}
	return isOurs
}

// dialer returns the dialer for a pool. Each dial uses the configuration of TLS at that time.
func (p *Proxy) dialer(pool string) reach.Dialer {
	return reach.Dialer{TLS: func(host string) *tls.Config {
		if of := (*p.pools.Load())[pool]; of != nil && of.section.TLS != nil {
			return of.section.TLS(host)
		}
		protocol := balancer.ProtocolHTTP1
		if of := (*p.pools.Load())[pool]; of != nil {
			protocol = cmp.Or(of.section.Protocol, protocol)
		}
		return &tls.Config{ServerName: host, NextProtos: []string{protocol}}
	}}
}
