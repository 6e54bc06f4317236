package session

import (
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"sluice/balancer"
	"sluice/proxy/driver"
	"sluice/proxy/reach"
	"sluice/proxy/relay"
	"sluice/proxy/route"
)

// Info describes a new session. New copies the slices.
type Info struct {
	ID      uint64
	Source  *Source
	Route   *route.Route
	Backend *balancer.Backend // of which the session has a place
	Client  netip.AddrPort

	Host, Path  []byte
	Query       []byte // as it may be logged
	Subprotocol []byte

	TLS        [2]uint16 // version, by side; 0 means no TLS
	IsHTTP2    [2]bool   // by side
	HasDeflate bool
}

// A Source is what the sessions of one listener share. Immutable.
type Source struct {
	Name string // of the listener
	// Release releases the places that a session of that client has. It must not block.
	Release func(client netip.Addr)
}

// A Session is one relayed WebSocket connection. Its bytes are the driver's. It implements driver.Owner.
type Session struct {
	registry *Registry
	Handle   driver.Handle // set by the driver, which is given its address

	// Immutable.
	ID        uint64
	Start     time.Time
	Source    *Source
	Route     *route.Route
	Backend   *balancer.Backend
	Client    netip.AddrPort
	text      string // host, path, query and subprotocol, in one allocation
	hostSize  uint16
	pathSize  uint16
	querySize uint16

	index int // in the registry; guarded by its mu

	tls        [2]uint16 // immutable
	isHTTP2    [2]bool   // immutable
	hasDeflate bool      // immutable

	// StartLogged is closed after the access line of the session's start is written. It is nil if there is no such line. Set before Add.
	StartLogged chan struct{}

	isRelayed atomic.Bool // Handle is set
	isEnded   atomic.Bool
	isClosing atomic.Bool // a close of both sides has been asked for
	shedding  atomic.Int32
}

// What the pool has been told of a session that it asked to close (Session.shedding).
const (
	notShed  = iota
	isShed   // the pool counts on the session's end as one of those
	hasEnded // the session can't be asked any more
)

// New returns a session that begins now. It isn't in the registry yet.
func (r *Registry) New(i *Info) *Session {
	return &Session{
		registry:   r,
		ID:         i.ID,
		Start:      time.Now(),
		Source:     i.Source,
		Route:      i.Route,
		Backend:    i.Backend,
		Client:     i.Client,
		text:       string(slices.Concat(i.Host, i.Path, i.Query, i.Subprotocol)),
		hostSize:   uint16(len(i.Host)),
		pathSize:   uint16(len(i.Path)),
		querySize:  uint16(len(i.Query)),
		tls:        i.TLS,
		isHTTP2:    i.IsHTTP2,
		hasDeflate: i.HasDeflate,
	}
}

// Host returns the host of the request.
func (s *Session) Host() string { return s.text[:s.hostSize] }

// Path returns the path of the request.
func (s *Session) Path() string { return s.text[s.hostSize:][:s.pathSize] }

// Query returns the query of the request as it may be logged.
func (s *Session) Query() string {
	return s.text[int(s.hostSize)+int(s.pathSize):][:s.querySize]
}

// Subprotocol returns the subprotocol that the backend chose.
func (s *Session) Subprotocol() string {
	return s.text[int(s.hostSize)+int(s.pathSize)+int(s.querySize):]
}

// HTTP returns the version of HTTP that a side speaks.
func (s *Session) HTTP(side relay.Side) string { return reach.HTTPVersion(s.isHTTP2[side]) }

// Relayed notes that the driver owns both connections.
func (s *Session) Relayed() {
	s.isRelayed.Store(true)
	switch { // a drain that began meanwhile has missed it
	case s.registry.config.IsDraining():
		s.close(uint16(s.Route.CloseCodes.Drained), relay.ReasonDrain)
	case s.Route.IsRemoved.Load():
		s.close(uint16(s.Route.CloseCodes.Drained), relay.ReasonRemoved)
	}
}

// close asks for a close of both sides.
func (s *Session) close(code uint16, reason relay.Reason) {
	s.isClosing.Store(true)
	s.Handle.CloseBoth(code, reason)
}

// SessionEnded implements driver.Owner. A loop may be the caller, so another goroutine does what can block on a slow log.
func (s *Session) SessionEnded(r driver.Result) {
	if s.isEnded.Swap(true) {
		return // a panic has ended it once already
	}
	outcome := outcomeOf(r.Verdict)
	if outcome == balancer.Lost || outcome == balancer.StreamEnded || s.registry.config.MayBlock(s) {
		s.registry.ender.add(ended{s, r, outcome})
	} else {
		s.release(r, outcome)
	}
}

// release releases all that the session has, and accounts for its end.
func (s *Session) release(r driver.Result, outcome balancer.Outcome) {
	config := &s.registry.config
	defer config.Panics.Catch(room, nil)
	defer s.registry.remove(s)
	defer func() { s.Source.Release(s.Client.Addr()) }()
	if s.shedding.Swap(hasEnded) == isShed {
		// Whatever ended it first: the pool waits for this one.
		outcome = balancer.Shed
	}
	cause := ""
	if outcome == balancer.Lost {
		cause = "a session was lost: " + strings.ReplaceAll(CloseReason(r.Verdict), "_", " ")
	}
	defer s.Backend.ReleaseFailed(outcome, cause)
	s.Backend.Carried(balancer.Traffic(r.Counts[relay.Client]), balancer.Traffic(r.Counts[relay.Backend]))
	s.registry.closes.add(s, &r)
	if config.IsDraining() {
		s.registry.farewell.count(&r)
	}
	config.Ended(s, &r)
}

// outcomeOf returns what the end of a session means for its backend. A client's fault never counts against one.
func outcomeOf(v relay.Verdict) balancer.Outcome {
	switch v.Reason {
	case relay.ReasonFault, relay.ReasonLost, relay.ReasonReset, relay.ReasonPongTimeout, relay.ReasonWriteTimeout, relay.ReasonFrameTimeout:
		if v.Side == relay.Backend {
			return balancer.Lost
		}
	case relay.ReasonEOF:
		return balancer.StreamEnded
	}
	return balancer.Ended
}
