package proxy

import (
	"sluice/internal/share"
	"sluice/proxy/limits"
	"sluice/proxy/plain"
	"sluice/proxy/reach"
	"sluice/proxy/route"
	"sluice/upgrade"
)

// newPlainServer returns the server of the listener's plain requests. It doesn't run yet.
func (l *listener) newPlainServer() *plain.Server {
	return plain.NewServer(plain.Config{
		Addr:        l.ln.Addr(),
		HeadTimeout: l.headTimeout,
		Route:       l.plainRoute,
		Identify:    l.Identify,
		Admit:       l.admitRequest,
		Release:     func(r *plain.Request) { l.places.Release(limits.Requests, share.KeyOf(r.Client.Addr.Addr())) },
		MaxIdle:     l.config.MaxHandshakes,
		IsIdle: func() {
			if l.places.Short(limits.Connections) > 0 {
				l.proxy.relieve()
			}
		},
		Served: func(r *plain.Request) {
			l.proxy.metrics.plain(r)
			l.proxy.logPlain(l, r)
			l.warnIfExhausted(r.Reason, r.Cause)
		},
		Stopped: l.proxy.ctx.Done(),
		Log:     l.proxy.log,
		Panics:  l.proxy.panics,
	})
}

// admitRequest counts a plain request, has its route admit it, and acquires its place.
func (l *listener) admitRequest(r *plain.Request) (rejection *upgrade.Rejection) {
	of := share.KeyOf(r.Client.Addr.Addr())
	if l.places.Request(of, r.Start) {
		r.Route, rejection = r.Client.Admit(r.Route, &r.Request)
	} else {
		rejection = errRate
	}
	switch {
	case rejection != nil:
	case r.Client.IsHTTP2 && !l.proxy.hasRoom():
		rejection = placeRefusals[limits.Requests][limits.Full]
	default:
		rejection = placeRefusals[limits.Requests][l.places.Acquire(limits.Requests, of)]
	}
	if rejection != nil {
		l.proxy.metrics.rejected.WithLabelValues(r.Route.Name, rejection.Reason).Inc()
	}
	return rejection
}

// plainRoute returns the route of a request for the plain path. It returns nil if the handshake has to accept or refuse the request.
func (l *listener) plainRoute(c *reach.Client, r *upgrade.Request) *route.Route {
	if r.IsWebSocket() || l.Redirection(r) != nil {
		return nil
	}
	route, rejection := l.Route(c, r)
	if rejection != nil || !route.PassesHTTP {
		return nil
	}
	return route
}
