package proxy

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"sluice/balancer"
	"sluice/proxy/driver"
	"sluice/proxy/relay"
	"sluice/proxy/route"
)

// A session is one relayed WebSocket connection. What it says of itself is immutable once it is in the registry; its bytes are
// the driver's.
type session struct {
	proxy     *Proxy
	handle    driver.Handle
	id        uint64
	start     time.Time
	listener  *listener
	route     *route.Route
	backend   *balancer.Backend
	client    netip.AddrPort
	text      string // host, path, query as it is logged, and subprotocol, in one allocation
	hostSize  uint16
	pathSize  uint16
	querySize uint16
	index     int // in the registry; guarded by its mu

	tls        [2]uint16 // version, by side; 0: none
	hasDeflate bool
	startTold  chan struct{} // closed when the line of its start is written; nil: there is none

	isRelayed atomic.Bool // the handle is good
	isEnded   atomic.Bool
	isClosing atomic.Bool // a close of both sides has been asked for
	shedding  atomic.Int32
}

// What the pool has been told of a session that it asked to close (session.shedding).
const (
	notShed  = iota
	isShed   // it counts on the session's end as one of those
	hasEnded // it can't be asked any more
)

func (s *session) host() string  { return s.text[:s.hostSize] }
func (s *session) path() string  { return s.text[s.hostSize:][:s.pathSize] }
func (s *session) query() string { return s.text[int(s.hostSize)+int(s.pathSize):][:s.querySize] }
func (s *session) subprotocol() string {
	return s.text[int(s.hostSize)+int(s.pathSize)+int(s.querySize):]
}

// relay gives both connections to the driver.
func (a *attempt) relay() {
	_ = a.client.SetDeadline(time.Time{})
	_ = a.conn.SetDeadline(time.Time{})
	s := a.newSession()
	a.proxy.driver.Relay(a.params(s), a.client, a.conn)
	a.session = nil
	s.relayed()
}

// newSession registers the session that the handshake has become.
func (a *attempt) newSession() *session {
	a.backend.Established()
	req, answer := &a.memory.Request, &a.memory.Answer
	s := &session{
		proxy:    a.proxy,
		id:       a.id,
		start:    time.Now(),
		listener: a.listener,
		route:    a.route,
		backend:  a.backend,
		client:   a.from.Addr,
		hostSize: uint16(len(req.Host())),
		pathSize: uint16(len(req.Path())),

		tls:        [2]uint16{relay.Client: tlsVersion(a.client), relay.Backend: tlsVersion(a.conn)},
		hasDeflate: answer.Deflate(),
	}
	query := a.proxy.accessLines.queryText(req.Query())
	s.querySize = uint16(len(query))
	s.text = string(slices.Concat(req.Host(), req.Path(), query, answer.Protocol()))
	a.proxy.logStarted(s)
	a.proxy.metrics.established(s, time.Since(a.handshake.start))
	a.proxy.sessions.add(s)
	a.attempt, a.session, a.hasPlaces = nil, s, false // it has the pick and the places now
	return s
}

// params tells the driver what it has to know. Early are the frames behind both heads.
func (a *attempt) params(s *session) driver.Params {
	return driver.Params{
		Config:     &a.route.Relay,
		HasDeflate: a.memory.Answer.Deflate(),
		Early:      [2][]byte{a.memory.FromClient.Bytes()[a.headSize:], a.memory.FromBackend.Bytes()[a.size:]},
		Owner:      s,
		Handle:     &s.handle,
	}
}

// relayed notes that the driver has the session.
func (s *session) relayed() {
	s.isRelayed.Store(true)
	switch { // it may have missed the list of a drain
	case s.proxy.refuses.Load():
		s.close(uint16(s.route.CloseCodes.Drained), relay.ReasonDrain)
	case s.route.IsRemoved.Load():
		s.close(uint16(s.route.CloseCodes.Drained), relay.ReasonRemoved)
	}
}

// close asks for a close of both sides.
func (s *session) close(code uint16, reason relay.Reason) {
	s.isClosing.Store(true)
	s.handle.CloseBoth(code, reason)
}

// SessionEnded implements driver.Owner. A loop may be the caller: what can block on a slow log gets a goroutine.
func (s *session) SessionEnded(r driver.Result) {
	if s.isEnded.Swap(true) {
		return // a panic has ended it once already
	}
	outcome := outcomeOf(r.Verdict)
	if outcome == balancer.Lost || s.proxy.access.Core().Enabled(zap.InfoLevel) {
		go s.release(r, outcome)
	} else {
		s.release(r, outcome)
	}
}

// release is the end of the path.
func (s *session) release(r driver.Result, outcome balancer.Outcome) {
	defer s.proxy.panics.Catch(room, nil)
	defer s.proxy.sessions.remove(s)
	defer func() { s.listener.release(s.client.Addr(), time.Now()) }()
	if s.shedding.Swap(hasEnded) == isShed {
		// Whatever ended it first: the pool waits for this one.
		outcome = balancer.Shed
	}
	s.backend.Carried(balancer.Traffic(r.Counts[relay.Client]), balancer.Traffic(r.Counts[relay.Backend]))
	s.backend.Release(outcome)
	s.proxy.metrics.ended(s)
	s.proxy.closes.add(s, &r)
	s.proxy.logEnded(s, &r)
	if s.proxy.refuses.Load() {
		s.proxy.farewell.count(&r)
	}
}

// outcomeOf tells the pool what the end of a session says about its backend. A client's fault never counts against one.
func outcomeOf(v relay.Verdict) balancer.Outcome {
	switch v.Reason {
	case relay.ReasonFault, relay.ReasonLost, relay.ReasonReset, relay.ReasonPongTimeout, relay.ReasonWriteTimeout, relay.ReasonFrameTimeout:
		if v.Side == relay.Backend {
			return balancer.Lost
		}
	}
	return balancer.Ended
}

// sessions is the registry of live sessions. Its methods may be called from any goroutine.
type sessions struct {
	mu sync.Mutex

	all   []*session    // guarded by mu; from add to remove
	empty chan struct{} // guarded by mu; not nil: somebody waits for the last session to go
}

func (r *sessions) add(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.index = len(r.all)
	r.all = append(r.all, s)
}

func (r *sessions) remove(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := len(r.all) - 1
	r.all[last].index = s.index
	r.all[s.index] = r.all[last]
	r.all[last] = nil
	r.all = r.all[:last]
	if last == 0 && r.empty != nil {
		close(r.empty)
		r.empty = nil
	}
}

// count returns how many there are, those included that the driver is about to have.
func (r *sessions) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

// list returns the sessions that the driver has by now.
func (r *sessions) list() []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	live := make([]*session, 0, len(r.all))
	for _, s := range r.all {
		if s.isRelayed.Load() {
			live = append(live, s)
		}
	}
	return live
}

// gone returns a channel that is closed when no session is left.
func (r *sessions) gone() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		done := make(chan struct{})
		close(done)
		return done
	}
	if r.empty == nil {
		r.empty = make(chan struct{})
	}
	return r.empty
}
