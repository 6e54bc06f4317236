package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sluice/balancer"
	"sluice/internal/netconn"
	"sluice/internal/recovery"
	"sluice/upgrade"

	"sluice/proxy/reach"
	"sluice/proxy/route"
)

// A plainTransport sends plain requests to the backends of a route's pool.
type plainTransport struct {
	route  *route.Route
	dialer reach.Dialer
	http   *http.Transport
}

// maxAnswerHead bounds the head of a backend's answer to a plain request, interim answers included.
const maxAnswerHead = 64 << 10

func newPlainTransport(r *route.Route, d reach.Dialer) *plainTransport {
	t := &plainTransport{route: r, dialer: d}
	t.http = &http.Transport{
		DialContext:            t.dial,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    64,
		MaxIdleConns:           1024,
		IdleConnTimeout:        plainIdle,
		ResponseHeaderTimeout:  r.ResponseTimeout,
		ExpectContinueTimeout:  time.Second, // as http.DefaultTransport
		MaxResponseHeaderBytes: maxAnswerHead,
	}
	return t
}

type backendKey struct{}

// dial connects to the backend that the request was given. net/http's transport calls it on a goroutine that recovers no panic.
func (t *plainTransport) dial(ctx context.Context, _, _ string) (conn net.Conn, err error) {
	panics := exchangeOf(ctx).conn.panics()
	defer panics.Catch(room, func() {
		if conn != nil {
			_ = conn.Close()
		}
		conn, err = nil, upgrade.ErrInternal
	})
	b := ctx.Value(backendKey{}).(*balancer.Backend)
	ctx, cancel := context.WithTimeout(ctx, t.route.ConnectTimeout)
	defer cancel()
	var opening []byte
	if t.route.SendsProxy {
		opening = exchangeOf(ctx).client.ProxyHeader()
	}
	conn, err = t.dialer.Dial(ctx, b, opening)
	if err != nil {
		return nil, err
	}
	netconn.KeepAlive(netconn.Socket(conn)) // TCP finds out that a backend has gone from which a stream of events comes
	return &stallConn{Conn: conn, panics: panics, timeout: t.route.WriteTimeout}, nil
}

// A stallConn fails when the other side takes nothing for so long. Its writes are those of one goroutine.
type stallConn struct {
	net.Conn
	panics  recovery.Handler
	timeout time.Duration
	hasSent bool
}

// Write implements net.Conn. A backend may answer a request of which it reads no more, and close: the reset that the rest meets must not
// take the answer from the client's hands. So it is Read that tells of it. net/http's transport
// calls it on a goroutine that recovers no panic.
func (c *stallConn) Write(p []byte) (n int, err error) {
	defer c.panics.Catch(room, func() { n, err = 0, upgrade.ErrInternal })
	_ = c.SetWriteDeadline(time.Now().Add(c.timeout))
	n, err = c.Conn.Write(p)
	if c.hasSent && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)) {
		return len(p), nil
	}
	c.hasSent = c.hasSent || n > 0
	return n, err
}

// key is the name under which connections to a backend wait for the next request; nobody resolves it. A connection that began with a
// client's PROXY header is of use to that client alone.
func (t *plainTransport) key(e *exchange, b *balancer.Backend) string {
	if t.route.SendsProxy {
		return fmt.Sprintf("%x-%x.backend", b.Name(), e.client.Peer.String())
	}
	return fmt.Sprintf("%x.backend", b.Name())
}

// RoundTrip implements http.RoundTripper. A backend that can't be reached has seen nothing of the request: another one is tried.
func (t *plainTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	e := exchangeOf(r.Context())
	want := balancer.Request{Client: e.client.Addr.Addr(), Head: &e.Request}
	pick, err := t.route.Pool.Pick(r.Context(), &want, nil)
	if err != nil {
		return nil, reach.Unpicked(err)
	}
	held := pick.Backend
	defer func() {
		if held != nil { // after a panic
			held.Release(balancer.GatewayFault)
		}
	}()
	var body *clientBody
	if r.Body != nil {
		body = &clientBody{Reader: r.Body, panics: e.conn.panics()}
	}
	var tried []*balancer.Backend
	for {
		e.backend, e.cookie = pick.Backend.Name(), pick.SetCookie
		resp, err := t.http.RoundTrip(t.outgoing(r, e, pick.Backend, body))
		if err == nil && isFinalStatus(resp.StatusCode) {
			resp.Request = r
			e.answer = &releasingBody{ReadCloser: resp.Body, pick: pick, status: resp.StatusCode}
			resp.Body, held = e.answer, nil
			return resp, nil
		}
		outcome, isUnsent := balancer.BadAnswer, false
		if err == nil {
			_ = resp.Body.Close()
			err = upgrade.ErrBadAnswer
		} else {
			outcome, isUnsent = reach.OutcomeOf(err), reach.IsUnsent(err)
		}
		if r.Context().Err() != nil || body != nil && body.isBroken.Load() {
			outcome = balancer.ClientFault
		}
		held = nil
		pick.Backend.Release(outcome)
		tried = append(tried, pick.Backend)
		if !isUnsent || !t.route.Pool.MayRetry(outcome, len(tried)) {
			return nil, err
		}
		next, errPick := t.route.Pool.Pick(r.Context(), &want, tried)
		if errPick != nil {
			return nil, err
		}
		pick, held = next, next.Backend
	}
}

// isFinalStatus reports whether a backend's answer to a plain request may have that status. RFC 9110 section 15: "values outside the
// range 100..599 are invalid". net/http's transport accepts any three digits, and its server panics at a status under 100. Interim
// answers the transport handles itself, except for a 101: the bytes after it would pass unread.
func isFinalStatus(status int) bool { return status >= 200 && status <= 599 }

// A clientBody is the body of a client's request. It is not closed with the request to a backend: another backend may want it. It
// knows whether the client broke it off.
type clientBody struct {
	io.Reader
	panics   recovery.Handler
	isBroken atomic.Bool // the transport reads on a goroutine of its own, which recovers no panic
}

func (b *clientBody) Read(p []byte) (n int, err error) {
	defer b.panics.Catch(room, func() {
		b.isBroken.Store(true)
		n, err = 0, upgrade.ErrInternal
	})
	n, err = b.Reader.Read(p)
	if err != nil && err != io.EOF {
		b.isBroken.Store(true)
	}
	return n, err
}

func (b *clientBody) Close() error { return nil }

// outgoing returns the request for a backend. body is nil if there is none.
func (t *plainTransport) outgoing(r *http.Request, e *exchange, b *balancer.Backend, body *clientBody) *http.Request {
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
	if body != nil {
		out.Body = body
	}
	return out
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
