package proxy

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"go.uber.org/zap"

	"sluice/balancer"
	"sluice/internal/netconn"
	"sluice/proxy/driver"
	"sluice/proxy/reach"
	"sluice/proxy/relay"
	"sluice/proxy/route"
	"sluice/proxy/session"
	"sluice/upgrade"
)

// A handshake is a connection from accept until the driver has it, or it is refused. Owned by one goroutine.
type handshake struct {
	listener *listener
	proxy    *Proxy
	client   net.Conn
	start    time.Time

	memory   *upgrade.Handshake
	headSize int // of the client's head; early frames are behind it in memory.FromClient
	id       uint64
	from     reach.Client
	route    *route.Route
	asked    *balancer.Backend // the one that was picked last; nil: none was
	attempt  *attempt          // that holds a pick; nil: none does
	session  *session.Session  // that the driver is about to have; nil: none is
	status   int               // that the client got; 0: none yet

	isAnswered bool // a part of the answer may have been sent: there can be no other one
	isFinished bool // finish accounts for it, or has

	hasPlaces bool // of the session that it may become
	followed  *followed
}

// errClientLost ends a handshake whose client has gone: nobody is left to be told.
var errClientLost = errors.New("client lost")

// errAnswered ends a handshake whose client got the backend's own answer.
var errAnswered = errors.New("answered")

// errTorn ends a handshake whose client got a part of the backend's own answer.
var errTorn = errors.New("answer torn")

// errServed ends a connection whose requests net/http has served, and which are accounted for.
var errServed = errors.New("served")

// errOnLoop ends a goroutine's part of a handshake: a loop goes on with it, and owns all of it.
var errOnLoop = errors.New("goes on on a loop")

// run is the path from accept to relay.
func (h *handshake) run() {
	defer h.proxy.panics.Catch(room, h.broken)
	h.finish(h.fromStart())
}

// broken ends a handshake after a panic.
func (h *handshake) broken() {
	if h.isFinished {
		_ = h.client.Close()
		return
	}
	h.finish(h.abandon())
}

// abandon gives up what a handshake that has panicked holds of others. The error is what the client is told.
func (h *handshake) abandon() error {
	if a := h.attempt; a != nil {
		a.outcome = balancer.GatewayFault
		a.giveBack()
	}
	if h.session != nil {
		h.session.SessionEnded(driver.Result{Verdict: relay.Aborted})
	}
	return upgrade.ErrInternal
}

func (h *handshake) fromStart() error {
	if err := h.begin(); err != nil {
		return err
	}
	for {
		if err := h.readHead(); err != nil {
			return err
		}
		if err := h.answerChallenge(); err != nil {
			return err
		}
		if !h.isPlain() {
			break
		}
		if err := h.servePlain(); err != nil {
			return err
		}
	}
	h.follow()
	err := h.admit()
	h.followed.step("route", err)
	if err == nil {
		err = h.goOnLoop()
	}
	if err != nil {
		return err
	}
	return h.connect(nil)
}

// finish ends a handshake. nil: it became a session, and the driver has both connections.
func (h *handshake) finish(err error) {
	if errors.Is(err, errOnLoop) {
		return
	}
	h.isFinished = true
	defer h.listener.done()
	defer h.proxy.memory.Put(h.memory)
	defer func() { h.traceEnded(err) }()
	if err == nil {
		return
	}
	var rejection *upgrade.Rejection
	switch {
	case errors.As(err, &rejection) && h.isAnswered:
		netconn.Cut(h.client)
	case errors.As(err, &rejection):
		h.status = rejection.Status
		h.refuse(rejection)
		defer netconn.LingerClose(h.client) // which may last: it is accounted for before
	case errors.Is(err, errServed):
	case errors.Is(err, errAnswered):
		defer netconn.LingerClose(h.client)
	case errors.Is(err, errTorn):
		// Only a cut tells the client that something is missing.
		netconn.Cut(h.client)
	default:
		_ = h.client.Close()
	}
	h.ended(err)
}

// begin is what comes before the head.
func (h *handshake) begin() error {
	deadline := h.start.Add(h.listener.headTimeout)
	if err := h.client.SetReadDeadline(deadline); err != nil {
		return errClientLost
	}
	if h.listener.isBehindProxy {
		if err := h.readProxyHeader(); err != nil {
			return err
		}
	}
	if h.listener.tls != nil {
		return h.secure(deadline)
	}
	return nil
}

// isPlain tells whether the request that was read goes to net/http.
func (h *handshake) isPlain() bool { return h.listener.plainRoute(&h.memory.Request) != nil }

// readHead reads up to the end of the client's head.
func (h *handshake) readHead() error {
	buf, req := &h.memory.FromClient, &h.memory.Request
	for {
		if len(buf.Bytes()) > 0 {
			size, err := req.Parse(buf.Bytes())
			if err != nil {
				return err
			}
			if size > 0 {
				h.headSize = size
				return nil
			}
		}
		n, err := h.client.Read(buf.Free())
		buf.Grow(n)
		if n > 0 {
			continue
		}
		if netconn.IsTimeout(err) && len(buf.Bytes()) > 0 {
			return upgrade.ErrHeadTimeout
		}
		if err != nil {
			return errClientLost
		}
	}
}

// admit finds the route and checks the request; a refusal costs no backend anything.
func (h *handshake) admit() error {
	req := &h.memory.Request
	h.listener.identify(&h.from, req, h.id)
	if h.listener.redirectsHTTPS {
		return redirection(req)
	}
	h.route = h.proxy.routes.Load().Find(h.listener.name, req.Hostname(), req.Path())
	switch {
	case h.route == nil:
		return upgrade.ErrNoRoute
	case req.IsEncodedSlash() && !h.route.PassesEncodedSlash:
		return upgrade.ErrEncodedSlash
	}
	if err := req.CheckUpgrade(); err != nil {
		return err
	}
	switch {
	case !h.route.AllowsOrigin(req.Origin(), req.Host()):
		return upgrade.ErrOrigin
	case h.proxy.refuses.Load():
		return upgrade.ErrDraining
	}
	if rejection := h.listener.acquire(h.from.Addr.Addr(), time.Now()); rejection != nil {
		return rejection.RetryAfter(reach.RetryAfter)
	}
	h.hasPlaces = true
	return nil
}

// redirection sends a client to the same address over TLS.
func redirection(r *upgrade.Request) error {
	host := string(r.Hostname())
	switch {
	case host == "":
		return upgrade.ErrNoHost // HTTP/1.0 may do without
	case strings.Contains(host, ":"):
		host = "[" + host + "]" // RFC 3986 section 3.2.2
	}
	target := "https://" + host + string(r.RawPath())
	if q := r.Query(); len(q) > 0 {
		target += "?" + string(q)
	}
	// RFC 9110 section 15.4.9: a 308 keeps the method.
	return upgrade.ErrRedirect.With(upgrade.Field{Name: "Location", Value: target})
}

// connect finds a backend that takes the session. It tries another one where a backend gave no answer, or one that the pool does not
// want to be passed on. first is an attempt that has begun elsewhere; nil: none has.
func (h *handshake) connect(first *attempt) error {
	ctx, cancel := context.WithCancel(h.proxy.ctx)
	defer cancel()
	w := watchClient(h, cancel)
	defer w.stop()
	want := h.wanted()
	a := first
	if a == nil {
		// It may wait for a place, as long as the pool says: the clock of the handshake with a backend doesn't run yet.
		pick, err := h.pick(ctx, &want, nil)
		if err != nil && w.isLost() {
			return errClientLost
		}
		if err != nil {
			return reach.Unpicked(err)
		}
		a = h.newAttempt(pick, time.Now().Add(h.route.HandshakeTimeout))
	}
	ctx, cancel = context.WithDeadline(ctx, a.deadline)
	defer cancel()
	var tried []*balancer.Backend
	for {
		a.watch = w
		err := a.run(ctx)
		if err == nil {
			return nil
		}
		if w.isLost() {
			a.outcome, err = balancer.ClientFault, errClientLost
		}
		tried = append(tried, a.backend)
		next := h.another(ctx, &want, a, tried)
		if next == nil && errors.Is(err, errStatus) {
			err = a.passAnswer()
		}
		a.giveBack()
		if c := h.proxy.log.Check(zap.DebugLevel, "handshake with a backend ended"); c != nil {
			c.Write(zap.String("session", reach.FormatID(h.id)), zap.String("backend", a.backend.Name()), zap.Error(err))
		}
		switch {
		case next != nil:
			a = next
		case errors.Is(err, errAnswered), errors.Is(err, errTorn), errors.Is(err, errClientLost):
			return err
		default:
			return a.rejection(ctx, err)
		}
	}
}

// wanted is what the pool may choose by.
func (h *handshake) wanted() balancer.Request {
	return balancer.Request{Client: h.from.Addr.Addr(), Head: &h.memory.Request}
}

func (h *handshake) newAttempt(pick balancer.Pick, deadline time.Time) *attempt {
	h.asked = pick.Backend
	h.attempt = &attempt{handshake: h, backend: pick.Backend, cookie: pick.SetCookie, hasNext: pick.HasNext, deadline: deadline}
	h.followed.picked(pick.Backend.Name())
	return h.attempt
}

// another returns the next attempt behind one that has failed; nil: there is none, and what that one came to is the client's answer.
func (h *handshake) another(ctx context.Context, want *balancer.Request, a *attempt, tried []*balancer.Backend) *attempt {
	if ctx.Err() != nil || !h.route.Pool.MayRetry(a.outcome, len(tried)) {
		return nil
	}
	pick, err := h.pick(ctx, want, tried)
	if err != nil {
		return nil
	}
	return h.newAttempt(pick, a.deadline)
}

func (h *handshake) pick(ctx context.Context, want *balancer.Request, tried []*balancer.Backend) (balancer.Pick, error) {
	pick, err := h.route.Pool.Pick(ctx, want, tried)
	if err != nil {
		h.followed.step("pick", err)
	}
	return pick, err
}

// refuse sends a refusal. Where it can't, the client has gone.
func (h *handshake) refuse(r *upgrade.Rejection) {
	_ = h.client.SetWriteDeadline(time.Now().Add(refusalTimeout))
	_, _ = h.client.Write(upgrade.AppendRejection(nil, r))
}

// refusalTimeout is how long a client may take to receive a refusal: it fits into any socket's buffer.
const refusalTimeout = time.Second

// ended accounts for a handshake that didn't become a session.
func (h *handshake) ended(err error) {
	if h.hasPlaces {
		h.listener.release(h.from.Addr.Addr(), time.Now())
	}
	name, reason := "", "client_lost"
	if h.route != nil {
		name = h.route.Name
	}
	var rejection *upgrade.Rejection
	switch {
	case errors.As(err, &rejection):
		reason = rejection.Reason
	case errors.Is(err, errAnswered), errors.Is(err, errTorn):
		reason = "status"
	case errors.Is(err, errServed):
		return
	case h.memory == nil || len(h.memory.FromClient.Bytes()) == 0:
		return // a port scan, a health check of TCP: no request was made
	}
	h.proxy.metrics.refused(h.route, reason, h.status)
	h.proxy.logRefused(h, name, reason)
}
