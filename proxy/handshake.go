package proxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"sluice/balancer"
	"sluice/upgrade"
)

// A handshake is a connection from accept until the driver has it, or it is refused. Owned by one goroutine.
type handshake struct {
	listener *listener
	proxy    *Proxy
	client   net.Conn
	peer     netip.AddrPort
	start    time.Time

	memory   *upgrade.Handshake
	headSize int // of the client's head; early frames are behind it in memory.FromClient
	id       uint64
	route    *route
	status   int // that the client got; 0: none yet
}

// errClientLost ends a handshake whose client has gone: nobody is left to be told.
var errClientLost = errors.New("client lost")

// errAnswered ends a handshake whose client got the backend's own answer, or a part of it.
var errAnswered = errors.New("answered")

// run is the path of DESIGN from head to relay.
func (h *handshake) run() {
	h.memory = h.proxy.memory.Get()
	defer h.proxy.memory.Put(h.memory)
	h.peer = addrOf(h.client)
	h.id = rand.Uint64()

	err := h.readHead()
	if err == nil {
		err = h.admit()
	}
	if err == nil {
		err = h.connect()
	}
	if err == nil {
		return // the driver has both connections
	}
	var rejection *upgrade.Rejection
	switch {
	case errors.As(err, &rejection):
		h.status = rejection.Status
		h.refuse(rejection)
	case errors.Is(err, errAnswered):
	default:
		_ = h.client.Close()
	}
	h.ended(err)
}

// readHead reads up to the end of the client's head.
func (h *handshake) readHead() error {
	if err := h.client.SetReadDeadline(h.start.Add(h.listener.headTimeout)); err != nil {
		return errClientLost
	}
	buf, req := &h.memory.FromClient, &h.memory.Request
	for {
		n, err := h.client.Read(buf.Free())
		buf.Grow(n)
		if n > 0 {
			size, err := req.Parse(buf.Bytes())
			if err != nil {
				return err
			}
			if size > 0 {
				h.headSize = size
				return nil
			}
		}
		if isTimeout(err) && len(buf.Bytes()) > 0 {
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
	h.route = h.proxy.routes.Load().find(h.listener.name, req.Hostname(), req.Path())
	switch {
	case h.route == nil:
		return upgrade.ErrNoRoute
	case !req.IsWebSocket():
		return upgrade.ErrNotWebSocket
	case req.IsEncodedSlash():
		return upgrade.ErrEncodedSlash
	}
	if err := req.CheckUpgrade(); err != nil {
		return err
	}
	switch {
	case !h.route.allowsOrigin(req.Origin()):
		return upgrade.ErrOrigin
	case h.proxy.isDraining.Load():
		return upgrade.ErrDraining
	case h.proxy.sessions.count() >= h.proxy.maxSessions:
		return upgrade.ErrLimit.RetryAfter(retryAfter)
	}
	return nil
}

// retryAfter is how many seconds a client is asked to wait that came when the gateway was full.
const retryAfter = 5

// connect finds a backend that takes the session. It tries another one where a backend gave no answer.
func (h *handshake) connect() error {
	deadline := time.Now().Add(h.route.handshakeTimeout)
	ctx, cancel := context.WithDeadline(h.proxy.ctx, deadline)
	defer cancel()
	w := watchClient(h, cancel)
	defer w.stop()

	want := balancer.Request{Client: h.clientAddr(), Head: &h.memory.Request}
	var tried []*balancer.Backend
	for {
		pick, err := h.route.pool.Pick(ctx, &want, tried)
		if err != nil {
			return h.unpicked(err, tried)
		}
		triesLeft := h.route.retries - len(tried)
		a := attempt{handshake: h, backend: pick.Backend, cookie: pick.SetCookie, watch: w, hasNext: triesLeft > 0}
		err = a.run(ctx, deadline)
		if err == nil {
			return nil
		}
		if w.isLost() {
			pick.Backend.Release(balancer.ClientFault)
			return errClientLost
		}
		pick.Backend.Release(a.outcome)
		if errors.Is(err, errAnswered) || errors.Is(err, errClientLost) {
			return err
		}
		if c := h.proxy.log.Check(zap.DebugLevel, "handshake with a backend ended"); c != nil {
			c.Write(zap.String("session", formatID(h.id)), zap.String("backend", pick.Backend.Name()), zap.Error(err))
		}
		if !a.mayRetry || triesLeft <= 0 || ctx.Err() != nil {
			return a.rejection(ctx, err)
		}
		tried = append(tried, pick.Backend)
	}
}

// unpicked is the answer when the pool gave no backend. Where some were tried before, the client is told of that.
func (h *handshake) unpicked(err error, tried []*balancer.Backend) error {
	var full *balancer.FullError
	switch {
	case len(tried) > 0:
		return upgrade.ErrDial
	case errors.As(err, &full):
		return upgrade.ErrNoBackend.RetryAfter(int((full.RetryAfter + time.Second - 1) / time.Second))
	default:
		return upgrade.ErrNoBackend
	}
}

// clientAddr returns the address that counts as the client's.
func (h *handshake) clientAddr() netip.Addr { return h.peer.Addr() }

// refuse sends a refusal and ends the connection.
func (h *handshake) refuse(r *upgrade.Rejection) {
	out := upgrade.AppendRejection(nil, r)
	_ = h.client.SetWriteDeadline(time.Now().Add(refusalTimeout))
	if _, err := h.client.Write(out); err != nil {
		_ = h.client.Close()
		return
	}
	lingerClose(h.client)
}

// refusalTimeout is how long a client may take to receive a refusal: it fits into any socket's buffer.
const refusalTimeout = time.Second

// ended accounts for a handshake that didn't become a session.
func (h *handshake) ended(err error) {
	name, reason := "", "client_lost"
	if h.route != nil {
		name = h.route.name
	}
	var rejection *upgrade.Rejection
	switch {
	case errors.As(err, &rejection):
		reason = rejection.Reason
	case errors.Is(err, errAnswered):
		reason = "status"
	case len(h.memory.FromClient.Bytes()) == 0:
		return // a port scan, a health check of TCP: no request was made
	}
	h.proxy.metrics.refused(h.route, reason, h.status)
	h.proxy.logRefused(h, name, reason)
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func formatID(id uint64) string { return fmt.Sprintf("%016x", id) }
