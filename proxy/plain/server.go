package plain

import (
	"context"
	stdlog "log"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"sluice/internal/recovery"
	"sluice/proxy/reach"
	"sluice/proxy/route"
	"sluice/upgrade"
)

// Config is what a Server needs of the gateway. Its functions are called by any goroutine.
type Config struct {
	Addr        net.Addr      // that clients connect to
	HeadTimeout time.Duration // for a head, from its first byte
	// Route returns the route of a request of that client; nil: the request is not for the server.
	Route func(*reach.Client, *upgrade.Request) *route.Route
	// Identify completes a client by the head of its request, which has that id.
	Identify func(c *reach.Client, r *upgrade.Request, id uint64)
	// Admit admits a request to its route, of which it may choose another pool, and acquires the place that Release releases. It returns the
	// gateway's own answer if the request goes no further; then there is no place to release.
	Admit   func(*Request) *upgrade.Rejection
	Release func(*Request)
	// MaxIdle bounds the connections that wait for their next request: of more than that the one that has waited longest is closed. 0 means
	// no limit.
	MaxIdle int
	// IsIdle is called after a connection has begun to wait.
	IsIdle func()
	// Served accounts for a request that is over: metrics, its access line.
	Served func(*Request)

	Stopped <-chan struct{} // closed when the gateway stops, whose connections are cut then; nil: never
	Log     *zap.Logger
	Panics  recovery.Handler // nil: panics are not recovered
}

// room is the name of this part of the program in calls of Config.Panics.
const room = "proxy"

// IdleTimeout is how long a connection may wait for its next request, on either side. As nginx's keepalive_timeout.
const IdleTimeout = 75 * time.Second

// A Server serves the plain requests of a listener. Its methods may be called from any goroutine.
type Server struct {
	config   Config
	http     *http.Server
	listener *listener
	idle     idle
}

// NewServer returns a server that does not run yet.
func NewServer(c Config) *Server {
	return &Server{config: c, listener: newListener(c.Addr), idle: newIdle(c.MaxIdle), http: &http.Server{
		Handler:        http.HandlerFunc(serve),
		IdleTimeout:    IdleTimeout,
		MaxHeaderBytes: 2 * upgrade.MaxHeadBytes, // what is larger never gets here
		ErrorLog:       stdLog(c.Log, zap.ErrorLevel),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateIdle {
				c.(*Conn).wait()
			}
		},
	}}
}

// stdLog returns a logger as net/http wants one.
func stdLog(log *zap.Logger, level zapcore.Level) *stdlog.Logger {
	l, err := zap.NewStdLogAt(log, level)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return l
}

// Run serves until Close or Shutdown.
func (s *Server) Run() { _ = s.http.Serve(s.listener) }

// Close has the server take no more connections. Those that it has go on.
func (s *Server) Close() { _ = s.listener.Close() }

// Idle returns how many connections wait for their next request, and how many may; 0 means that there is no limit.
func (s *Server) Idle() (n, limit int) { return s.idle.len(), s.config.MaxIdle }

// CloseIdle closes up to n connections that wait for their next request, those first that have waited longest.
func (s *Server) CloseIdle(n int64) { s.idle.close(n) }

// EndKeepAlive ends each connection after the request under way.
func (s *Server) EndKeepAlive() { s.http.SetKeepAlivesEnabled(false) }

// Shutdown takes no more connections, and waits until the requests under way are over, or ctx ends.
func (s *Server) Shutdown(ctx context.Context) { _ = s.http.Shutdown(ctx) }

// serve is the handler of every plain request: the connection knows its route.
func serve(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(connKey{}).(*Conn)
	request := c.current()
	if request == nil {
		panic(http.ErrAbortHandler) // net/http reads a request where upgrade saw none: they disagree, and nothing may pass
	}
	answer := &writer{ResponseWriter: w, request: request, isHTTP10: !r.ProtoAtLeast(1, 1), expects: r.Header.Get("Expect") != ""}
	isWhole := false
	defer func() {
		if !isWhole && request.Status != 0 {
			_ = http.NewResponseController(w).Flush() // what came of the answer
		}
		c.answered(isWhole, answer.isHTTP10 && w.Header().Get("Content-Length") == "")
		c.panics().Guard(room, func() { c.config().Served(request) })
		if isWhole && r.ContentLength != 0 && !c.panics().Guard(room, func() { discard(w, r) }) {
			c.answered(false, false)
			panic(http.ErrAbortHandler)
		}
	}()
	if isWhole = request.serve(answer, r); !isWhole {
		panic(http.ErrAbortHandler)
	}
}

// discard sends what is left of the answer, and then discards what is left of the request's body. net/http does so, too, but then reads on
// at once, on another goroutine, for what it takes to be the next request: the two reads met (golang.org/issue/68560). It blocks for
// write_timeout at most.
func discard(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).Flush()
	_ = r.Body.Close()
}
