package auth

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// A keyServer is an issuer of a test, whose answers to requests for its keys change.
type keyServer struct {
	*httptest.Server
	answer atomic.Pointer[http.HandlerFunc]
	asked  atomic.Int64 // requests
}

func newKeyServer(t *testing.T, answer http.HandlerFunc) *keyServer {
	s := &keyServer{}
	s.answer.Store(&answer)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		(*s.answer.Load())(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// says makes an answer of the server's.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
}

// run returns a running Authenticator that gets its keys from the server, and waits that long between two requests for them.
func (s *keyServer) run(t *testing.T, pause time.Duration) *Authenticator {
	t.Helper()
	c := newJWT(jose.ES256)
	c.JWKSURL = s.URL
	a := mustNew(t, c)
	a.kind.(*bearer).issuer.pause = pause
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		s.CloseClientConnections()
		running.Wait()
	})
	return a
}

func tokenOf(t *testing.T, id string) *Credentials {
	return &Credentials{text: signed(t, jose.ES256, signers()[jose.ES256], id, saying())}
}

// wantResult decides until the result is that one.
func wantResult(t *testing.T, a *Authenticator, c *Credentials, want string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		d := a.Decide(context.Background(), c)
		if d.Result == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("result %q, cause %q; want %q", d.Result, d.Cause, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestNewKeysAreFetchedForAnUnknownKeyId(t *testing.T) {
	key := signers()[jose.ES256]
	s := newKeyServer(t, says(jwks(map[string]any{"1": key})))
	a := s.run(t, time.Millisecond)
	wantResult(t, a, tokenOf(t, "1"), Accepted)
	if _, isKnown := a.TryDecide(tokenOf(t, "1"), time.Now()); !isKnown {
		t.Error("a token with a known key waits")
	}
	rotated := says(jwks(map[string]any{"2": key}))
	s.answer.Store(&rotated)
	var clients sync.WaitGroup
	for range 20 { // under load
		clients.Go(func() { wantResult(t, a, tokenOf(t, "2"), Accepted) })
	}
	clients.Wait()
	wantResult(t, a, tokenOf(t, "1"), Invalid) // it isn't the issuer's any more
}

func TestUnknownKeyIdsAskTheIssuerOnlyOnceInAWhile(t *testing.T) {
	s := newKeyServer(t, says(jwks(map[string]any{"1": signers()[jose.ES256]})))
	a := s.run(t, time.Hour)
	wantResult(t, a, tokenOf(t, "1"), Accepted)
	for i := range 20 {
		c := tokenOf(t, fmt.Sprint("guess", i))
		if d, isKnown := a.TryDecide(c, time.Now()); !isKnown || d.Result != Invalid {
			t.Errorf("TryDecide of an unknown key id = %q, %t; want %q, true", d.Result, isKnown, Invalid)
		}
		a.Decide(context.Background(), c)
	}
	if n := s.asked.Load(); n != 1 {
		t.Errorf("%d requests to the issuer; want 1", n)
	}
}

func TestAWrongSignatureWithAKnownKeyAsksNobody(t *testing.T) {
	s := newKeyServer(t, says(jwks(map[string]any{"1": signers()[jose.ES256]})))
	a := s.run(t, time.Millisecond)
	wantResult(t, a, tokenOf(t, "1"), Accepted)
	before := s.asked.Load()
	c := tokenOf(t, "1")
	c.text = c.text[:len(c.text)-8] + "AAAAAAAA"
	if d, isKnown := a.TryDecide(c, time.Now()); !isKnown || d.Result != Invalid || s.asked.Load() != before {
		t.Errorf("TryDecide = %q, %t, with %d requests; want %q, true, none", d.Result, isKnown, s.asked.Load()-before, Invalid)
	}
}

func TestTheKeysStayWhileTheIssuerFails(t *testing.T) {
	good := jwks(map[string]any{"1": signers()[jose.ES256]})
	for name, failure := range map[string]http.HandlerFunc{
		"an error":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"garbage":       says("\x00\xff{"),
		"a page":        says("<html>maintenance</html>"),
		"no keys":       says(`{"keys":[]}`),
		"null":          says("null"),
		"10 MB":         says(`{"keys":[` + strings.Repeat(" ", 10<<20)),
		"many keys":     says(`{"keys":[{}` + strings.Repeat(",{}", maxKeys) + `]}`),
		"a redirection": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/other", http.StatusFound) },
		"a torn answer": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"a slow one": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
		"no answer": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newKeyServer(t, says(good))
			a := s.run(t, time.Millisecond)
			wantResult(t, a, tokenOf(t, "1"), Accepted)
			s.answer.Store(&failure)
			start := time.Now()
			d := a.Decide(context.Background(), tokenOf(t, "2"))
			if d.Result != Invalid {
				t.Errorf("an unknown key id: result %q; want %q", d.Result, Invalid)
			}
			if took := time.Since(start); took > keysPatience+5*time.Second {
				t.Errorf("the client waited %v; want %v at most", took, keysPatience)
			}
			if d := a.Decide(context.Background(), tokenOf(t, "1")); d.Result != Accepted {
				t.Errorf("a known key id: result %q, cause %q; want %q", d.Result, d.Cause, Accepted)
			}
		})
	}
}

func TestWithoutAnyKeysTokensAreNeitherRightNorWrong(t *testing.T) {
	s := newKeyServer(t, says("garbage"))
	a := s.run(t, time.Millisecond)
	d := a.Decide(context.Background(), tokenOf(t, "1"))
	if d.Result != Unavailable || d.Refusal.Status != 503 {
		t.Errorf("result %q, refusal %v; want %q, 503", d.Result, d.Refusal, Unavailable)
	}
	good := says(jwks(map[string]any{"1": signers()[jose.ES256]}))
	s.answer.Store(&good)
	wantResult(t, a, tokenOf(t, "1"), Accepted)
}

func TestAnIssuerThatIsDownDelaysNoClientForLong(t *testing.T) {
	c := newJWT(jose.ES256)
	c.JWKSURL = "http://127.0.0.1:1/keys"
	a := mustNew(t, c) // it doesn't run: as if the request never ended
	start := time.Now()
	if d := a.Decide(context.Background(), tokenOf(t, "1")); d.Result != Unavailable {
		t.Errorf("result %q; want %q", d.Result, Unavailable)
	}
	if took := time.Since(start); took < keysPatience/2 || took > keysPatience+5*time.Second {
		t.Errorf("the client waited %v; want %v", took, keysPatience)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	a.Decide(ctx, tokenOf(t, "1")) // a client that has gone
}

func TestCacheControlSaysWhenKeysAreFetchedAgain(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": keysInterval, "no-cache": keysInterval, "max-age": keysInterval, "max-age=x": keysInterval, "max-age=-1": keysInterval,
		"max-age=300": 5 * time.Minute, "public, Max-Age=3600 ": time.Hour, `max-age="300"`: 5 * time.Minute,
		"max-age=1": minKeysInterval, "max-age=0": minKeysInterval, "max-age=999999": maxKeysInterval, "max-age=99999999999": keysInterval,
	} {
		if got := lifetime([]string{text}); got != want {
			t.Errorf("lifetime(%q) = %v; want %v", text, got, want)
		}
	}
}
