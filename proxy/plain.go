package proxy

import (
	"math/rand/v2"

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
		Identify:    l.identify,
		Served: func(r *plain.Request) {
			l.proxy.metrics.plain(r)
			l.proxy.logPlain(l, r)
		},
		Log:    l.proxy.log,
		Panics: l.proxy.panics,
	})
}

// plainRoute returns the route of a request that goes to the plain path; nil: it is a handshake's, which may refuse it.
func (l *listener) plainRoute(r *upgrade.Request) *route.Route {
	if r.IsWebSocket() || l.redirectsHTTPS {
		return nil
	}
	route := l.proxy.routes.Load().Find(l.name, r.Hostname(), r.Path())
	if route == nil || !route.PassesHTTP || r.IsEncodedSlash() && !route.PassesEncodedSlash {
		return nil
	}
	return route
}

// servePlain serves requests by the plain path until one of them isn't for it, or the connection ends. nil: there is such a one, and what
// has come of it is in the handshake's buffer.
func (h *handshake) servePlain() error {
	c := h.listener.plain.Begin(h.client, h.from, h.memory.FromClient.Bytes())
	if c == nil {
		return upgrade.ErrDraining
	}
	// It may last, and needs none of this.
	h.proxy.memory.Put(h.memory)
	rest, start, err := c.Wait()
	h.memory = h.proxy.memory.Get()
	if err != nil {
		return err
	}
	if start.IsZero() {
		return errServed
	}
	h.memory.FromClient.Grow(copy(h.memory.FromClient.Free(), rest))
	h.id, h.start = rand.Uint64(), start
	_ = h.client.SetDeadline(h.start.Add(h.listener.headTimeout))
	return nil
}
