package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"go.uber.org/zap"

	"sluice/internal/netconn"
	"sluice/proxy/driver"
	"sluice/proxy/reach"
	"sluice/upgrade"
)

// A TLSServer makes the TLS connections of a listener. Its methods are called by many goroutines.
type TLSServer interface {
	// Handshake returns conn as the server's side of a TLS connection whose handshake is done, and the subject of the client's
	// verified certificate, "" if it has none. It blocks until then, or until ctx ends. On an error conn is still the caller's;
	// ErrPlainHTTP: nothing was sent to the client, and an answer in plain text is understood.
	Handshake(ctx context.Context, conn net.Conn) (secure *tls.Conn, subject string, err error)
}

// ErrPlainHTTP is a TLSServer's error where the client sent an HTTP request without TLS.
var ErrPlainHTTP = errors.New("HTTP without TLS")

// secure does the TLS handshake. What was read behind a PROXY header is the beginning of it. An error other than a *upgrade.Rejection means
// that the client has gone, or has been told.
func (c *connection) secure(deadline time.Time) error {
	_ = c.client.SetWriteDeadline(deadline)
	early := &c.core.Memory.FromClient
	lower := driver.NewSwitch(c.client, bytes.Clone(early.Bytes()))
	early.Reset()
	ctx, cancel := context.WithDeadline(c.proxy.ctx, deadline)
	defer cancel()
	secure, subject, err := c.listener.tls.Handshake(ctx, lower)
	if err == nil {
		_ = c.client.SetWriteDeadline(time.Time{})
		c.client, c.core.Client.Certificate = secure, subject
		return nil
	}
	if errors.Is(err, ErrPlainHTTP) {
		return upgrade.ErrPlainHTTP
	}
	if ce := c.proxy.log.Check(zap.DebugLevel, "TLS handshake ended"); ce != nil {
		ce.Write(zap.String("listener", c.listener.name), zap.String("client", reach.FormatClient(c.core.Client.Peer)), zap.Error(err))
	}
	if ctx.Err() == nil {
		// The client may have sent more than was read: a close at once would be a reset, which overtakes the alert.
		netconn.LingerClose(c.client)
	}
	return err
}

// challengePath is where the paths of ACME's http-01 begin (RFC 8555 section 8.3).
var challengePath = []byte("/.well-known/acme-challenge/")

// IsChallenge implements handshake.Gateway.
func (l *listener) IsChallenge(r *upgrade.Request) bool {
	return l.proxy.challenge != nil && l.tls == nil && bytes.HasPrefix(r.Path(), challengePath)
}

// answerChallenge answers a challenge, and reports whether the request was one of ours.
func (c *connection) answerChallenge() bool {
	req := &c.core.Memory.Request
	body, isOurs := c.proxy.challenge(c.proxy.ctx, string(req.Hostname()), string(req.Path()))
	if isOurs {
		_ = c.client.SetWriteDeadline(time.Now().Add(refusalTimeout))
		_, _ = fmt.Fprintf(c.client, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
	}
	return isOurs
}

// dialer returns the dialer for a pool, which goes by what the configuration says when it dials.
func (p *Proxy) dialer(pool string) reach.Dialer {
	return reach.Dialer{TLS: func(host string) *tls.Config {
		if secure := (*p.backendTLS.Load())[pool]; secure != nil {
			return secure(host)
		}
		return &tls.Config{ServerName: host, NextProtos: []string{"http/1.1"}}
	}}
}
