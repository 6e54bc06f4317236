package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"sluice/internal/dashboard"
	"sluice/internal/recovery"
	"sluice/proxy"
)

// Options are what a Server needs.
type Options struct {
	// Config is the section; its Address is not empty.
	Config Config
	// Gatherer holds the metrics.
	Gatherer prometheus.Gatherer
	// IsReady reports whether the gateway takes new sessions. It is called by any goroutine.
	IsReady func() bool
	// Proxy is what the API shows and changes.
	Proxy *proxy.Proxy
	// Process returns what the status says of the process. It is called by any goroutine, and doesn't wait for a reload.
	Process func() Process
	// Level is that of Log and of every logger that it was made of.
	Level zap.AtomicLevel
	// Configuration returns the configuration that runs. It is called by any goroutine, and doesn't wait for a reload.
	Configuration func() *Configuration
	// Reload reads the configuration anew and returns when it is in use, or all of its problems. waiting are the keys that only a
	// restart makes effective. It is called by any goroutine; nil: the API has no reload.
	Reload func(context.Context) (waiting []string, err error)
	// Upgrade starts the program anew and hands all to the new process; it returns when that is done, or why it is not. It is called by any
	// goroutine; nil: the API has no upgrade.
	Upgrade func(context.Context) (*Upgraded, error)
	// Inherited returns the socket that another process has opened for the address, which the Server then owns; nil: there is none. The func
	// may be nil.
	Inherited func(address string) net.Listener
	// Log receives what goes wrong.
	Log *zap.Logger
	// Panics is called for each panic of a handler; nil: panics are not recovered.
	Panics recovery.Handler
}

// A Server is the admin listener. Immutable after Listen, but for the http.Server, which guards itself, and the count.
type Server struct {
	listener *pausableListener
	http     *http.Server
	log      *zap.Logger
	panics   recovery.Handler
	served   chan struct{} // closed when Serve has returned
	open     atomic.Int64  // connections
}

// Listen binds the address and reads the token. The caller runs Serve and then Shutdown, or only Close.
func Listen(options Options) (*Server, error) {
	token := ""
	if options.Config.TokenFile != "" {
		var err error
		if token, err = ReadToken(options.Config.TokenFile); err != nil {
			return nil, fmt.Errorf("admin token file %s: %w", options.Config.TokenFile, err)
		}
	}
	listener, err := options.listen()
	if err != nil {
		return nil, err
	}
	log := options.Log.Named("admin")
	isLocal := listener.Addr().(*net.TCPAddr).IP.IsLoopback()
	s := &Server{
		listener: listener,
		http: &http.Server{
			Handler:           newHandler(options, token, isLocal),
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      30 * time.Second,
			IdleTimeout:       60 * time.Second,
			MaxHeaderBytes:    16 << 10,
			// OPTIONS * is refused as JSON, as all else is.
			DisableGeneralOptionsHandler: true,
			ErrorLog:                     zap.NewStdLog(log),
		},
		log:    log,
		panics: options.Panics,
		served: make(chan struct{}),
	}
	s.http.ConnState = s.count
	return s, nil
}

// count follows the connections.
func (s *Server) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.open.Add(-1)
	}
}

// listen opens the listening socket, unless the process has inherited it.
func (o *Options) listen() (*pausableListener, error) {
	if o.Inherited != nil {
		if tcp, isTCP := o.Inherited(o.Config.Address).(*net.TCPListener); isTCP {
			return newPausableListener(tcp), nil
		}
	}
	listener, err := net.Listen("tcp", o.Config.Address)
	if err != nil {
		return nil, err
	}
	return newPausableListener(listener.(*net.TCPListener)), nil
}

// Addr returns the address that is bound.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// File returns a duplicate of the listening socket, which the caller closes.
func (s *Server) File() (*os.File, error) { return s.listener.File() }

// PauseAccepting makes connections wait in the listening socket, until resume is called. Those that were accepted go on.
func (s *Server) PauseAccepting() (resume func()) { return s.listener.pause() }

// Serve answers requests until Shutdown. It blocks.
func (s *Server) Serve() {
	defer close(s.served)
	defer s.panics.Catch(room, nil)
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		s.log.Error("admin listener ended", zap.Error(err))
	}
}

// Shutdown closes the listener, answers the requests of the connections that it has accepted until ctx ends, cuts the rest, and
// returns when Serve has. Serve must have been started.
func (s *Server) Shutdown(ctx context.Context) error {
	// Once its Shutdown has begun, http.Server closes a connection whose first request comes, without an answer.
	s.listener.pause()
	s.http.SetKeepAlivesEnabled(false)
	s.awaitConns(ctx)
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.served
	return err
}

// awaitConns waits until no connection is open, or ctx ends.
func (s *Server) awaitConns(ctx context.Context) {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for s.open.Load() > 0 {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// Close closes the listener of a server for which Serve was not called.
func (s *Server) Close() error { return s.listener.Close() }

// newHandler returns all that the listener answers.
func newHandler(options Options, token string, isLocal bool) http.Handler {
	routes := newRouter()
	routes.handle("GET", "/{$}", dashboard.Handler(token != ""))
	routes.handle("GET", "/healthz", handleHealth)
	routes.handle("GET", "/readyz", options.handleReady)
	metrics := promhttp.HandlerFor(options.Gatherer, promhttp.HandlerOpts{
		ErrorLog: zap.NewStdLog(options.Log.Named("admin")),
		// A metric that can't be read is no reason to hide the others.
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
		Timeout:             10 * time.Second,
	})
	routes.handle("GET", "/metrics", metrics.ServeHTTP)
	(&api{options, options.Log.Named("admin")}).addTo(routes)
	if options.Config.Pprof {
		addProfiles(routes)
	}

	var handler http.Handler = limitBody(routes)
	if token != "" {
		handler = requireToken(token, handler)
	}
	if isLocal {
		handler = requireLocalHost(requireOwnOrigin(handler))
	}
	return recoverPanics(options.Panics, handler)
}

// handleHealth says that the process lives.
func handleHealth(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// handleReady says whether the gateway takes new sessions, and has where to send them if ready_needs asks for that.
func (o *Options) handleReady(w http.ResponseWriter, _ *http.Request) {
	if !o.IsReady() {
		writeError(w, http.StatusServiceUnavailable, "draining")
		return
	}
	if o.Config.ReadyNeeds == readyNeedsPools {
		if down := o.Proxy.UnavailablePools(); len(down) > 0 {
			writeError(w, http.StatusServiceUnavailable, "no backend is available in pool "+strings.Join(down, ", "))
			return
		}
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}
