package session

import (
	"time"

	"sluice/proxy/driver"
	"sluice/proxy/reach"
	"sluice/proxy/relay"
)

// The views are plain values at one moment, whose JSON is that of the admin API.

// A View is a live session at one moment.
type View struct {
	ID          string    `json:"id"`
	Listener    string    `json:"listener"`
	Route       string    `json:"route"`
	Pool        string    `json:"pool"`
	Host        string    `json:"host"`
	Path        string    `json:"path"`
	Subprotocol string    `json:"subprotocol"`
	Extensions  []string  `json:"extensions"`
	IsClosing   bool      `json:"closing"` // a close of both sides has been asked for
	Started     time.Time `json:"started"`
	AgeSeconds  float64   `json:"age_seconds"`
	IdleSeconds float64   `json:"idle_seconds"` // since the last payload of a data frame, in either direction
	Client      SideView  `json:"client"`
	Backend     SideView  `json:"backend"`
	ToBackend   FlowView  `json:"to_backend"`
	ToClient    FlowView  `json:"to_client"`
}

// A SideView is one end of a session.
type SideView struct {
	Address        string   `json:"address"`          // of a client, or a backend's name
	HTTP           string   `json:"http"`             // "1.1" or "2"
	TLS            string   `json:"tls"`              // "1.2", "1.3", or "" for none
	QueuedBytes    int      `json:"queued_bytes"`     // that wait for the side
	PingRTTSeconds *float64 `json:"ping_rtt_seconds"` // of the gateway's last ping; nil if none was answered yet
}

// A FlowView is what went in one direction.
type FlowView struct {
	Frames   uint64 `json:"frames"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"` // payload of data frames
}

// View returns the live session of that id, and false if there is none.
func (r *Registry) View(id string) (View, bool) {
	s := r.find(id)
	if s == nil {
		return View{}, false
	}
	st, isLive := s.Handle.Stats()
	return s.view(&st, time.Now()), isLive
}

func (s *Session) view(st *driver.Stats, now time.Time) View {
	view := View{
		ID:          reach.FormatID(s.ID),
		Listener:    s.Source.Name,
		Route:       s.Route.Name,
		Pool:        s.Route.PoolName,
		Host:        s.Host(),
		Path:        s.Path(),
		Subprotocol: s.Subprotocol(),
		Extensions:  []string{},
		IsClosing:   s.isClosing.Load(),
		Started:     s.Start.UTC(),
		AgeSeconds:  now.Sub(s.Start).Seconds(),
		IdleSeconds: st.Idle.Seconds(),
		Client:      s.viewSide(st, relay.Client, reach.FormatClient(s.Client)),
		Backend:     s.viewSide(st, relay.Backend, s.Backend.Name()),
		ToBackend:   FlowView(st.Counts[relay.Client]),
		ToClient:    FlowView(st.Counts[relay.Backend]),
	}
	if s.hasDeflate {
		view.Extensions = append(view.Extensions, "permessage-deflate")
	}
	return view
}

func (s *Session) viewSide(st *driver.Stats, side relay.Side, address string) SideView {
	view := SideView{Address: address, HTTP: s.HTTP(side), TLS: reach.FormatTLSVersion(s.tls[side]), QueuedBytes: st.Queued[side]}
	if rtt := st.RTT[side]; rtt > 0 {
		seconds := rtt.Seconds()
		view.PingRTTSeconds = &seconds
	}
	return view
}
