package proxy

import (
	"sluice/proxy/plain"
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
		Served: func(r *plain.Request) {
			l.proxy.metrics.plain(r)
			l.proxy.logPlain(l, r)
		},
		Stopped: l.proxy.ctx.Done(),
		Log:     l.proxy.log,
		Panics:  l.proxy.panics,
	})
}

// plainRoute returns the route of a request for the plain path. It returns nil if the handshake has to accept or refuse the request.
func (l *listener) plainRoute(r *upgrade.Request) *route.Route {
	if r.IsWebSocket() || l.Redirection(r) != nil {
		return nil
	}
	route, rejection := l.Route(r)
	if rejection != nil || !route.PassesHTTP {
		return nil
	}
	return route
}
