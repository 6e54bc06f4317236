package proxy

import (
	"maps"
	"net/netip"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"

	"sluice/balancer"
	"sluice/internal/share"
	"sluice/proxy/limits"
	"sluice/proxy/plain"
	"sluice/proxy/relay"
	"sluice/proxy/route"
	"sluice/proxy/session"
)

// How a gateway is handed over to another process, but for the sessions themselves (handover_linux.go): sockets, pools, and what a session
// still has of a configuration that is not in use here.

// A Socket is a listening socket.
type Socket struct {
	Name        string                   // of the listener
	Address     string                   // of the listener, as configured
	IsInherited bool                     // systemd has opened it, not the gateway
	File        func() (*os.File, error) // returns a duplicate, which the caller owns
}

// Sockets returns the listening sockets that another process can take over.
func (p *Proxy) Sockets() []Socket {
	var sockets []Socket
	for _, l := range *p.listeners.Load() {
		if ln, isFile := l.ln.(interface{ File() (*os.File, error) }); isFile {
			sockets = append(sockets, Socket{Name: l.name, Address: l.config.Address, IsInherited: l.isInherited, File: ln.File})
		}
	}
	return sockets
}

// PauseAccepting accepts no more connections: they wait in the listening sockets, until resume is called or another process accepts them.
// Handshakes under way, and connections of plain requests, go on. A reload meanwhile is as ever, but accepts nothing.
func (p *Proxy) PauseAccepting() (resume func()) {
	p.reloading.Lock()
	defer p.reloading.Unlock()
	p.isPaused = true
	for _, l := range *p.listeners.Load() {
		l.pause()
	}
	return p.resumeAccepting
}

func (p *Proxy) resumeAccepting() {
	p.reloading.Lock()
	defer p.reloading.Unlock()
	if !p.isPaused || p.isDraining.Load() {
		return
	}
	p.isPaused = false
	for _, l := range *p.listeners.Load() {
		l.resume(l)
	}
}

// StopAccepting closes the listening sockets, which are another process's from now on: so are the files of Unix sockets, which stay. Sessions
// and handshakes go on, a connection of plain requests ends after the request under way, and one of HTTP/2 after the last of its streams. No
// reload begins after it.
func (p *Proxy) StopAccepting() {
	p.stopReloads()
	p.reloading.Lock()
	defer p.reloading.Unlock()
	for _, l := range *p.listeners.Load() {
		l.removeFile(false)
		l.socket.close()
		l.plain.EndKeepAlive()
		l.endMuxes()
	}
}

// IsEmpty reports whether the gateway has no client.
func (p *Proxy) IsEmpty() bool {
	return p.sessions.Count() == 0 && p.totals[limits.Connections].Held() == 0
}

// PoolStates returns what another process needs of the pools.
func (p *Proxy) PoolStates() []balancer.PoolState {
	pools := *p.pools.Load()
	var states []balancer.PoolState
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		if !pools[name].isRemoved {
			states = append(states, pools[name].HandOver())
		}
	}
	return states
}

// RestorePools goes on with what another process knows of its pools. Pools that the configuration lacks are skipped.
func (p *Proxy) RestorePools(states []balancer.PoolState) {
	pools := *p.pools.Load()
	for i := range states {
		if pool := pools[states[i].Name]; pool != nil && !pool.isRemoved {
			pool.TakeOver(&states[i])
		}
	}
}

// onRemoved says what happens to sessions whose route or pool the configuration lacks.
type onRemoved struct {
	drains bool
	over   time.Duration
}

// strangers are what sessions of another process have of a configuration that isn't in use here: as after a reload, but the parts that it
// replaced have never been in this process. They stay for the process's life, since each is small and has many sessions.
type strangers struct {
	routes  map[strangeRoute]*route.Route
	sources map[string]*source // by the listener's name
}

// A strangeRoute identifies a route, and tells it from others of the same key.
type strangeRoute struct {
	key        route.Key
	name, pool string
	drained    uint16
	relay      relay.Config
}

// A source is a listener that has only sessions of another process.
type source struct {
	session.Source
	places *limits.Places
}

// sourceOf returns what a session of the listener of that name has of it. The caller holds reloading.
func (p *Proxy) sourceOf(name string) (*session.Source, *limits.Places) {
	for _, l := range *p.listeners.Load() {
		if l.name == name {
			return &l.source, l.places
		}
	}
	of := p.strangers.sources[name]
	if of == nil {
		of = &source{places: limits.NewPlaces(&p.totals, limits.Limits{})}
		of.Source = session.Source{Name: name, Release: func(client netip.Addr) { release(of.places, client) }}
		if p.strangers.sources == nil {
			p.strangers.sources = map[string]*source{}
		}
		p.strangers.sources[name] = of
	}
	return &of.Source, of.places
}

// release releases the places of a session, which are also those of its connection.
func release(places *limits.Places, client netip.Addr) {
	of := share.KeyOf(client)
	places.Release(limits.Sessions, of)
	places.Release(limits.Connections, of)
}

// poolOf returns the pool of that name. One that the configuration lacks is as one that a reload has removed. The caller holds reloading.
func (p *Proxy) poolOf(name string) *pool {
	pools := *p.pools.Load()
	if of := pools[name]; of != nil {
		return of
	}
	of := &pool{
		Pool: balancer.NewGone(name, p.poolLog), section: &Pool{Config: balancer.Config{Name: name}},
		plain: plain.NewHandler(p.dialer(name), false, &p.plainConns, p.log), isRemoved: true,
	}
	pools = maps.Clone(pools)
	pools[name] = of
	p.pools.Store(&pools)
	p.runPool(of.Pool)
	p.beginRetiring(name)
	p.log.Info("pool of another process", zap.String("pool", name))
	return of
}

// routeOf returns the route of a session of another process: that in use if it is the same, otherwise one that says what the session began
// with. isGone: the configuration lacks it, or its pool. The caller holds reloading.
func (p *Proxy) routeOf(of *session.RouteState, config *relay.Config, in *pool) (r *route.Route, isGone bool) {
	key, isSent := route.SentKey(of.Key)
	if !isSent {
		key = route.KeyOf(of.Listener, of.Host, of.Path)
	}
	isGone = true
	for _, first := range p.routes.Load().Routes {
		if first.Key() != key {
			continue
		}
		for _, r := range first.Variants() {
			if r.Name == of.Name && r.PoolName == of.Pool && r.CloseCodes.Drained == int(of.Drained) && r.Relay == *config {
				return r, false
			}
		}
		isGone = in.isRemoved
	}
	id := strangeRoute{key, of.Name, of.Pool, of.Drained, *config}
	if r = p.strangers.routes[id]; r == nil {
		r = route.NewStranger(key)
		r.Name, r.Listener, r.Path, r.Pool, r.PoolName, r.Relay = of.Name, of.Listener, of.Path, in.Pool, of.Pool, *config
		r.CloseCodes.Drained = int(of.Drained)
		if of.Host != "" {
			r.Hosts = []string{of.Host}
		}
		if p.strangers.routes == nil {
			p.strangers.routes = map[strangeRoute]*route.Route{}
		}
		p.strangers.routes[id] = r
	}
	return r, isGone
}
