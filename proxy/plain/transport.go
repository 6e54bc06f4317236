package plain

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"sluice/balancer"
	"sluice/internal/netconn"
	"sluice/internal/recovery"
	"sluice/proxy/reach"
	"sluice/upgrade"
)

// A Transport sends plain requests to the backends of a pool.
type Transport struct {
	*http.Transport // to the backend that was picked
	Dialer          reach.Dialer
	open            *atomic.Int64 // connections to backends
	log             *zap.Logger
	isHTTP2         bool // requests share connections

	isPerClient atomic.Bool // a backend has asked a client to authenticate its connection
}

// maxAnswerHead bounds the head of a backend's answer to a plain request, interim answers included.
const maxAnswerHead = 64 << 10

// pingTimeout is how long a backend may send nothing on a connection of HTTP/2 before it is pinged: requests would go on to a dead one.
const pingTimeout = 30 * time.Second

func newTransport(d reach.Dialer, isHTTP2 bool, open *atomic.Int64, log *zap.Logger) *Transport {
	t := &Transport{Dialer: d, open: open, log: log, isHTTP2: isHTTP2}
	t.Transport = &http.Transport{
		DialContext:            t.dial,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    64,
		MaxIdleConns:           1024,
		IdleConnTimeout:        IdleTimeout,
		ExpectContinueTimeout:  time.Second, // as http.DefaultTransport
		MaxResponseHeaderBytes: maxAnswerHead,
	}
	if isHTTP2 {
		// dial makes the handshake of TLS, so that every connection looks unencrypted to net/http.
		t.Protocols, t.DialTLSContext = new(http.Protocols), t.dial
		t.Protocols.SetUnencryptedHTTP2(true)
		t.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingTimeout}
	}
	return t
}

// RoundTrip implements http.RoundTripper. Another backend is tried as for a handshake, if the request can be repeated.
func (t *Transport) RoundTrip(in *http.Request) (*http.Response, error) {
	r := requestOf(in.Context())
	pool := r.Route.Pool
	want := balancer.Request{Client: r.Client.Addr.Addr(), Head: &r.Request}
	r.isPrivate = t.isPrivate(r)
	pick, err := t.pick(in.Context(), r, &want)
	if err != nil {
		r.Cause = err.Error()
		return nil, reach.Unpicked(err)
	}
	held := pick.Backend
	defer func() {
		if held != nil { // after a panic
			held.Release(balancer.GatewayFault)
		}
	}()
	var body *clientBody
	if in.Body != nil {
		body = &clientBody{Reader: in.Body, request: r, left: r.Route.MaxBody}
	}
	r.attemptsUntil = time.Now().Add(r.Route.HandshakeTimeout)
	var tried []*balancer.Backend
	for {
		r.Backend, r.pick = pick.Backend.Name(), pick
		resp, err := t.send(outgoing(in, r, pick.Backend, body), r, body)
		if err == nil && !isFinalStatus(resp.StatusCode) {
			if t.isHTTP2 && body != nil {
				body.stop() // Close waits for its reader
			}
			_ = resp.Body.Close()
			err = upgrade.ErrBadAnswer
		}
		var outcome balancer.Outcome
		switch {
		case err == nil:
			outcome = balancer.Outcome(resp.StatusCode)
		case body != nil && body.isBroken.Load():
			outcome = balancer.ClientFault
		case in.Context().Err() != nil && (body == nil || !body.isStopped.Load()): // net/http takes a stop for the client's end
			outcome = balancer.ClientFault
		default:
			outcome = reach.OutcomeOf(err)
		}
		tried = append(tried, pick.Backend)
		var next balancer.Pick
		isNext := false
		if time.Now().Before(r.attemptsUntil) && (reach.IsUnsent(err) || isRepeatable(in)) {
			next, isNext, _ = reach.NextBackend(pool, &want, tried, outcome)
		}
		if err == nil && !isNext {
			t.noteAnswer(r, pick.Backend, resp)
			resp.Request, r.Cause = in, ""
			if t.isHTTP2 && body != nil {
				resp.Body = streamAnswer{resp.Body, r.conn.panics()}
			}
			r.answer = &releasingBody{ReadCloser: resp.Body, pick: pick, status: resp.StatusCode}
			r.protocols = resp.Header["Upgrade"] // which ReverseProxy removes
			resp.Body, held = r.answer, nil
			return resp, nil
		}
		if err == nil {
			_ = resp.Body.Close()
		}
		t.logAttempt(r, pick.Backend, resp, err)
		held = next.Backend
		r.Cause = reach.Cause(err, outcome)
		pick.Backend.ReleaseFailed(outcome, r.Cause)
		if !isNext {
			return nil, err
		}
		pick = next
	}
}

// logAttempt tells of an attempt whose answer, if there is one, doesn't pass.
func (t *Transport) logAttempt(r *Request, b *balancer.Backend, resp *http.Response, err error) {
	ce := t.log.Check(zap.DebugLevel, "request to a backend ended")
	if ce == nil {
		return
	}
	if err == nil {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	ce.Write(zap.String("session", r.Client.RequestID), zap.String("backend", b.Name()), zap.Error(err))
}

// isRepeatable reports whether a request may be sent to another backend after one may have got it: it has no body, and RFC 9110 section
// 9.2.2 calls its method idempotent.
func isRepeatable(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return r.Body == nil
	default:
		return false
	}
}

// isFinalStatus reports whether a backend's answer to a plain request may have that status. RFC 9110 section 15: "values outside the
// range 100..599 are invalid". net/http's transport accepts any three digits, and its server panics at a status under 100. Interim
// answers the transport handles itself, except for a 101: the bytes after it would pass unread.
func isFinalStatus(status int) bool { return status >= 200 && status <= 599 }

type backendKey struct{}

// outgoing returns the request for a backend. body is nil if there is none.
func outgoing(in *http.Request, r *Request, b *balancer.Backend, body *clientBody) *http.Request {
	out := in.WithContext(context.WithValue(in.Context(), backendKey{}, b))
	f := r.Client.Forward(r.Route, &r.Request, b)
	out.Header = r.header(&f)
	u := r.url(&f)
	u.Host = keyOf(r, b)
	if _, isTLS := b.TLS(); isTLS && r.Route.IsHTTP2 {
		u.Scheme = "https" // over HTTP/1.1 no backend sees it
	}
	out.URL = u
	if f.Host != "" {
		out.Host = f.Host
	}
	if out.Host == "" { // of a client that speaks HTTP/1.0
		out.Host = "localhost"
		if b.Network() == "tcp" {
			out.Host = b.Address()
		}
	}
	switch {
	case body != nil:
		out.Body = body
	case r.Route.IsHTTP2: // the transport repeats only what the backend has refused unread
	case !isRepeatable(in) || !r.Route.Pool.MayRetry(balancer.HandshakeReset, 0):
		keepFromRepeating(out)
	}
	return out
}

// keepFromRepeating keeps net/http's transport from sending a request without a body again by itself, as it does when a connection that
// has served another request ends without an answer, if the method is safe or the client says that the request is idempotent.
func keepFromRepeating(out *http.Request) {
	switch out.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		out.Body = io.NopCloser(http.NoBody) // is found out to be empty, and not sent
	default:
		for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
			if values, isSet := out.Header[name]; isSet {
				delete(out.Header, name)
				out.Header[strings.ToLower(name)] = values // case counts for the transport alone
			}
		}
	}
}

// keyOf is the name under which connections to a backend wait for the next request; it is never resolved. A connection that began with
// a client's PROXY header is of use to that client alone, and a private one to that connection of the client.
func keyOf(r *Request, b *balancer.Backend) string {
	switch {
	case r.isPrivate:
		return fmt.Sprintf("%x-%p.backend", b.Name(), r.conn)
	case r.Route.SendsProxy:
		return fmt.Sprintf("%x-%x.backend", b.Name(), r.Client.Peer.String())
	default:
		return fmt.Sprintf("%x.backend", b.Name())
	}
}

// send sends the request to its backend. The head of the answer has to come within the route's response_timeout after all is sent. body is
// nil if there is none.
func (t *Transport) send(out *http.Request, r *Request, body *clientBody) (*http.Response, error) {
	ctx, cancel := context.WithCancel(out.Context()) // ends with that of the client's request, at the latest
	var hasBegun atomic.Bool                         // a part of the answer's head has come
	var isOver atomic.Bool                           // the head has come, or the time has passed: whichever is first
	timer := time.AfterFunc(math.MaxInt64, func() {
		if !isOver.Swap(true) {
			cancel()
		}
	})
	defer timer.Stop()
	var conn *backendConn
	isReused := false // the connection has served another request
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			conn, isReused = info.Conn.(*backendConn), info.Reused
			conn.begin(r, body)
		},
		WroteRequest:         func(httptrace.WroteRequestInfo) { timer.Reset(r.Route.ResponseTimeout) },
		GotFirstResponseByte: func() { hasBegun.Store(true) },
	})
	out = out.WithContext(ctx)
	if t.isHTTP2 && body != nil {
		out.Body = &streamBody{clientBody: body, hasAnswer: &hasBegun}
	}
	resp, err := t.Transport.RoundTrip(out)
	for err != nil && isReused && !conn.isWritten.Load() && body == nil && ctx.Err() == nil { // it had ended before
		isReused = false
		resp, err = t.Transport.RoundTrip(out)
	}
	isInTime := !isOver.Swap(true)
	if err == nil {
		conn.hasAnswered()
		if !isInTime {
			_ = resp.Body.Close()
		} else if fault := conn.answer.fault(); fault != nil {
			_ = conn.Close()
			_ = resp.Body.Close()
			return nil, fault
		}
	}
	if !isInTime {
		resp, err = nil, fmt.Errorf("wait for the answer of backend %s: %w", r.Backend, os.ErrDeadlineExceeded)
	}
	if err != nil && hasBegun.Load() {
		err = &reach.AnswerError{Err: err}
	}
	return resp, err
}

// dial connects to the backend that the request was given. net/http's transport calls it on a goroutine that recovers no panic.
func (t *Transport) dial(ctx context.Context, _, _ string) (conn net.Conn, err error) {
	r := requestOf(ctx)
	panics := r.conn.panics()
	defer panics.Catch(room, func() {
		if conn != nil {
			_ = conn.Close()
		}
		conn, err = nil, upgrade.ErrInternal
	})
	b := ctx.Value(backendKey{}).(*balancer.Backend)
	ctx, cancelAll := context.WithDeadline(ctx, r.attemptsUntil)
	defer cancelAll()
	ctx, cancel := context.WithTimeout(ctx, r.Route.ConnectTimeout)
	defer cancel()
	var opening []byte
	if r.Route.SendsProxy {
		opening = r.Client.ProxyHeader()
	}
	conn, err = t.Dialer.Dial(ctx, b, opening)
	if err != nil {
		return nil, err
	}
	netconn.KeepAlive(netconn.Socket(conn)) // TCP finds out that a backend has gone from which a stream of events comes
	backend := &backendConn{Conn: conn, panics: panics, open: t.open, isShared: t.isHTTP2}
	backend.writeTimeout.Store(int64(r.Route.WriteTimeout)) // for what HTTP/2 begins with
	t.open.Add(1)
	if r.isPrivate {
		backend.owner = r.conn
		if !r.conn.adopt(backend) {
			_ = backend.Close()
			return nil, net.ErrClosed
		}
	}
	return backend, nil
}

// A streamAnswer is the body of an answer over HTTP/2 whose request has a body. net/http's Close waits until that is read no more, which is
// when the request is over: a backend may answer before.
type streamAnswer struct {
	io.ReadCloser
	panics recovery.Handler
}

func (a streamAnswer) Close() error {
	go a.close()
	return nil
}

func (a streamAnswer) close() { a.panics.Guard(room, func() { _ = a.ReadCloser.Close() }) }

// A releasingBody is the body of an answer. Its end gives back the backend's place.
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
