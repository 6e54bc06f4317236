package proxy

import (
	"time"

	"sluice/proxy/relay"
	"sluice/proxy/session"
)

// A TotalsView is what the gateway has done since its start, at one moment: rates are the differences of two.
type TotalsView struct {
	Time        time.Time            `json:"time"`
	Started     time.Time            `json:"started"`
	IsDraining  bool                 `json:"draining"`
	Sessions    int                  `json:"sessions"` // live ones
	QueuedBytes int64                `json:"queued_bytes"`
	ToBackend   session.FlowView     `json:"to_backend"` // of all sessions, live ones included
	ToClient    session.FlowView     `json:"to_client"`
	PingRTT     RTTView              `json:"ping_rtt"`
	Closes      []session.CloseCount `json:"closes"`
}

// An RTTView is the round-trip times of the gateway's pings. Client and Backend count those within each bound and over the one
// before; the last number is of those over all bounds.
type RTTView struct {
	BoundsSeconds []float64 `json:"bounds_seconds"`
	Client        []uint64  `json:"client"`
	Backend       []uint64  `json:"backend"`
}

// Totals returns what the gateway has done so far. It waits for the loops, for a turn.
func (p *Proxy) Totals() TotalsView {
	t := p.driver.Totals()
	view := TotalsView{
		Time:        time.Now().UTC(),
		Started:     p.start.UTC(),
		IsDraining:  p.IsDraining(),
		Sessions:    p.sessions.Count(),
		QueuedBytes: p.driver.QueuedBytes(),
		ToBackend:   viewTotal(&t, relay.Client),
		ToClient:    viewTotal(&t, relay.Backend),
		PingRTT:     RTTView{Client: t.RTT[relay.Client].Buckets[:], Backend: t.RTT[relay.Backend].Buckets[:]},
		Closes:      p.sessions.CloseCounts(),
	}
	for _, bound := range relay.Bounds {
		view.PingRTT.BoundsSeconds = append(view.PingRTT.BoundsSeconds, bound.Seconds())
	}
	return view
}

// viewTotal returns what a side has sent: data frames, which are those of RFC 6455's opcodes 0 to 2; a message begins with 1 or 2.
func viewTotal(t *relay.Totals, from relay.Side) session.FlowView {
	frames := &t.Frames[from]
	return session.FlowView{Frames: frames[0] + frames[1] + frames[2], Messages: frames[1] + frames[2], Bytes: t.Bytes[from]}
}
