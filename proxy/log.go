package proxy

import (
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"sluice/proxy/driver"
	"sluice/proxy/handshake"
	"sluice/proxy/plain"
	"sluice/proxy/reach"
	"sluice/proxy/relay"
	"sluice/proxy/session"
)

// accessLine begins a line of the access log about the handshake or request of that id. It returns nil if there is to be no line.
func (p *Proxy) accessLine(id uint64, message string) *zapcore.CheckedEntry {
	if !p.accessLines.includes(id) {
		return nil
	}
	return p.access.Check(zap.InfoLevel, message)
}

// logStarted writes the line of a session's start. A loop may call it, so it doesn't wait for a slow log.
func (p *Proxy) logStarted(s *session.Session) {
	if p.accessLines.When == AtEnd {
		return
	}
	if c := p.accessLine(s.ID, "session started"); c != nil {
		s.StartLogged = make(chan struct{})
		go p.writeStart(s, c)
	}
}

func (p *Proxy) writeStart(s *session.Session, c *zapcore.CheckedEntry) {
	defer p.panics.Catch(room, nil)
	defer close(s.StartLogged)
	c.Write(appendSessionFields(nil, s)...)
}

// appendSessionFields appends the fields that both lines of a session have.
func appendSessionFields(fields []zap.Field, s *session.Session) []zap.Field {
	fields = append(fields,
		zap.String("session", reach.FormatID(s.ID)),
		zap.String("listener", s.Source.Name),
		zap.String("route", s.Route.Name),
		zap.String("pool", s.Route.PoolName),
		zap.String("backend", s.Backend.Name()),
		zap.String("client", reach.FormatClient(s.Client)),
		zap.String("host", s.Host()),
		zap.String("path", s.Path()),
		zap.String("http", s.HTTP(relay.Client)),
		zap.String("backend_http", s.HTTP(relay.Backend)),
		zap.Int("status", statusOf(s)),
		zap.String("subprotocol", s.Subprotocol()),
	)
	if query := s.Query(); query != "" {
		fields = append(fields, zap.String("query", query))
	}
	return fields
}

// statusOf returns the status that began a session.
func statusOf(s *session.Session) int {
	if s.HTTP(relay.Client) == "2" {
		return 200
	}
	return 101
}

// fieldsPool has buffers for the fields of a session's last line: *[]zap.Field, which are empty. A core keeps no field after its Write.
var fieldsPool = sync.Pool{New: func() any { return new(make([]zap.Field, 0, 32)) }}

// logEnded writes the line of a session's end.
func (p *Proxy) logEnded(s *session.Session, r *driver.Result) {
	if p.accessLines.When == AtStart {
		return
	}
	c := p.accessLine(s.ID, "session")
	if c == nil {
		return
	}
	if s.StartLogged != nil {
		<-s.StartLogged
	}
	toBackend, toClient := r.Counts[relay.Client], r.Counts[relay.Backend]
	v := r.Verdict
	buf := fieldsPool.Get().(*[]zap.Field)
	fields := append(appendSessionFields(*buf, s),
		zap.Uint64("frames_to_backend", toBackend.Frames),
		zap.Uint64("frames_to_client", toClient.Frames),
		zap.Uint64("bytes_to_backend", toBackend.Bytes),
		zap.Uint64("bytes_to_client", toClient.Bytes),
		zap.Duration("duration", time.Since(s.Start)),
		zap.Uint16("close_code", session.CloseCode(v)),
		zap.Stringer("initiator", v.Initiator),
		zap.String("reason", session.CloseReason(v)),
	)
	fields = append(fields, // the names in the version before
		zap.Uint64("frames_in", toBackend.Frames),
		zap.Uint64("frames_out", toClient.Frames),
		zap.Uint64("bytes_in", toBackend.Bytes),
		zap.Uint64("bytes_out", toClient.Bytes),
		zap.Stringer("closed_by", v.Initiator),
	)
	c.Write(fields...)
	clear(fields)
	*buf = fields[:0]
	fieldsPool.Put(buf)
}

// logRefused writes the line of a handshake that made no session.
func (p *Proxy) logRefused(l *listener, h *handshake.Core) {
	c := p.accessLine(h.ID, "session")
	if c == nil {
		return
	}
	req := &h.Memory.Request
	name, pool, backend := "", "", ""
	if h.Route != nil {
		name, pool = h.Route.Name, h.Route.PoolName
	}
	if h.Asked != nil {
		backend = h.Asked.Name()
	}
	fields := []zap.Field{
		zap.String("session", reach.FormatID(h.ID)),
		zap.String("listener", l.name),
		zap.String("route", name),
		zap.String("pool", pool),
		zap.String("backend", backend),
		zap.String("client", reach.FormatClient(h.Client.Addr)),
		zap.String("host", string(req.Host())),
		zap.String("path", string(shortened(req.Path()))),
		zap.String("http", reach.HTTPVersion(h.Client.IsHTTP2)),
		zap.Int("status", h.Status),
		zap.Duration("duration", time.Since(h.Start)),
		zap.String("reason", h.Reason()),
		textField("error", h.Cause()),
	}
	c.Write(append(fields, textField("query", string(p.accessLines.queryText(req.Query()))))...)
}

// textField returns a field that is left out if its text is empty.
func textField(key, text string) zap.Field {
	if text == "" {
		return zap.Skip()
	}
	return zap.String(key, text)
}

// logPlain writes a plain request's line of the access log.
func (p *Proxy) logPlain(l *listener, r *plain.Request) {
	c := p.accessLine(rand.Uint64(), "request")
	if c == nil {
		return
	}
	c.Write(
		zap.String("listener", l.name),
		zap.String("route", r.Route.Name),
		zap.String("pool", r.Route.PoolName),
		zap.String("backend", r.Backend),
		zap.String("client", reach.FormatClient(r.Client.Addr)),
		zap.String("host", string(r.Host())),
		zap.String("method", string(r.Method())),
		zap.String("path", string(shortened(r.Path()))),
		zap.String("http", reach.HTTPVersion(r.Client.IsHTTP2)),
		zap.Int("status", r.Status),
		zap.Int64("bytes_to_client", r.Bytes),
		zap.Int64("bytes_out", r.Bytes), // the name in the version before
		zap.Duration("duration", time.Since(r.Start)),
		textField("reason", r.Reason),
		textField("error", r.Cause),
		textField("query", string(p.accessLines.queryText(r.Query()))),
	)
}
