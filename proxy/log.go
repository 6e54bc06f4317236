package proxy

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"sluice/proxy/driver"
	"sluice/proxy/relay"
)

// accessLine begins a line of the access log about the handshake or request of that id; nil: none is wanted.
func (p *Proxy) accessLine(id uint64, message string) *zapcore.CheckedEntry {
	if !p.accessLines.takes(id) {
		return nil
	}
	return p.access.Check(zap.InfoLevel, message)
}

// logStarted writes the line of a session that begins, without waiting for a slow log: a loop may be the caller.
func (p *Proxy) logStarted(s *session) {
	if p.accessLines.When == AtEnd {
		return
	}
	if c := p.accessLine(s.id, "session started"); c != nil {
		s.startTold = make(chan struct{})
		go s.tellStart(c)
	}
}

// tellStart writes the line.
func (s *session) tellStart(c *zapcore.CheckedEntry) {
	defer s.proxy.panics.Catch(room, nil)
	defer close(s.startTold)
	c.Write(s.logFields()...)
}

// logFields returns what both lines of a session say.
func (s *session) logFields() []zap.Field {
	fields := []zap.Field{
		zap.String("session", formatID(s.id)),
		zap.String("listener", s.listener.name),
		zap.String("route", s.route.Name),
		zap.String("pool", s.route.PoolName),
		zap.String("backend", s.backend.Name()),
		zap.String("client", formatClient(s.client)),
		zap.String("host", s.host()),
		zap.String("path", s.path()),
		zap.Int("status", 101),
		zap.String("subprotocol", s.subprotocol()),
	}
	if s.querySize > 0 {
		fields = append(fields, zap.String("query", s.query()))
	}
	return fields
}

// logEnded writes the line of a session that has ended.
func (p *Proxy) logEnded(s *session, r *driver.Result) {
	if p.accessLines.When == AtStart {
		return
	}
	c := p.accessLine(s.id, "session")
	if c == nil {
		return
	}
	if s.startTold != nil {
		<-s.startTold
	}
	in, out := r.Counts[relay.Client], r.Counts[relay.Backend]
	v := r.Verdict
	c.Write(append(s.logFields(),
		zap.Uint64("frames_in", in.Frames),
		zap.Uint64("frames_out", out.Frames),
		zap.Uint64("bytes_in", in.Bytes),
		zap.Uint64("bytes_out", out.Bytes),
		zap.Duration("duration", time.Since(s.start)),
		zap.Uint16("close_code", closeCode(v)),
		zap.Stringer("closed_by", v.Initiator),
		zap.String("reason", closeReason(v)),
	)...)
}

// closeCode is the code under which an end is logged and counted: 1005, which never goes on the wire, for a close without one
// (RFC 6455 section 7.1.5).
func closeCode(v relay.Verdict) uint16 {
	if v.Code == 0 {
		return 1005
	}
	return v.Code
}

// closeReason is why a session ended, as it is logged: for a fault, the rule that was broken.
func closeReason(v relay.Verdict) string {
	if v.Reason == relay.ReasonFault {
		return v.Rule.String()
	}
	return v.Reason.String()
}

// logRefused writes the line of a handshake that didn't become a session.
func (p *Proxy) logRefused(h *handshake, routeName, reason string) {
	c := p.accessLine(h.id, "session")
	if c == nil {
		return
	}
	req := &h.memory.Request
	pool, backend := "", ""
	if h.route != nil {
		pool = h.route.PoolName
	}
	if h.asked != nil {
		backend = h.asked.Name()
	}
	fields := []zap.Field{
		zap.String("session", formatID(h.id)),
		zap.String("listener", h.listener.name),
		zap.String("route", routeName),
		zap.String("pool", pool),
		zap.String("backend", backend),
		zap.String("client", formatClient(h.from.Addr)),
		zap.String("host", string(req.Host())),
		zap.String("path", string(req.Path())),
		zap.Int("status", h.status),
		zap.Duration("duration", time.Since(h.start)),
		zap.String("reason", reason),
	}
	c.Write(append(fields, p.queryField(req.Query()))...)
}

// queryField returns the query as it may be logged.
func (p *Proxy) queryField(query []byte) zap.Field {
	if text := p.accessLines.queryText(query); len(text) > 0 {
		return zap.String("query", string(text))
	}
	return zap.Skip()
}

// logPlain writes a plain request's line of the access log.
func (p *Proxy) logPlain(l *listener, e *exchange, w *countedWriter) {
	c := p.accessLine(rand.Uint64(), "request")
	if c == nil {
		return
	}
	c.Write(
		zap.String("listener", l.name),
		zap.String("route", e.route.Name),
		zap.String("pool", e.route.PoolName),
		zap.String("backend", e.backend),
		zap.String("client", formatClient(e.client.Addr)),
		zap.String("host", string(e.Host())),
		zap.String("method", string(e.Method())),
		zap.String("path", string(e.Path())),
		zap.Int("status", w.status),
		zap.Int64("bytes_out", w.bytes),
		zap.Duration("duration", time.Since(e.start)),
		p.queryField(e.Query()),
	)
}

// formatClient formats a client's address; a client at a Unix socket has none.
func formatClient(a netip.AddrPort) string {
	if !a.IsValid() {
		return "unix"
	}
	return a.String()
}
