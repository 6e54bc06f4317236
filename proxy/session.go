package proxy

import (
	"crypto/tls"
	"net"
	"time"

	"go.uber.org/zap"

	"sluice/proxy/driver"
	"sluice/proxy/relay"
	"sluice/proxy/session"
)

// newSession registers the session that the handshake has established.
func (c *connection) newSession() *session.Session {
	h := &c.core
	h.Backend().Established()
	req, answer := &h.Memory.Request, &h.Memory.Answer
	info := session.Info{
		ID:          h.ID,
		Source:      c.source(),
		Route:       h.Route,
		Backend:     h.Backend(),
		Client:      h.Client.Addr,
		Host:        req.Host(),
		Path:        shortened(req.Path()),
		Query:       c.proxy.accessLines.queryText(req.Query()),
		Subprotocol: shortened(answer.Protocol()),
		TLS:         [2]uint16{relay.Client: tlsVersion(c.client), relay.Backend: tlsVersion(c.backend)},
		IsHTTP2:     c.isStream,
		HasDeflate:  answer.Deflate(),
	}
	for side, isStream := range c.isStream {
		if isStream {
			info.TLS[side] = c.streamTLS[side]
		}
	}
	s := c.proxy.sessions.New(&info)
	c.proxy.logStarted(s)
	c.proxy.metrics.established(s, time.Since(h.Start))
	c.proxy.sessions.Add(s)
	h.Establish()
	c.giveToSession(h.Client.Addr.Addr())
	c.session = s
	return s
}

// source returns what the session shares with others of its listener. A connection's place becomes the session's, a stream has none.
func (c *connection) source() *session.Source {
	if c.isStream[relay.Client] {
		return &c.listener.streams
	}
	return &c.listener.source
}

// tlsVersion returns the version of TLS that a connection speaks, or 0.
func tlsVersion(conn net.Conn) uint16 {
	if c, ok := conn.(*tls.Conn); ok {
		return c.ConnectionState().Version
	}
	return 0
}

// newRegistry returns the registry of the proxy's sessions.
func (p *Proxy) newRegistry() *session.Registry {
	return session.NewRegistry(session.Config{
		Ended: func(s *session.Session, r *driver.Result) {
			p.metrics.ended(s)
			p.logEnded(s, r)
			if r.Verdict.Reason == relay.ReasonPingRefused && !s.Route.HasRefusedPing.Swap(true) {
				p.log.Warn("backend ends a session at the first ping", zap.String("route", s.Route.Name), zap.String("backend", s.Backend.Name()),
					zap.String("advice", `backend_ping_interval = "0s" if it knows no pings`))
			}
		},
		MayBlock: func(s *session.Session) bool {
			return p.accessLines.includes(s.ID) && p.access.Core().Enabled(zap.InfoLevel)
		},
		IsDraining: p.refuses.Load,
		Panics:     p.panics,
	})
}

// Sessions returns the live sessions, and how others ended.
func (p *Proxy) Sessions() *session.Registry { return p.sessions }
