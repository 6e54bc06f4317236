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

// secure does the TLS handshake. What was read behind a PROXY header is the beginning of it.
func (h *handshake) secure(deadline time.Time) error {
	_ = h.client.SetWriteDeadline(deadline)
	lower := driver.NewSwitch(h.client, bytes.Clone(h.memory.FromClient.Bytes()))
	h.memory.FromClient.Reset()
	ctx, cancel := context.WithDeadline(h.proxy.ctx, deadline)
	defer cancel()
	secure, subject, err := h.listener.tls.Handshake(ctx, lower)
	if err == nil {
		_ = h.client.SetWriteDeadline(time.Time{})
		h.client, h.from.Certificate = secure, subject
		return nil
	}
	if errors.Is(err, ErrPlainHTTP) {
		return upgrade.ErrPlainHTTP
	}
	if c := h.proxy.log.Check(zap.DebugLevel, "TLS handshake ended"); c != nil {
		c.Write(zap.String("listener", h.listener.name), zap.String("client", reach.FormatClient(h.from.Peer)), zap.Error(err))
	}
	if ctx.Err() == nil {
		// The client may have sent more than was read: a close at once would be a reset, which overtakes the alert.
		netconn.LingerClose(h.client)
	}
	return fmt.Errorf("%w: %w", errClientLost, err)
}

// challengePath is where the paths of ACME's http-01 begin (RFC 8555 section 8.3).
var challengePath = []byte("/.well-known/acme-challenge/")

// isChallenge tells whether the request that was read may be an authority's, which validates a domain.
func (h *handshake) isChallenge() bool {
	return h.proxy.challenge != nil && h.listener.tls == nil && bytes.HasPrefix(h.memory.Request.Path(), challengePath)
}

// answerChallenge answers a challenge and ends the connection; nil: the request is none of that.
func (h *handshake) answerChallenge() error {
	if !h.isChallenge() {
		return nil
	}
	req := &h.memory.Request
	body, isOurs := h.proxy.challenge(h.proxy.ctx, string(req.Hostname()), string(req.Path()))
	if !isOurs {
		return nil
	}
	_ = h.client.SetWriteDeadline(time.Now().Add(refusalTimeout))
	_, _ = fmt.Fprintf(h.client, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
	netconn.LingerClose(h.client)
	return errServed
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
