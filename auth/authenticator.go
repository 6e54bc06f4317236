package auth

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"sluice/internal/filewatch"
	"sluice/internal/recovery"
	"sluice/upgrade"
)

// Options are what an Authenticator needs besides its section. The zero value is complete.
type Options struct {
	Log    *zap.Logger // nil: nothing is logged
	Panics recovery.Handler
	// Files reports changed files; nil: they are noticed within a minute.
	Files *filewatch.Watcher
}

// room is the name of this package in calls of Options.Panics.
const room = "auth"

// watchInterval is the time between two looks at the files, for changes that no event reports.
const watchInterval = time.Minute

// An Authenticator decides who sends a request. Its methods may be called from any goroutine.
type Authenticator struct {
	name  string
	kind  kind
	files filewatch.Set
	watch *filewatch.Watcher

	fetch  func(ctx context.Context) // nil: the kind fetches nothing
	panics recovery.Handler
}

// A kind is what the kinds of [[auth]] differ in.
type kind interface {
	// read returns a copy of what a request shows.
	read(r *upgrade.Request) Credentials
	// tryDecide is Decide where that needs no wait and little computation; otherwise isKnown is false. It doesn't block.
	tryDecide(c *Credentials, now time.Time) (d Decision, isKnown bool)
	// decide decides. It returns when ctx ends, at the latest.
	decide(ctx context.Context, c *Credentials) Decision
	// hiddenParameters returns the names of the parameters of a query that are credentials.
	hiddenParameters() []string
}

// Credentials are what one request shows of its sender.
type Credentials struct {
	text        string // as it was sent; "": it shows none
	isAmbiguous bool   // it shows several, of which a backend may read another one
}

// A Decision is what an Authenticator has decided about a request.
type Decision struct {
	// Subject names the sender; "" if the request is refused.
	Subject string
	// Fields are set for the backend, and those of the client with one of the names Own are dropped.
	Fields []upgrade.Field
	Own    []string
	// Expires is when the session has to end; zero: it doesn't.
	Expires time.Time
	// Refusal is the answer to a request that is refused, otherwise nil.
	Refusal *upgrade.Rejection
	// Result is the label of metrics: one of Results.
	Result string
	// Cause is why the request is refused, in words for an operator; "" if it isn't. It has nothing of the credentials.
	Cause string
}

// The results of decisions.
const (
	Accepted    = "accepted"
	Missing     = "missing"     // no credentials
	Expired     = "expired"     // a token that was valid
	Invalid     = "invalid"     // other credentials that don't count
	Unavailable = "unavailable" // they could not be checked
)

// Results has all of them.
var Results = []string{Accepted, Missing, Expired, Invalid, Unavailable}

// New makes the Authenticator of a section that Check lets pass. Its error says what is wrong with a file that has changed meanwhile.
func New(c *Config, options Options) (*Authenticator, error) {
	a := &Authenticator{name: c.Name, watch: options.Files, panics: options.Panics}
	log := options.Log
	if log == nil {
		log = zap.NewNop()
	}
	var sources []*filewatch.Source
	switch c.Kind {
	case KindBasic:
		b := newBasic(c.Name)
		a.kind = b
		sources = append(sources, &filewatch.Source{Paths: []string{c.UsersFile}, Apply: b.apply})
	case KindJWT:
		b := newBearer(c, log)
		a.kind, a.fetch = b, b.run
		sources = b.filesOf()
	default:
		panic("BUG: a kind that Check lets pass: " + c.Kind)
	}
	for _, s := range sources {
		if _, err := s.Refresh(); err != nil {
			return nil, err
		}
	}
	a.files = filewatch.Set{Sources: sources, Interval: watchInterval, Room: room, Panics: options.Panics,
		Refreshed: func(s *filewatch.Source, err error) {
			if err != nil {
				log.Error("file refused, the one before stays", zap.Strings("files", s.Paths), zap.Error(err))
				return
			}
			log.Info("file reloaded", zap.Strings("files", s.Paths))
		},
	}
	return a, nil
}

// Run applies changed files and fetches keys until ctx ends. It is called once.
func (a *Authenticator) Run(ctx context.Context) {
	var fetching sync.WaitGroup
	defer fetching.Wait()
	if a.fetch != nil {
		fetching.Go(func() {
			for ctx.Err() == nil {
				a.panics.Guard(room, func() { a.fetch(ctx) })
			}
		})
	}
	a.files.Run(ctx, a.watch)
}

// Name returns the name of the section.
func (a *Authenticator) Name() string { return a.name }

// HiddenParameters returns the names of the parameters of a query that are credentials: no log may have their values.
func (a *Authenticator) HiddenParameters() []string { return a.kind.hiddenParameters() }

// Read returns a copy of what a complete request shows of its sender. From then on, the request has no subprotocols that are credentials.
func (a *Authenticator) Read(r *upgrade.Request) Credentials { return a.kind.read(r) }

// TryDecide decides if that needs no wait and little computation; otherwise isKnown is false, and Decide decides. It doesn't block.
func (a *Authenticator) TryDecide(c *Credentials, now time.Time) (d Decision, isKnown bool) {
	return a.kind.tryDecide(c, now)
}

// Decide decides. It may block for some seconds, and returns earlier if ctx ends.
func (a *Authenticator) Decide(ctx context.Context, c *Credentials) Decision {
	if d, isKnown := a.kind.tryDecide(c, time.Now()); isKnown {
		return d
	}
	return a.kind.decide(ctx, c)
}

// refused returns the decision about a request without credentials that count. challenge is the value of WWW-Authenticate.
func refused(result, cause, challenge string) Decision {
	return Decision{Result: result, Cause: cause, Refusal: upgrade.ErrAuth.With(upgrade.Field{Name: "WWW-Authenticate", Value: challenge})}
}

// retryAfter is how many seconds a client waits if its credentials can't be checked.
const retryAfter = 5

// unavailable returns the decision about credentials that can't be checked.
func unavailable(cause string) Decision {
	return Decision{Result: Unavailable, Cause: cause, Refusal: upgrade.ErrAuthUnavailable.RetryAfter(retryAfter)}
}
