package plain

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"sluice/balancer"
	"sluice/proxy/reach"
	"sluice/proxy/route"
	"sluice/upgrade"
)

// A Request is one plain request, from its head to the end of its answer.
type Request struct {
	// Immutable after the head has been read.
	upgrade.Request
	Route  *route.Route
	Client reach.Client
	Start  time.Time // of its head
	// Refusal is the gateway's own answer if the request goes to no backend, or nil.
	Refusal *upgrade.Rejection

	// Owned by the goroutine that serves the request.
	Backend string // name of the one that was asked last; "": none was
	Status  int    // that the client got; 0: none yet
	Bytes   int64  // of the answer's body that were sent
	Reason  string // of the gateway's refusal; "": the backend has answered
	Cause   string // why no backend has answered, in words for an operator; "" if one has

	isPrivate     bool      // goes on a connection of its client alone
	attemptsUntil time.Time // when no other backend is tried any more, and no connection waited for

	pick    balancer.Pick  // of the last attempt
	answer  *releasingBody // the body of the backend's answer; nil: there is no answer yet
	opening []byte         // the first lines of that answer, where net/http would write others

	protocols []string // of Upgrade in that answer

	// Immutable.
	head []byte
	conn *Conn
}

type requestKey struct{}

// requestOf returns the request whose context, or one derived from it, ctx is.
func requestOf(ctx context.Context) *Request { return ctx.Value(requestKey{}).(*Request) }

// serve passes the request on, and reports whether the client got a whole answer. It recovers every panic but http.ErrAbortHandler.
func (r *Request) serve(w *writer, in *http.Request) (isWhole bool) {
	panics := r.conn.panics()
	if panics != nil {
		defer func() {
			switch cause := recover(); cause {
			case nil:
			case http.ErrAbortHandler:
				panic(cause)
			default:
				panics.Told(room, cause, func() { isWhole = r.abandon(w) })
			}
		}()
	}
	if r.Refusal != nil {
		r.Reason = r.Refusal.Reason
		reject(w, r.Refusal, in.ContentLength != 0)
		return true
	}
	if in.ContentLength > r.Route.MaxBody {
		reject(w, errBodyTooLarge, true)
		return true
	}
	// A backend may answer before it has read all, and the client goes on sending.
	_ = http.NewResponseController(w).EnableFullDuplex()
	for _, name := range []string{"Upgrade", "Http2-Settings"} {
		in.Header.Del(name) // or ReverseProxy would ask the backend for it
	}
	r.Route.Plain.ServeHTTP(w, in.WithContext(context.WithValue(in.Context(), requestKey{}, r)))
	return true
}

// abandon ends the request after a panic. The client gets a 502, unless another answer has begun: then isWhole is false.
func (r *Request) abandon(w *writer) (isWhole bool) {
	if r.answer != nil {
		_ = r.answer.Close()
	}
	if r.Status != 0 {
		return false
	}
	r.opening = nil
	clear(w.Header())
	reject(w, upgrade.ErrInternal, true)
	return true
}

// header returns the fields for the backend.
func (r *Request) header(f *upgrade.Forward) http.Header {
	header := http.Header{}
	for name, value := range r.Forwarded(f) {
		header.Add(name, value)
	}
	if _, isSet := header["User-Agent"]; !isSet {
		header.Set("User-Agent", "") // or net/http would send its own
	}
	return header
}

// url returns the URL for the backend: the target as it was sent, with the path that f describes. The transport fills in the host.
func (r *Request) url(f *upgrade.Forward) *url.URL {
	path := string(r.AppendPath(nil, f))
	u := &url.URL{Scheme: "http", RawQuery: string(r.Query()), ForceQuery: bytes.IndexByte(r.Target(), '?') >= 0}
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

// change changes the backend's answer on its way to the client, and notes the lines that net/http would write otherwise.
func (r *Request) change(resp *http.Response) {
	change := r.Client.Answer(r.Route, &r.Request, r.pick.Backend, r.pick.SetCookie)
	for name, values := range resp.Header {
		switch {
		case change.Replaces(name):
			delete(resp.Header, name)
		case change.Rewrite != nil:
			for i, value := range values {
				values[i] = change.Rewrite(name, value)
			}
		}
	}
	for _, f := range change.SetHeaders {
		resp.Header.Set(f.Name, f.Value)
	}
	for _, f := range change.AddHeaders {
		resp.Header.Add(f.Name, f.Value)
	}
	r.opening = openingOf(resp, r.protocols)
}
