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

// A CloseCount is how many sessions an initiator ended with a close code; code 1005 means a close without one.
type CloseCount struct {
	InitiatorView
	Code  uint16 `json:"close_code"`
	Count uint64 `json:"count"`
}

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
// (RFC 6455 section 7.1.5).
func CloseCode(v relay.Verdict) uint16 {
	if v.Code == 0 {
		return 1005
	}
	return v.Code
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

// CloseCounts returns how many sessions ended in each way, by code.
func (r *Registry) CloseCounts() []CloseCount {
	sums := r.closes.sums()
	slices.SortFunc(sums, func(a, b CloseCount) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Initiator, b.Initiator))
	})
	return sums
}

// keptCloses is how many of the last ends are kept whole.
const keptCloses = 50

// closes are the ends of sessions: how many of each kind, and the last ones. A session is added once, after its last frame. The
// methods may be called from any goroutine.
type closes struct {
	mu sync.Mutex

	counts map[closeKind]uint64 // guarded by mu; as many as there are codes, at most
	last   [keptCloses]ending   // guarded by mu; a ring, in which the next one goes to added % keptCloses
	added  int                  // guarded by mu
}

type closeKind struct {
	initiator relay.Initiator
	code      uint16
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
	c.counts[closeKind{r.Verdict.Initiator, CloseCode(r.Verdict)}]++
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
		sums = append(sums, CloseCount{InitiatorView: viewInitiator(kind.initiator), Code: kind.code, Count: n})
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
