package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"sluice/balancer"
	"sluice/upgrade"
)

// plainIdle is how long a connection of plain requests may wait for its next one, on either side. As nginx's keepalive_timeout.
const plainIdle = 75 * time.Second

// plainServer returns net/http's server for a listener's plain requests.
func (l *listener) plainServer() *http.Server {
	return &http.Server{
		Handler:           http.HandlerFunc(servePlain),
		ReadHeaderTimeout: l.headTimeout,
		IdleTimeout:       plainIdle,
		MaxHeaderBytes:    2 * upgrade.MaxHeadBytes, // what is larger never gets here
		ErrorLog:          zap.NewStdLog(zap.NewNop()),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, plainConnKey{}, c)
		},
	}
}

type plainConnKey struct{}

// servePlain is the handler of every plain request: the connection knows its route.
func servePlain(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(plainConnKey{}).(*plainConn)
	defer c.finish()
	request := c.current()
	if request == nil {
		panic(http.ErrAbortHandler) // net/http reads a request where upgrade saw none: they disagree, and nothing may pass
	}
	exchange := &exchange{plainRequest: request, proxy: c.listener.proxy}
	counted := &countedWriter{ResponseWriter: w}
	ctx := context.WithValue(r.Context(), exchangeKey{}, exchange)
	request.route.plain.ServeHTTP(counted, r.WithContext(ctx))
	exchange.proxy.metrics.plain(request.route, counted.status)
	exchange.proxy.logPlain(c.listener, exchange, counted)
}

// An exchange is one plain request on its way to a backend and back.
type exchange struct {
	*plainRequest
	proxy   *Proxy
	backend string
	cookie  string
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange { return ctx.Value(exchangeKey{}).(*exchange) }

// plainProxy returns the handler of a route's plain requests.
func (p *Proxy) plainProxy(r *route) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:       rewrite,
		Transport:     newPlainTransport(r),
		FlushInterval: -1, // what comes passes at once: server-sent events, long polls
		BufferPool:    &p.copyBuffers,
		ErrorLog:      zap.NewStdLog(zap.NewNop()),
		ModifyResponse: func(resp *http.Response) error {
			// Bytes behind a 101 would pass unread.
			if resp.StatusCode == http.StatusSwitchingProtocols {
				return upgrade.ErrBadAnswer
			}
			if e := exchangeOf(resp.Request.Context()); e.cookie != "" {
				resp.Header.Add("Set-Cookie", e.cookie)
			}
			return nil
		},
		ErrorHandler: refusePlain,
	}
}

// rewrite makes the backend's request of the client's. ReverseProxy has taken the fields off that end at this hop.
func rewrite(pr *httputil.ProxyRequest) {
	e := exchangeOf(pr.In.Context())
	header := pr.Out.Header
	for name := range header {
		if upgrade.OnlyTrusted(name) && !(e.client.isTrusted && !strings.Contains(name, "_")) {
			delete(header, name)
		}
	}
	if e.client.isTrusted {
		// ReverseProxy drops these for every client.
		for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
			if v := pr.In.Header[name]; v != nil {
				header[name] = v
			}
		}
	}
	for _, name := range []string{"Upgrade", "Http2-Settings"} {
		header.Del(name)
	}
	if e.client.peer.IsValid() {
		forwarded := append(header["X-Forwarded-For"], e.client.peer.Addr().String())
		header["X-Forwarded-For"] = []string{strings.Join(forwarded, ", ")}
	}
	setIfAbsent(header, "X-Forwarded-Proto", e.client.proto)
	setIfAbsent(header, "X-Forwarded-Host", pr.In.Host)
	setIfAbsent(header, "X-Request-Id", e.client.requestID)
	for _, name := range e.route.removeHeaders {
		header.Del(name)
	}
	for _, f := range e.route.setHeaders {
		header.Set(f.Name, f.Value)
	}
	pr.Out.Host = pr.In.Host
	pr.Out.URL = e.target()
	if _, has := header["User-Agent"]; !has {
		header["User-Agent"] = nil // net/http would make one up
	}
}

func setIfAbsent(h http.Header, name, value string) {
	if len(h[name]) == 0 && value != "" {
		h.Set(name, value)
	}
}

// target returns the URL for the backend: the target as it was sent, less the route's strip_prefix. The transport fills in the host.
func (e *exchange) target() *url.URL {
	raw := e.RawPath()
	if e.route.stripPrefix > 0 {
		raw = upgrade.BehindPrefix(raw, e.route.stripPrefix)
	}
	opaque := string(raw)
	if !strings.HasPrefix(opaque, "/") {
		opaque = "/" + opaque
	}
	// Opaque is sent as it is: "*" of OPTIONS apart, any other way would encode the path anew. A path of two slashes would be taken
	// for an authority.
	u := &url.URL{Scheme: "http", Path: opaque, RawQuery: string(e.Query())}
	if path, err := url.PathUnescape(opaque); err == nil {
		u.Path, u.RawPath = path, opaque
	}
	return u
}

// refusePlain answers a plain request that got no answer.
func refusePlain(w http.ResponseWriter, r *http.Request, err error) {
	var rejection *upgrade.Rejection
	switch {
	case errors.As(err, &rejection):
	case isTimeout(err):
		rejection = upgrade.ErrBackendTimeout
	case errors.Is(err, context.Canceled):
		panic(http.ErrAbortHandler) // the client has gone
	default:
		rejection = upgrade.ErrDial
	}
	for _, f := range rejection.Header {
		w.Header().Set(f.Name, f.Value)
	}
	w.Header().Set("Connection", "close")
	http.Error(w, rejection.Text, rejection.Status)
}

// A plainTransport sends plain requests to the backends of a route's pool.
type plainTransport struct {
	route *route
	http  *http.Transport
}

func newPlainTransport(r *route) *plainTransport {
	dialer := net.Dialer{Timeout: r.connectTimeout, KeepAlive: -1}
	return &plainTransport{route: r, http: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			b := ctx.Value(backendKey{}).(*balancer.Backend)
			return dialer.DialContext(ctx, b.Network(), b.Address())
		},
		DisableCompression:    true,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       plainIdle,
		ResponseHeaderTimeout: r.responseTimeout,
	}}
}

type backendKey struct{}

// RoundTrip implements http.RoundTripper. A backend that can't be reached has seen nothing of the request: another one is tried.
func (t *plainTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	e := exchangeOf(r.Context())
	want := balancer.Request{Client: e.client.addr.Addr(), Head: &e.Request}
	body := r.Body
	defer func() {
		if body != nil {
			_ = body.Close()
		}
	}()
	var tried []*balancer.Backend
	var last error
	for {
		pick, err := t.route.pool.Pick(r.Context(), &want, tried)
		if err != nil {
			return nil, unpicked(err, last)
		}
		e.backend, e.cookie = pick.Backend.Name(), pick.SetCookie
		out := r.WithContext(context.WithValue(r.Context(), backendKey{}, pick.Backend))
		u := *r.URL
		u.Host = fmt.Sprintf("%x.backend", pick.Backend.Name()) // a key for the idle connections; nobody resolves it
		out.URL = &u
		if body != nil {
			out.Body = io.NopCloser(body)
		}
		resp, err := t.http.RoundTrip(out)
		if err == nil {
			resp.Request = r
			resp.Body = &releasingBody{ReadCloser: resp.Body, pick: pick, status: resp.StatusCode}
			return resp, nil
		}
		outcome, isDial := plainOutcome(err)
		if r.Context().Err() != nil {
			outcome = balancer.ClientFault
		}
		pick.Backend.Release(outcome)
		if !isDial || len(tried) >= t.route.retries || r.Context().Err() != nil {
			return nil, err
		}
		last, tried = err, append(tried, pick.Backend)
	}
}

// plainOutcome tells the pool what an error of the transport says about the backend.
func plainOutcome(err error) (o balancer.Outcome, isDial bool) {
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Op == "dial":
		return dialOutcome(err), true
	case isTimeout(err):
		return balancer.HandshakeTimeout, false
	default:
		return balancer.HandshakeReset, false
	}
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

// A countedWriter knows what was answered.
type countedWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *countedWriter) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *countedWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap is how net/http's ResponseController reaches Flush.
func (w *countedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// copyBuffers lends the buffers of bodies. It implements httputil.BufferPool.
type copyBuffers struct{ pool sync.Pool }

const copyBytes = 32 << 10

func (b *copyBuffers) Get() []byte {
	if p, ok := b.pool.Get().(*[copyBytes]byte); ok {
		return p[:]
	}
	return make([]byte, copyBytes)
}

func (b *copyBuffers) Put(p []byte) { b.pool.Put((*[copyBytes]byte)(p)) }
