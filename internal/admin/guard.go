package admin

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"sluice/internal/recovery"
)

// What is wrong with a token's file. No error contains any of its content.
var (
	errTokenUnreadable = errors.New("can't be read")
	errTokenNoFile     = errors.New("not a file of at most 4096 bytes")
	errTokenShort      = errors.New("the token is too short to be safe")
	errTokenCharacters = errors.New("the token has characters that a header can't carry")
)

// room is the name of this package in calls of Options.Panics.
const room = "admin"

// recoverPanics answers a request whose handler panics with 500. Where another answer has begun, it closes the connection.
func recoverPanics(panics recovery.Handler, next http.Handler) http.Handler {
	if panics == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &answer{ResponseWriter: w}
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if cause != http.ErrAbortHandler {
				panics.Told(room, cause, nil)
			}
			if cause == http.ErrAbortHandler || answer.hasBegun {
				panic(http.ErrAbortHandler) // net/http closes the connection
			}
			clear(w.Header())
			writeError(w, http.StatusInternalServerError, "the gateway failed to answer; its log has the stack")
		}()
		next.ServeHTTP(answer, r)
	})
}

// An answer records whether it has begun.
type answer struct {
	http.ResponseWriter
	hasBegun bool
}

func (a *answer) WriteHeader(status int) {
	a.hasBegun = true
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(p []byte) (int, error) {
	a.hasBegun = true
	return a.ResponseWriter.Write(p)
}

// Unwrap is how net/http's ResponseController reaches the rest.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// requireToken passes requests that carry the token. Probes need none: an orchestrator has no place for it, and they reveal nothing. The
// dashboard's page needs none either: it asks its user for the token and shows nothing before.
func requireToken(token string, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/", "/healthz", "/readyz":
			next.ServeHTTP(w, r)
			return
		}
		scheme, credentials, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		// The sums have one length, so that the comparison's time doesn't reveal the token's.
		got := sha256.Sum256([]byte(strings.TrimSpace(credentials)))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="sluice"`)
			writeError(w, http.StatusUnauthorized, "a bearer token is required")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// requireLocalHost lets requests pass whose Host names this machine. A page of another site can make
// a browser here ask any name that its owner lets resolve to 127.0.0.1 (DNS rebinding): then Host is
// that name.
func requireLocalHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if !isLoopback(strings.Trim(host, "[]")) {
			writeError(w, http.StatusForbidden, "the Host of the request is not this machine")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// requireOwnOrigin refuses what a page of another site makes a browser here ask: its requests carry that site's Origin, or none
// that a page may have. This listener's own pages send its Host.
func requireOwnOrigin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		isOwn := true
		for _, origin := range r.Header.Values("Origin") {
			_, host, _ := strings.Cut(origin, "://")
			isOwn = isOwn && host != "" && strings.EqualFold(host, r.Host)
		}
		isSafe := r.Method == http.MethodGet || r.Method == http.MethodHead
		switch r.Header.Get("Sec-Fetch-Site") {
		case "", "none", "same-origin":
		default:
			// A link on another site may lead here, but may not change anything.
			isOwn = isOwn && isSafe
		}
		if !isOwn {
			writeError(w, http.StatusForbidden, "the request comes from a page of another site")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// mostBodyBytes bounds the body of a request: none here has more than a line.
const mostBodyBytes = 16 << 10

// limitBody reads the body of a request, and refuses one that is too long whether or not anybody wants it.
func limitBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostBodyBytes))
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			w.Header().Set("Connection", "close") // the rest of the body isn't read
			writeError(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is over %d bytes", mostBodyBytes))
			return
		}
		if err != nil {
			writeError(w, http.StatusBadRequest, "the body can't be read")
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}
