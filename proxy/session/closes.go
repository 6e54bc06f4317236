package session

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sluice/proxy/driver"
	"sluice/proxy/reach"
	"sluice/proxy/relay"
)

// An InitiatorView names who ended a session: "client", "backend" or "gateway".
type InitiatorView struct {
	Initiator string `json:"initiator"`
	ClosedBy  string `json:"closed_by"` // Initiator under the name that it had in the version before
}

func viewInitiator(i relay.Initiator) InitiatorView {
	name := i.String()
	return InitiatorView{Initiator: name, ClosedBy: name}
}

// A CloseCount is how many sessions an initiator ended for a reason, with a close code; code 1005 means a close without one, and RareCode
// stands for all codes that are not counted apart.
type CloseCount struct {
	InitiatorView
	Reason string `json:"reason"` // as in the access log, except that a protocol error is "protocol_error"
	Label  string `json:"-"`      // of sluice_closes_total{reason}
	Code   uint16 `json:"close_code"`
	Count  uint64 `json:"count"`
}

// RareCode is the code of a CloseCount for codes that are not counted apart.
const RareCode = 0

// maxOwnCodes is how many of the codes from 3000 on are counted apart for each initiator: the first ones that come. RFC 6455 section 7.4.2
// leaves these codes to applications, so a peer may send any of 2,000. As each initiator has its own, a client can't displace a backend's.
const maxOwnCodes = 32

// A CloseView is a session that has ended.
type CloseView struct {
	ID              string    `json:"id"`
	Listener        string    `json:"listener"`
	Route           string    `json:"route"`
	Pool            string    `json:"pool"`
	Backend         string    `json:"backend"`
	Client          string    `json:"client"`
	Path            string    `json:"path"`
	Ended           time.Time `json:"ended"`
	DurationSeconds float64   `json:"duration_seconds"`
	Code            uint16    `json:"close_code"`
	InitiatorView
	Reason    string   `json:"reason"` // as in the access log
	ToBackend FlowView `json:"to_backend"`
	ToClient  FlowView `json:"to_client"`
}

// CloseCode is the code under which an end is logged and counted: 1005, which never goes on the wire, for a close without one
// (RFC 6455 section 7.1.5), and 1006 where the configuration has no code.
func CloseCode(v relay.Verdict) uint16 {
	switch {
	case v.Code != 0:
		return v.Code
	case v.Reason == relay.ReasonClose:
		return 1005
	default:
		return 1006
	}
}

// CloseReason is why a session ended, as it is logged: for a protocol error, the rule that was broken.
func CloseReason(v relay.Verdict) string {
	if v.Reason == relay.ReasonFault {
		return v.Rule.String()
	}
	return v.Reason.String()
}

// Closes returns the last sessions that have ended, the newest first: 50 at most.
func (r *Registry) Closes() []CloseView {
	views := []CloseView{}
	for _, e := range r.closes.recent() {
		views = append(views, e.view())
	}
	return views
}

// CloseCounts returns how many sessions ended in each way, by code, initiator and reason.
func (r *Registry) CloseCounts() []CloseCount {
	sums := r.closes.sums()
	slices.SortFunc(sums, func(a, b CloseCount) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Initiator, b.Initiator), cmp.Compare(a.Reason, b.Reason))
	})
	return sums
}

// keptCloses is how many of the last ends are kept whole.
const keptCloses = 50

// closes are the ends of sessions: how many of each kind, and the last ones. A session is added once, after its last frame. The
// methods may be called from any goroutine.
type closes struct {
	mu sync.Mutex

	counts   map[closeKind]uint64        // guarded by mu
	ownCodes [relay.Gateway + 1][]uint16 // guarded by mu; those from 3000 on that are counted apart, by initiator
	last     [keptCloses]ending          // guarded by mu; a ring, in which the next one goes to added % keptCloses
	added    int                         // guarded by mu
}

type closeKind struct {
	initiator relay.Initiator
	reason    relay.Reason
	code      uint16 // or RareCode
}

// kindOf returns what a session's end is counted as. The caller holds mu.
func (c *closes) kindOf(v relay.Verdict) closeKind {
	kind := closeKind{v.Initiator, v.Reason, CloseCode(v)}
	if kind.code < 3000 || slices.Contains(c.ownCodes[v.Initiator], kind.code) {
		return kind
	}
	if len(c.ownCodes[v.Initiator]) == maxOwnCodes {
		kind.code = RareCode
	} else {
		c.ownCodes[v.Initiator] = append(c.ownCodes[v.Initiator], kind.code)
	}
	return kind
}

// An ending is what is kept of a session that has ended: no more than that, so that the session's memory can be freed.
type ending struct {
	id                             uint64
	listener, route, pool, backend string
	client                         netip.AddrPort
	path                           string
	at                             time.Time
	took                           time.Duration
	result                         driver.Result
}

func (c *closes) add(s *Session, r *driver.Result) {
	now := time.Now()
	e := ending{
		id: s.ID, listener: s.Source.Name, route: s.Route.Name, pool: s.Route.PoolName, backend: s.Backend.Name(),
		client: s.Client, path: s.Path(), at: now, took: now.Sub(s.Start), result: *r,
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[c.kindOf(r.Verdict)]++
	c.last[c.added%keptCloses] = e
	c.added++
}

// recent returns the last ends, the newest first.
func (c *closes) recent() []ending {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := make([]ending, min(c.added, keptCloses))
	for i := range kept {
		kept[i] = c.last[(c.added-1-i)%keptCloses]
	}
	return kept
}

// sums returns how many sessions ended in each way, in no order.
func (c *closes) sums() []CloseCount {
	c.mu.Lock()
	defer c.mu.Unlock()
	sums := make([]CloseCount, 0, len(c.counts))
	for kind, n := range c.counts {
		sums = append(sums, CloseCount{
			InitiatorView: viewInitiator(kind.initiator), Reason: kind.reason.String(), Label: kind.reason.Label(), Code: kind.code, Count: n,
		})
	}
	return sums
}

func (e *ending) view() CloseView {
	v := e.result.Verdict
	return CloseView{
		ID: reach.FormatID(e.id), Listener: e.listener, Route: e.route, Pool: e.pool, Backend: e.backend,
		Client: reach.FormatClient(e.client), Path: e.path, Ended: e.at.UTC(), DurationSeconds: e.took.Seconds(),
		Code: CloseCode(v), InitiatorView: viewInitiator(v.Initiator), Reason: CloseReason(v),
		ToBackend: FlowView(e.result.Counts[relay.Client]), ToClient: FlowView(e.result.Counts[relay.Backend]),
	}
}
