package proxy

import (
	"crypto/tls"
	"math/rand/v2"
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
		Query:       c.proxy.queryText(req.Query()),
		Subprotocol: shortened(answer.Protocol()),
		Subject:     h.Client.Subject,
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
	if ends := h.Client.Expires; !ends.IsZero() {
		s.ExpireAt(beforeExpiry(ends, time.Now()))
	}
	return s
}

// What is taken off the time that a session has until its credentials expire, by chance, so that those of many don't end together.
const (
	expiryShare  = 20 // up to one of so many parts
	expirySpread = 30 * time.Second
)

// beforeExpiry returns when a session ends whose credentials expire.
func beforeExpiry(ends, now time.Time) time.Time {
	off := min(ends.Sub(now)/expiryShare, expirySpread)
	if off <= 0 {
		return ends
	}
	return ends.Add(-rand.N(off))
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
