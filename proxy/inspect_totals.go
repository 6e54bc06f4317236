package proxy

import (
	"cmp"
	"slices"
	"time"

	"sluice/proxy/handshake"
	"sluice/proxy/relay"
)

// A TotalsView is what the gateway has done since its start, at one moment: rates are the differences of two.
type TotalsView struct {
	Time        time.Time    `json:"time"`
	Started     time.Time    `json:"started"`
	IsDraining  bool         `json:"draining"`
	Sessions    int          `json:"sessions"` // live ones
	QueuedBytes int64        `json:"queued_bytes"`
	ToBackend   FlowView     `json:"to_backend"` // of all sessions, live ones included
	ToClient    FlowView     `json:"to_client"`
	PingRTT     RTTView      `json:"ping_rtt"`
	Closes      []CloseCount `json:"closes"`
}

// An RTTView is the round-trip times of the gateway's pings. Client and Backend count those within each bound and over the one
// before; the last number is of those over all bounds.
type RTTView struct {
	BoundsSeconds []float64 `json:"bounds_seconds"`
	Client        []uint64  `json:"client"`
	Backend       []uint64  `json:"backend"`
}

// A CloseCount is how many sessions were ended by that peer, or the gateway, with that code; 1005: a close without one.
type CloseCount struct {
	ClosedBy string `json:"closed_by"`
	Code     uint16 `json:"close_code"`
	Count    uint64 `json:"count"`
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
	ClosedBy        string    `json:"closed_by"`
	Reason          string    `json:"reason"` // as in the access log
	ToBackend       FlowView  `json:"to_backend"`
	ToClient        FlowView  `json:"to_client"`
}

// Totals returns what the gateway has done so far. It waits for the loops, for a turn.
func (p *Proxy) Totals() TotalsView {
	t := p.driver.Totals()
	view := TotalsView{
		Time:        time.Now().UTC(),
		Started:     p.start.UTC(),
		IsDraining:  p.IsDraining(),
		Sessions:    p.sessions.count(),
		QueuedBytes: p.driver.QueuedBytes(),
		ToBackend:   viewTotal(&t, relay.Client),
		ToClient:    viewTotal(&t, relay.Backend),
		PingRTT:     RTTView{Client: t.RTT[relay.Client].Buckets[:], Backend: t.RTT[relay.Backend].Buckets[:]},
		Closes:      p.closes.sums(),
	}
	for _, bound := range relay.Bounds {
		view.PingRTT.BoundsSeconds = append(view.PingRTT.BoundsSeconds, bound.Seconds())
	}
	slices.SortFunc(view.Closes, func(a, b CloseCount) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.ClosedBy, b.ClosedBy))
	})
	return view
}

// viewTotal returns what a side has sent: data frames, which are those of RFC 6455's opcodes 0 to 2; a message begins with 1 or 2.
func viewTotal(t *relay.Totals, from relay.Side) FlowView {
	frames := &t.Frames[from]
	return FlowView{Frames: frames[0] + frames[1] + frames[2], Messages: frames[1] + frames[2], Bytes: t.Bytes[from]}
}

// Closes returns the last sessions that have ended, the newest first: 50 at most.
func (p *Proxy) Closes() []CloseView {
	views := []CloseView{}
	for _, e := range p.closes.recent() {
		views = append(views, e.view())
	}
	return views
}

func (e *ending) view() CloseView {
	v := e.result.Verdict
	return CloseView{
		ID: handshake.FormatID(e.id), Listener: e.listener, Route: e.route, Pool: e.pool, Backend: e.backend,
		Client: handshake.FormatClient(e.client), Path: e.path, Ended: e.at.UTC(), DurationSeconds: e.took.Seconds(),
		Code: closeCode(v), ClosedBy: v.Initiator.String(), Reason: closeReason(v),
		ToBackend: FlowView(e.result.Counts[relay.Client]), ToClient: FlowView(e.result.Counts[relay.Backend]),
	}
}
