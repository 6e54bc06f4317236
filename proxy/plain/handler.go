package plain

import (
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"strconv"
	"sync/atomic"

	"go.uber.org/zap"

	"sluice/proxy/reach"
	"sluice/upgrade"
)

// A Handler passes plain requests on to the backends of a pool. The routes to the pool share it, and with it idle connections; what a
// route says of time applies to its own requests.
type Handler struct{ *httputil.ReverseProxy }

// NewHandler returns the handler for a pool, whose backends that dialer reaches. open counts the connections to them. With isHTTP2 the backends
// speak HTTP/2.
func NewHandler(d reach.Dialer, isHTTP2 bool, open *atomic.Int64, log *zap.Logger) *Handler {
	return &Handler{&httputil.ReverseProxy{
		Rewrite:       rewrite,
		Transport:     newTransport(d, isHTTP2, open, log),
		FlushInterval: -1, // what comes passes at once: server-sent events, long polls
		BufferPool:    new(copyBuffers),
		ErrorLog:      stdLog(log, zap.DebugLevel),
		ModifyResponse: func(resp *http.Response) error {
			requestOf(resp.Request.Context()).change(resp)
			return nil
		},
		ErrorHandler: refuse,
	}}
}

// CloseIdleConnections closes connections to backends that wait for a request, and those under way after theirs.
func (h *Handler) CloseIdleConnections() { h.Transport.(*Transport).CloseIdleConnections() }

// rewrite makes the backend's request of the client's: net/http's, with the fields that a handshake would send too. Its head is complete when
// the backend is chosen.
func rewrite(pr *httputil.ProxyRequest) {
	r := requestOf(pr.In.Context())
	pr.Out.Host = string(r.Host())
	if pr.Out.Body != nil {
		pr.Out.Body = pr.In.Body // ReverseProxy's own hides that it can't be read any more
	}
	pr.Out.Trailer = nil // RFC 9110 section 6.5.1: they may be dropped, and a backend may take them for fields that we judge
}

// refuse answers a request that got no answer.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	var rejection *upgrade.Rejection
	switch {
	case errors.As(requestOf(r.Context()).conn.blamed(), &rejection):
	case r.Context().Err() != nil:
		panic(http.ErrAbortHandler) // the client has gone
	case errors.As(err, &rejection):
	default:
		rejection = reach.Rejection(err, reach.OutcomeOf(err))
	}
	requestOf(r.Context()).Reason = rejection.Reason
	reject(w, rejection, true)
}

// reject answers a request with a rejection, after which the connection ends. The answer of a route that answers by itself ends no connection,
// unless the request has a body, which is not read.
func reject(w http.ResponseWriter, rejection *upgrade.Rejection, hasBody bool) {
	for _, f := range rejection.Header {
		w.Header().Set(f.Name, f.Value)
	}
	if rejection.Form == upgrade.Line || hasBody {
		w.Header().Set("Connection", "close")
	}
	if rejection.Form == upgrade.Line {
		http.Error(w, rejection.Text, rejection.Status)
		return
	}
	if upgrade.HasBody(rejection.Status) {
		w.Header().Set("Content-Length", strconv.Itoa(len(rejection.Text)))
	}
	w.WriteHeader(rejection.Status)
	if rejection.Form == upgrade.Whole {
		_, _ = io.WriteString(w, rejection.Text)
	}
}
