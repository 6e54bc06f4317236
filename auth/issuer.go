package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Times of the keys of an issuer.
const (
	keysInterval    = 10 * time.Minute // between two requests for them, if the issuer says nothing else
	minKeysInterval = time.Minute      // bounds of what the issuer says
	maxKeysInterval = 24 * time.Hour
	keysPause       = 10 * time.Second // between the beginnings of two requests, whatever the reason
	keysTimeout     = 10 * time.Second // for a request
	keysPatience    = 2 * time.Second  // for which the request of a client waits for new keys
)

// maxKeysBytes bounds the answer of an issuer.
const maxKeysBytes = 1 << 20

// An issuer has the keys that are fetched from a URL. Its methods may be called from any goroutine, run once.
type issuer struct {
	url    string
	client *http.Client
	log    *zap.Logger
	pause  time.Duration // keysPause

	keys  atomic.Pointer[keySet] // nil: none were fetched yet
	asked chan struct{}          // has an element if new keys are wanted

	mu sync.Mutex

	began   time.Time     // guarded by mu; of the last request, zero: there was none
	isBusy  bool          // guarded by mu; that request is under way
	fetched chan struct{} // guarded by mu; closed at the end of the request under way, or else of the next one
}

func newIssuer(url string, log *zap.Logger) *issuer {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxResponseHeaderBytes = 64 << 10
	return &issuer{
		url: url, log: log, pause: keysPause, asked: make(chan struct{}, 1), fetched: make(chan struct{}),
		client: &http.Client{Transport: transport, Timeout: keysTimeout, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // another address could send other keys
		}},
	}
}

// current returns the keys, and whether any were ever fetched.
func (i *issuer) current() (keySet, bool) {
	if keys := i.keys.Load(); keys != nil {
		return *keys, true
	}
	return nil, false
}

// mayHaveNew reports whether refresh would do anything: there may be keys that are not known yet.
func (i *issuer) mayHaveNew() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.isBusy || time.Since(i.began) >= i.pause
}

// refresh waits for the end of a request to the issuer: of the one under way, or else of one that it asks for. It waits for keysPatience at most.
func (i *issuer) refresh(ctx context.Context) {
	if !i.mayHaveNew() {
		return
	}
	i.mu.Lock()
	fetched := i.fetched
	i.mu.Unlock()
	select {
	case i.asked <- struct{}{}:
	default: // it is asked for already
	}
	ctx, cancel := context.WithTimeout(ctx, keysPatience)
	defer cancel()
	select {
	case <-fetched:
	case <-ctx.Done():
	}
}

// run fetches keys until ctx ends: at once, then regularly, and when refresh asks for them.
func (i *issuer) run(ctx context.Context) {
	defer i.client.CloseIdleConnections()
	timer := time.NewTimer(0)
	defer timer.Stop()
	failure := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-i.asked:
			if !i.mayHaveNew() {
				continue // a request has ended a moment ago
			}
		}
		next, err := i.fetch(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if next = minKeysInterval; failure != err.Error() {
				i.log.Warn("no keys from the issuer, those before stay", zap.String("url", i.url), zap.Error(err))
			}
			failure = err.Error()
		case failure != "":
			i.log.Info("keys from the issuer again", zap.String("url", i.url))
			failure = ""
		}
		timer.Reset(next)
	}
}

// fetch fetches the keys once, and returns when they are to be fetched again. The error has nothing of the answer.
func (i *issuer) fetch(ctx context.Context) (next time.Duration, err error) {
	i.mu.Lock()
	i.began, i.isBusy = time.Now(), true
	i.mu.Unlock()
	defer func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.isBusy = false
		close(i.fetched)
		i.fetched = make(chan struct{})
	}()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, i.url, nil)
	if err != nil {
		return 0, err
	}
	response, err := i.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("answer %d", response.StatusCode)
	}
	content, err := io.ReadAll(io.LimitReader(response.Body, maxKeysBytes+1))
	switch {
	case err != nil:
		return 0, fmt.Errorf("read the answer: %w", err)
	case len(content) > maxKeysBytes:
		return 0, errors.New("an answer of over 1 MiB")
	}
	keys, err := parseJWKS(content)
	if err != nil {
		return 0, err
	}
	i.keys.Store(&keys)
	return lifetime(response.Header.Values("Cache-Control")), nil
}

// lifetime returns how long an answer with these values of Cache-Control may be used.
func lifetime(values []string) time.Duration {
	for _, directive := range strings.Split(strings.Join(values, ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if !strings.EqualFold(name, "max-age") {
			continue
		}
		if seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
			return min(max(time.Duration(seconds)*time.Second, minKeysInterval), maxKeysInterval)
		}
	}
	return keysInterval
}
