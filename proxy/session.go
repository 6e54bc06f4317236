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

// relay gives both connections to the driver.
func (a *attempt) relay() {
	_ = a.client.SetDeadline(time.Time{})
	_ = a.conn.SetDeadline(time.Time{})
	s := a.newSession()
	a.proxy.driver.Relay(a.params(s), a.client, a.conn)
	a.session = nil
	s.Relayed()
}

// newSession registers the session that the handshake has become.
func (a *attempt) newSession() *session.Session {
	a.backend.Established()
	req, answer := &a.memory.Request, &a.memory.Answer
	s := a.proxy.sessions.New(&session.Info{
		ID:          a.id,
		Source:      &a.listener.source,
		Route:       a.route,
		Backend:     a.backend,
		Client:      a.from.Addr,
		Host:        req.Host(),
		Path:        req.Path(),
		Query:       a.proxy.accessLines.queryText(req.Query()),
		Subprotocol: answer.Protocol(),
		TLS:         [2]uint16{relay.Client: tlsVersion(a.client), relay.Backend: tlsVersion(a.conn)},
		HasDeflate:  answer.Deflate(),
	})
	a.proxy.logStarted(s)
	a.proxy.metrics.established(s, time.Since(a.handshake.start))
	a.proxy.sessions.Add(s)
	a.attempt, a.session, a.hasPlaces = nil, s, false // the session owns the pick and the places now
	return s
}

// params is what the driver has to know of the session. Early are the frames after both heads.
func (a *attempt) params(s *session.Session) driver.Params {
	return driver.Params{
		Config:     &a.route.Relay,
		HasDeflate: a.memory.Answer.Deflate(),
		Early:      [2][]byte{a.memory.FromClient.Bytes()[a.headSize:], a.memory.FromBackend.Bytes()[a.size:]},
		Owner:      s,
		Handle:     &s.Handle,
	}
}

// tlsVersion returns the version that a connection speaks; 0: it isn't TLS.
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
		},
		MayBlock:   func() bool { return p.access.Core().Enabled(zap.InfoLevel) },
		IsDraining: p.refuses.Load,
		Panics:     p.panics,
	})
}

// Sessions returns the live sessions, and how others ended.
func (p *Proxy) Sessions() *session.Registry { return p.sessions }
