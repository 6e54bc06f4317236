package proxy

import (
	"bytes"
	"context"
	"errors"
	stdlog "log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"sluice/upgrade"

	"sluice/proxy/reach"
	"sluice/proxy/route"
)

// plainIdle is how long a connection of plain requests may wait for its next one, on either side. As nginx's keepalive_timeout.
const plainIdle = 75 * time.Second

// plainServer returns net/http's server for a listener's plain requests. Its connections keep their own time for heads.
func (l *listener) plainServer() *http.Server {
	return &http.Server{
		Handler:        http.HandlerFunc(servePlain),
		IdleTimeout:    plainIdle,
		MaxHeaderBytes: 2 * upgrade.MaxHeadBytes, // what is larger never gets here
		ErrorLog:       stdLog(l.proxy.log, zap.ErrorLevel),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, plainConnKey{}, c)
		},
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateIdle {
				c.(*plainConn).finish()
			}
		},
	}
}

// stdLog returns a logger as net/http wants one. What it logs are faults of our own.
func stdLog(log *zap.Logger, level zapcore.Level) *stdlog.Logger {
	l, err := zap.NewStdLogAt(log, level)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return l
}

type plainConnKey struct{}

// plainRoute returns the route of a request that goes to net/http; nil: it is a handshake's, which may refuse it.
func (l *listener) plainRoute(r *upgrade.Request) *route.Route {
	if r.IsWebSocket() || l.redirectsHTTPS {
		return nil
	}
	route := l.proxy.routes.Load().Find(l.name, r.Hostname(), r.Path())
	if route == nil || !route.PassesHTTP || r.IsEncodedSlash() && !route.PassesEncodedSlash {
		return nil
	}
	return route
}

// servePlain is the handler of every plain request: the connection knows its route.
func servePlain(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(plainConnKey{}).(*plainConn)
	request := c.current()
	if request == nil {
		panic(http.ErrAbortHandler) // net/http reads a request where upgrade saw none: they disagree, and nothing may pass
	}
	e := &exchange{plainRequest: request, conn: c}
	counted := &countedWriter{ResponseWriter: w, panics: c.panics(), isHTTP10: !r.ProtoAtLeast(1, 1)}
	isWhole := false
	defer func() {
		c.answered(isWhole)
		if isWhole && r.ContentLength != 0 {
			// net/http discards the rest of a body after the answer, too, but then reads on at once, on another goroutine, for what it
			// takes to be the next request: the two reads met (golang.org/issue/68560).
			_ = http.NewResponseController(w).Flush()
			_ = r.Body.Close()
		}
		c.panics().Guard(room, func() {
			c.listener.proxy.metrics.plain(request.route, counted.status)
			c.listener.proxy.logPlain(c.listener, e, counted)
		})
	}()
	if isWhole = e.serve(counted, r); !isWhole {
		panic(http.ErrAbortHandler)
	}
}

// serve passes the request on, and reports whether the client got a whole answer. It recovers every panic but http.ErrAbortHandler.
func (e *exchange) serve(w *countedWriter, r *http.Request) (isWhole bool) {
	panics := e.conn.panics()
	if panics != nil {
		defer func() {
			switch cause := recover(); cause {
			case nil:
			case http.ErrAbortHandler:
				panic(cause)
			default:
				panics.Told(room, cause, func() { isWhole = e.abandon(w) })
			}
		}()
	}
	// A backend may answer before it has read all, and the client goes on sending.
	_ = http.NewResponseController(w).EnableFullDuplex()
	for _, name := range []string{"Upgrade", "Http2-Settings"} {
		r.Header.Del(name) // or ReverseProxy would ask the backend for it
	}
	e.route.Plain.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, e)))
	return true
}

// abandon ends the exchange after a panic. The client gets a 502, unless another answer has begun: then isWhole is false.
func (e *exchange) abandon(w *countedWriter) (isWhole bool) {
	if e.answer != nil {
		_ = e.answer.Close()
	}
	if w.status != 0 {
		return false
	}
	clear(w.Header())
	rejectPlain(w, upgrade.ErrInternal)
	return true
}

// An exchange is one plain request on its way to a backend and back.
type exchange struct {
	*plainRequest
	conn    *plainConn
	backend string
	cookie  string
	answer  *releasingBody // the body of the backend's answer; nil: there is no answer yet
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange { return ctx.Value(exchangeKey{}).(*exchange) }

// A plainHandler serves the plain requests of a route. It implements route.Plain.
type plainHandler struct {
	*httputil.ReverseProxy
	transport *plainTransport
}

// CloseIdleConnections implements route.Plain.
func (h *plainHandler) CloseIdleConnections() { h.transport.http.CloseIdleConnections() }

// newPlainHandler returns the handler of a route's plain requests.
func (p *Proxy) newPlainHandler(r *route.Route) *plainHandler {
	transport := newPlainTransport(r, p.dialer(r.PoolName))
	return &plainHandler{transport: transport, ReverseProxy: &httputil.ReverseProxy{
		Rewrite:       rewrite,
		Transport:     transport,
		FlushInterval: -1, // what comes passes at once: server-sent events, long polls
		BufferPool:    &p.copyBuffers,
		ErrorLog:      stdLog(p.log, zap.DebugLevel),
		ModifyResponse: func(resp *http.Response) error {
			if e := exchangeOf(resp.Request.Context()); e.cookie != "" {
				resp.Header.Add("Set-Cookie", e.cookie)
			}
			return nil
		},
		ErrorHandler: refusePlain,
	}}
}

// rewrite makes the backend's request of the client's: net/http's, with the fields that a handshake would send too.
func rewrite(pr *httputil.ProxyRequest) {
	e := exchangeOf(pr.In.Context())
	header := http.Header{}
	f := e.client.Forward(e.route)
	for name, value := range e.Forwarded(&f) {
		header.Add(name, value)
	}
	pr.Out.Header = header
	pr.Out.Host = string(e.Host())
	pr.Out.URL = e.target()
	pr.Out.Trailer = nil // RFC 9110 section 6.5.1: they may be dropped, and a backend may take them for fields that we judge
}

// target returns the URL for the backend: the target as it was sent, less the route's strip_prefix. The transport fills in the host.
func (e *exchange) target() *url.URL {
	raw := e.RawPath()
	if e.route.StripPrefix > 0 {
		raw = upgrade.BehindPrefix(raw, e.route.StripPrefix)
	}
	path := string(raw)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	u := &url.URL{Scheme: "http", RawQuery: string(e.Query()), ForceQuery: bytes.IndexByte(e.Target(), '?') >= 0}
	if !strings.HasPrefix(path, "//") {
		u.Opaque = path // sent as it is: Path would be encoded anew
		return u
	}
	// As Opaque, two slashes would begin an authority.
	u.Path, u.RawPath = path, path
	if decoded, err := url.PathUnescape(path); err == nil {
		u.Path = decoded
	}
	return u
}

// refusePlain answers a plain request that got no answer.
func refusePlain(w http.ResponseWriter, r *http.Request, err error) {
	var rejection *upgrade.Rejection
	switch {
	case errors.As(exchangeOf(r.Context()).conn.blamed(), &rejection):
	case r.Context().Err() != nil:
		panic(http.ErrAbortHandler) // the client has gone
	case errors.As(err, &rejection):
	default:
		rejection = reach.Rejection(err, reach.OutcomeOf(err))
	}
	rejectPlain(w, rejection)
}

func rejectPlain(w http.ResponseWriter, rejection *upgrade.Rejection) {
	for _, f := range rejection.Header {
		w.Header().Set(f.Name, f.Value)
	}
	w.Header().Set("Connection", "close")
	http.Error(w, rejection.Text, rejection.Status)
}
