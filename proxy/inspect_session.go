package proxy

import (
	"crypto/tls"
	"net"
	"strconv"
	"time"

	"sluice/proxy/driver"
	"sluice/proxy/relay"
)

// A SessionView is a live session at one moment.
type SessionView struct {
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
	IdleSeconds float64   `json:"idle_seconds"` // since the last payload of a data frame, either way
	Client      SideView  `json:"client"`
	Backend     SideView  `json:"backend"`
	ToBackend   FlowView  `json:"to_backend"`
	ToClient    FlowView  `json:"to_client"`
}

// A SideView is one end of a session.
type SideView struct {
	Address        string   `json:"address"`          // of a client, or a backend's name
	TLS            string   `json:"tls"`              // "1.2", "1.3", or "" for none
	QueuedBytes    int      `json:"queued_bytes"`     // that wait for the side
	PingRTTSeconds *float64 `json:"ping_rtt_seconds"` // of the gateway's last ping; nil: none was answered yet
}

// A FlowView is what went one way.
type FlowView struct {
	Frames   uint64 `json:"frames"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"` // payload of data frames
}

// Session returns the live session of that id; false: there is none.
func (p *Proxy) Session(id string) (SessionView, bool) {
	s := p.sessions.find(id)
	if s == nil {
		return SessionView{}, false
	}
	st, isLive := s.handle.Stats()
	return s.view(&st, time.Now()), isLive
}

// CloseSession asks for a close of both sides of the session of that id, with a code that may be sent (relay.IsCloseCode); 0: the
// route's for drained sessions. false: there is no such session.
func (p *Proxy) CloseSession(id string, code uint16) bool {
	s := p.sessions.find(id)
	if s == nil {
		return false
	}
	s.closeFor(code)
	return true
}

// closeFor closes a session for the operator.
func (s *session) closeFor(code uint16) {
	if code == 0 {
		code = uint16(s.route.CloseCodes.Drained)
	}
	s.close(code, relay.ReasonOperator)
}

// find returns the session of that id that the driver has by now, or nil.
func (r *sessions) find(id string) *session {
	n, err := strconv.ParseUint(id, 16, 64)
	if err != nil || formatID(n) != id {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.all {
		if s.id == n && s.isRelayed.Load() {
			return s
		}
	}
	return nil
}

func (s *session) view(st *driver.Stats, now time.Time) SessionView {
	view := SessionView{
		ID:          formatID(s.id),
		Listener:    s.listener.name,
		Route:       s.route.Name,
		Pool:        s.route.PoolName,
		Host:        s.host(),
		Path:        s.path(),
		Subprotocol: s.subprotocol(),
		Extensions:  []string{},
		IsClosing:   s.isClosing.Load(),
		Started:     s.start.UTC(),
		AgeSeconds:  now.Sub(s.start).Seconds(),
		IdleSeconds: st.Idle.Seconds(),
		Client:      s.viewSide(st, relay.Client, formatClient(s.client)),
		Backend:     s.viewSide(st, relay.Backend, s.backend.Name()),
		ToBackend:   FlowView(st.Counts[relay.Client]),
		ToClient:    FlowView(st.Counts[relay.Backend]),
	}
	if s.hasDeflate {
		view.Extensions = append(view.Extensions, "permessage-deflate")
	}
	return view
}

func (s *session) viewSide(st *driver.Stats, side relay.Side, address string) SideView {
	view := SideView{Address: address, QueuedBytes: st.Queued[side]}
	switch s.tls[side] {
	case tls.VersionTLS12:
		view.TLS = "1.2"
	case tls.VersionTLS13:
		view.TLS = "1.3"
	}
	if rtt := st.RTT[side]; rtt > 0 {
		seconds := rtt.Seconds()
		view.PingRTTSeconds = &seconds
	}
	return view
}

// tlsVersion returns the version that a connection speaks; 0: it isn't TLS.
func tlsVersion(conn net.Conn) uint16 {
	if c, ok := conn.(*tls.Conn); ok {
		return c.ConnectionState().Version
	}
	return 0
}
