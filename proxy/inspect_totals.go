package proxy

import (
	"time"

	"sluice/proxy/relay"
	"sluice/proxy/session"
)

// A TotalsView counts what the gateway has done since its start. Rates are the differences of two views.
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

// An RTTView has the round-trip times of the gateway's pings. Client and Backend count those within each bound and over the bound before;
// the last number counts those over all bounds.
type RTTView struct {
	BoundsSeconds []float64 `json:"bounds_seconds"`
	Client        []uint64  `json:"client"`
	Backend       []uint64  `json:"backend"`
}

// Totals returns what the gateway has done so far. It waits for one turn of each loop.
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

// viewTotal returns the data frames that a side has sent: opcodes 0 to 2 of RFC 6455. A message begins with opcode 1 or 2.
func viewTotal(t *relay.Totals, from relay.Side) session.FlowView {
	frames := &t.Frames[from]
	return session.FlowView{Frames: frames[0] + frames[1] + frames[2], Messages: frames[1] + frames[2], Bytes: t.Bytes[from]}
}
