package proxy

import (
	"net"
	"time"

	"go.uber.org/zap"

	"sluice/balancer"
	"sluice/internal/netconn"
	"sluice/internal/share"
	"sluice/proxy/driver"
	"sluice/proxy/handshake"
	"sluice/proxy/reach"
	"sluice/proxy/relay"
	"sluice/proxy/route"
	"sluice/proxy/session"
	"sluice/upgrade"
)

// A connection is a client's connection from accept until a driver owns it, or it ends. The core has the state of its handshake. One
// executor at a time owns it: executor_goroutine.go or executor_loop_linux.go.
type connection struct {
	*listener
	core    handshake.Core
	proxy   *Proxy
	client  net.Conn         // nil on a loop, unless the connection has TLS
	backend net.Conn         // of the attempt under way; nil if there is none, and on a loop, unless a stream's backend has TLS
	session *session.Session // that a driver is about to own, or nil

	// Places that it has (admission.go).
	of            share.Key // the address that the connection counts for
	handshakeOf   share.Key // and its handshake
	isCounted     bool      // among the connections
	isHandshaking bool      // it has the place of a handshake

	// Of streams of HTTP/2, by side.
	isStream  [2]bool
	streamTLS [2]uint16 // version of TLS of the connection below; 0: none
	early     []byte    // what the client of a stream has sent before its answer

	hasServed      bool // plain requests
	isFinished     bool // end has been called, or must not be
	isMemoryShared bool // a goroutine may still read the request
}

// Name implements handshake.Gateway, as the methods up to Ended do.
func (l *listener) Name() string { return l.name }

func (l *listener) Tracer() handshake.Tracer { return l.proxy.tracer }

func (l *listener) Identify(c *reach.Client, r *upgrade.Request, id uint64) {
	if isReadable := l.trust.Identify(c, r); !isReadable {
		l.proxy.metrics.unreadable.WithLabelValues(l.name).Inc()
	}
	c.Proto, c.RequestID = "http", reach.FormatID(id)
	if addr, isTCP := l.ln.Addr().(*net.TCPAddr); isTCP {
		c.Port = uint16(addr.Port)
	}
	if l.tls != nil {
		c.Proto = "https"
	}
}

func (l *listener) IsPlain(c *reach.Client, r *upgrade.Request) bool {
	return l.plainRoute(c, r) != nil
}

func (l *listener) Route(c *reach.Client, r *upgrade.Request) (*route.Route, *upgrade.Rejection) {
	r.Believe(l.trust.Believes(c))
	return l.proxy.routes.Load().Match(l.name, r)
}

func (l *listener) Refuses() bool { return l.proxy.refuses.Load() }

func (l *listener) AttemptEnded(id uint64, b *balancer.Backend, cause string) {
	if ce := l.proxy.log.Check(zap.DebugLevel, "handshake with a backend ended"); ce != nil {
		ce.Write(zap.String("session", reach.FormatID(id)), zap.String("backend", b.Name()), zap.String("error", cause))
	}
}

func (l *listener) Ended(c *handshake.Core) {
	l.proxy.metrics.refused(c.Route, c.Reason(), c.Status)
	l.proxy.logRefused(l, c)
	l.warnIfExhausted(c.Reason(), c.Cause())
}

// closeBackend closes the connection to the backend of the last attempt.
func (c *connection) closeBackend() {
	if c.backend != nil {
		_ = c.backend.Close()
		c.backend = nil
	}
}

// refusalTimeout bounds the write of a refusal, which fits into the buffer of any socket.
const refusalTimeout = time.Second

// end ends a connection whose handshake made no session. step is the last step of the handshake. It blocks for at most
// netconn.LingerTime.
func (c *connection) end(step handshake.Step) {
	c.isFinished = true
	defer c.leave()
	defer c.putMemory()
	c.endHandshake() // the end may take a while
	c.closeBackend()
	switch {
	case step == handshake.Refuse:
		_ = c.client.SetWriteDeadline(time.Now().Add(refusalTimeout))
		_, _ = c.client.Write(upgrade.AppendRejection(nil, c.core.Rejection))
		defer netconn.LingerClose(c.client) // it may take a while, so the handshake is accounted for before
	case c.core.IsTorn:
		defer netconn.BreakOff(c.client, c.core.Memory.Answer.IsOpenEnded())
	case c.core.Outcome == handshake.Passed, c.core.Outcome == handshake.Served:
		defer netconn.LingerClose(c.client)
	default:
		_ = c.client.Close()
	}
	c.core.End(time.Now())
}

// putMemory puts the handshake's memory back into the pool. Shared memory is left to the garbage collector.
func (c *connection) putMemory() {
	if c.core.Memory != nil && !c.isMemoryShared {
		c.proxy.memory.Put(c.core.Memory)
	}
	c.core.Memory = nil
}

// endAfterPanic ends a connection whose goroutine has panicked.
func (c *connection) endAfterPanic() {
	step := c.abort()
	if !c.isFinished {
		c.end(step)
		return
	}
	c.core.End(time.Now())
	if c.client != nil {
		_ = c.client.Close()
	}
	c.closeBackend()
}

// abort ends the session, if there is one already, and the handshake of a connection after a panic. It returns the last step.
func (c *connection) abort() handshake.Step {
	if c.session != nil {
		c.session.SessionEnded(driver.Result{Verdict: relay.Aborted})
	}
	return c.core.Abort()
}

// params describes the session to a driver. Early has the frames that came after both heads.
func (c *connection) params(s *session.Session) driver.Params {
	return driver.Params{
		Config:     &c.core.Route.Relay,
		HasDeflate: c.core.Memory.Answer.Deflate(),
		Early:      [2][]byte{append(c.early, c.core.EarlyFrames()...), c.core.AfterAnswer()},
		Owner:      s,
		Handle:     &s.Handle,
	}
}
