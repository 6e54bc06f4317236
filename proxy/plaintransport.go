package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"sluice/balancer"
	"sluice/upgrade"
)

// A plainTransport sends plain requests to the backends of a route's pool.
type plainTransport struct {
	route *route
	http  *http.Transport
}

// maxAnswerHead bounds the head of a backend's answer to a plain request, interim answers included.
const maxAnswerHead = 64 << 10

func newPlainTransport(r *route) *plainTransport {
	return &plainTransport{route: r, http: &http.Transport{
		DialContext:            r.dialPlain,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    64,
		MaxIdleConns:           1024,
		IdleConnTimeout:        plainIdle,
		ResponseHeaderTimeout:  r.responseTimeout,
		ExpectContinueTimeout:  time.Second, // as http.DefaultTransport
		MaxResponseHeaderBytes: maxAnswerHead,
	}}
}

type backendKey struct{}

// dialPlain connects to the backend that the request was given.
func (r *route) dialPlain(ctx context.Context, _, _ string) (net.Conn, error) {
	b := ctx.Value(backendKey{}).(*balancer.Backend)
	// TCP finds out that a backend has gone from which a stream of events comes.
	dialer := net.Dialer{Timeout: r.connectTimeout}
	conn, err := dialer.DialContext(ctx, b.Network(), b.Address())
	if err != nil {
		return nil, err
	}
	c := &stallConn{Conn: conn, timeout: r.writeTimeout}
	if r.sendsProxy {
		if _, err := c.Write(exchangeOf(ctx).conn.first.proxyHeader()); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return c, nil
}

// A stallConn fails when the other side takes nothing for so long.
type stallConn struct {
	net.Conn
	timeout time.Duration
}

func (c *stallConn) Write(p []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(c.timeout))
	return c.Conn.Write(p)
}

// key is the name under which connections to a backend wait for the next request; nobody resolves it. A connection that began with a
// client's PROXY header is of use to that client alone.
func (t *plainTransport) key(e *exchange, b *balancer.Backend) string {
	if t.route.sendsProxy {
		return fmt.Sprintf("%x-%x.backend", b.Name(), e.client.peer.String())
	}
	return fmt.Sprintf("%x.backend", b.Name())
}

// RoundTrip implements http.RoundTripper. A backend that can't be reached has seen nothing of the request: another one is tried.
func (t *plainTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	e := exchangeOf(r.Context())
	want := balancer.Request{Client: e.client.addr.Addr(), Head: &e.Request}
	var tried []*balancer.Backend
	var last error
	for {
		pick, err := t.route.pool.Pick(r.Context(), &want, tried)
		if err != nil {
			return nil, unpicked(err, last)
		}
		e.backend, e.cookie = pick.Backend.Name(), pick.SetCookie
		resp, err := t.http.RoundTrip(t.outgoing(r, e, pick.Backend))
		if err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
			resp.Request = r
			resp.Body = &releasingBody{ReadCloser: resp.Body, pick: pick, status: resp.StatusCode}
			return resp, nil
		}
		outcome, isDial := balancer.BadAnswer, false
		if err == nil {
			// Bytes behind a 101 would pass unread.
			_ = resp.Body.Close()
			err = upgrade.ErrBadAnswer
		} else {
			outcome, isDial = plainOutcome(err)
		}
		if r.Context().Err() != nil {
			outcome = balancer.ClientFault
		}
		pick.Backend.Release(outcome)
		if !isDial || outcome == balancer.ClientFault || len(tried) >= t.route.retries {
			return nil, err
		}
		last, tried = err, append(tried, pick.Backend)
	}
}

// outgoing returns the request for a backend. Its body is not closed with it: another backend may want it.
func (t *plainTransport) outgoing(r *http.Request, e *exchange, b *balancer.Backend) *http.Request {
	out := r.WithContext(context.WithValue(r.Context(), backendKey{}, b))
	u := *r.URL
	u.Host = t.key(e, b)
	out.URL = &u
	if out.Host == "" { // of a client that speaks HTTP/1.0
		out.Host = "localhost"
		if b.Network() == "tcp" {
			out.Host = b.Address()
		}
	}
	if r.Body != nil {
		out.Body = io.NopCloser(r.Body)
	}
	return out
}

// plainOutcome tells the pool what an error of the transport says about the backend.
func plainOutcome(err error) (o balancer.Outcome, isDial bool) {
	switch {
	case isDialError(err):
		return dialOutcome(err), true
	case isTimeout(err):
		return balancer.HandshakeTimeout, false
	default:
		return balancer.HandshakeReset, false
	}
}

func isDialError(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// A releasingBody gives the place of a pick back when the body is through.
type releasingBody struct {
	io.ReadCloser
	pick   balancer.Pick
	status int
	once   sync.Once
}

func (b *releasingBody) Close() error {
	b.once.Do(func() { b.pick.Backend.Release(balancer.Outcome(b.status)) })
	return b.ReadCloser.Close()
}
