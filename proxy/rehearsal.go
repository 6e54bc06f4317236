package proxy

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"sluice/balancer"
	"sluice/internal/recovery"
	"sluice/internal/units"
	"sluice/proxy/handshake"
	"sluice/proxy/reach"
	"sluice/proxy/route"
	"sluice/upgrade"
)

// Rehearse builds what a Proxy builds from the sections, and sends each route requests in memory. It opens no socket and starts no
// goroutine. It reports panics, routes that no request reaches, and origins that no page can have. The caller has checked the sections as
// Sections says. Keys are paths in the whole configuration, such as "route[0].path".
func Rehearse(c Sections, report units.Report) {
	r := newRehearsal(c, report)
	if r.build() {
		r.play()
	}
}

// A rehearsal is one call of Rehearse.
type rehearsal struct {
	sections Sections
	report   units.Report
	proxy    *Proxy
	next     *generation
}

func newRehearsal(c Sections, report units.Report) *rehearsal {
	p := &Proxy{log: zap.NewNop(), poolLog: zap.NewNop(), ctx: context.Background()}
	p.inherited = func(_, _ string) net.Listener { return noSocket{} }
	p.listeners.Store(new([]*listener))
	p.routes.Store(new(route.Table))
	p.pools.Store(&map[string]*pool{})
	return &rehearsal{
		sections: c,
		report:   report,
		proxy:    p,
		next:     &generation{pools: map[string]*pool{}},
	}
}

// A noSocket is a listener to which no client connects.
type noSocket struct{ net.Listener }

func (noSocket) Addr() net.Addr { return &net.TCPAddr{} }
func (noSocket) Close() error   { return nil }

// build does what Proxy.prepare does, section by section. It reports whether every section could be built.
func (r *rehearsal) build() bool {
	p, next, c := r.proxy, r.next, &r.sections
	isBuilt := true
	try := func(key string, f func() error) {
		if err := recovery.Try(f); err != nil {
			r.report(key, err.Error(), nil, "what can be built")
			isBuilt = false
		}
	}
	for i := range c.Pools {
		pool := &c.Pools[i]
		try(units.Indexed("pool", i), func() error { return p.preparePool(next, pool) })
	}
	for i := range c.Listeners {
		l := &c.Listeners[i]
		try(units.Indexed("listener", i), func() error { return p.prepareListener(next, l) })
	}
	for i := range c.Routes {
		try(units.Indexed("route", i), func() error { p.prepareRoutes(next, &Sections{Routes: c.Routes[i : i+1]}); return nil })
	}
	table := route.NewTable(next.routes)
	p.routes.Store(&table)
	return isBuilt
}

// play sends every route its requests.
func (r *rehearsal) play() {
	for i, route := range r.next.routes {
		at, stage := units.Indexed("route", i), r.listenersOf(route)
		if len(stage) == 0 {
			if route.Listener != "" && !r.isPartlyExempt(route) {
				r.report(at+".listener", "the listener redirects all its requests to https", route.Listener, "a listener without redirect_https, or the path in redirect_except")
			}
			continue // even a gateway that only redirects must have a route
		}
		if ask, isKnown := r.requestFor(route); isKnown {
			if l := r.reach(at, route, ask, stage); l != nil {
				r.vary(at, route, ask, l)
			}
		}
	}
}

// isPartlyExempt reports whether a listener that redirects serves some of a route's requests, or may do so.
func (r *rehearsal) isPartlyExempt(of *route.Route) bool {
	return slices.ContainsFunc(r.next.listeners, func(l *listener) bool {
		return of.Listener == l.name && slices.ContainsFunc(l.config.RedirectExcept, func(path string) bool {
			return of.PathKind == route.RegexpPath || of.PathKind == route.PrefixPath && route.HasSegments(path, of.Path)
		})
	})
}

// listenersOf returns the listeners whose requests can reach a route.
func (r *rehearsal) listenersOf(of *route.Route) (stage []*listener) {
	for _, l := range r.next.listeners {
		path, _ := of.ExamplePath()
		if (of.Listener == "" || of.Listener == l.name) && (!l.config.RedirectHTTPS || l.isExempt(path)) {
			stage = append(stage, l)
		}
	}
	return stage
}

// reach sends the plainest request for a route to its listeners, and returns the first listener from which it reaches the route. If there is
// none, it returns nil, and reports the reason. It reports none that another request might not have.
func (r *rehearsal) reach(at string, route *route.Route, ask request, stage []*listener) *listener {
	var last answer
	var takers []string
	mayReach := false
	for _, l := range stage {
		a, isAnswered := r.try(at, route, l, ask)
		if !isAnswered {
			return nil
		}
		isTaken := a.route != nil && a.route.Key() != route.Key()
		if a.route != nil && !isTaken && (a.refusal == nil || route.PoolName == "") {
			return l
		}
		if taker := r.nameOf(a.route); isTaken && !slices.Contains(takers, taker) {
			takers = append(takers, taker)
			mayReach = mayReach || !a.route.IsPlain() || a.route.Priority != route.Priority
		}
		last = a
	}
	reason := ""
	var rejection *upgrade.Rejection
	if errors.As(last.refusal, &rejection) {
		reason = ": " + rejection.Text
	}
	switch {
	case !route.IsPlain() || mayReach:
	case !last.hasHost:
		r.report(at+".host", "no request has this host"+reason, route.Config.Host, "a host as clients send it")
	case !last.hasPath:
		r.report(at+".path", "no request has this path"+reason, route.Config.Path, "a path as clients send it, decoded except for %2f and %5c")
	case len(takers) > 0:
		r.report(at, "never reached: its requests go to "+strings.Join(takers, ", "), nil, "another listener, host or path")
	default:
		r.report(at+".path", "every request with this path is refused"+reason, route.Config.Path, "a path whose requests pass")
	}
	return nil
}

// nameOf returns the section of a route.
func (r *rehearsal) nameOf(of *route.Route) string {
	return units.Indexed("route", slices.IndexFunc(r.next.routes, func(r *route.Route) bool { return of != nil && r.Key() == of.Key() }))
}

// vary sends a route other requests that clients may send: other forms of its host, neighboring paths, plain requests, and origins.
func (r *rehearsal) vary(at string, route *route.Route, base request, l *listener) {
	for i := range route.Origins {
		key, ask := units.Indexed(at+".origins", i), base
		ask.origin = route.Origins[i].Example("https://" + ask.host)
		a, isAnswered := r.try(key, route, l, ask)
		switch {
		case !isAnswered:
			return
		case errors.Is(a.refusal, upgrade.ErrOrigin):
			r.report(key, "no page has this origin", route.Config.Origins[i], "an origin as browsers send it")
		}
	}
	below := strings.TrimRight(base.path, "/") + "/a"
	for _, change := range []func(*request){
		func(q *request) { q.host += ":8443" },
		func(q *request) { q.host = strings.ToUpper(q.host) },
		func(q *request) { q.host += "." },
		func(q *request) { q.path = below },
		func(q *request) { q.path, q.isPlain = below, true },
		func(q *request) { q.isPlain = true },
		func(q *request) { q.path += "a" },
		func(q *request) { q.path = "/" },
		func(q *request) { q.query = "" },
		func(q *request) { q.fields = nil },
		func(q *request) { q.host = "elsewhere.invalid" },
		func(q *request) { q.host, q.isPlain = "elsewhere.invalid", true },
		func(q *request) { q.origin = "https://elsewhere.invalid" },
		func(q *request) { q.origin = "null" },
		func(q *request) { q.origin = "://" },
	} {
		ask := base
		change(&ask)
		if _, isAnswered := r.try(at, route, l, ask); !isAnswered {
			return
		}
	}
}

// An answer is the result of a request in memory.
type answer struct {
	route            *route.Route // that got the request, or nil
	refusal          error        // nil if the request goes to a backend
	hasHost, hasPath bool         // the request matches the host and path of the route that it is for
}

// try sends a request for a route to a listener. After a panic, which it reports as a problem of key, there is no answer.
func (r *rehearsal) try(key string, route *route.Route, l *listener, ask request) (a answer, isAnswered bool) {
	err := recovery.Try(func() error {
		a = r.send(route, l, ask)
		return nil
	})
	if err != nil {
		r.report(key, err.Error(), ask.String(), "no panic: this is a bug of Sluice")
	}
	return a, err == nil
}

// send runs a handshake in memory, from the client's head to the head for a backend.
func (r *rehearsal) send(route *route.Route, l *listener, ask request) (a answer) {
	memory, now := r.proxy.memory.Get(), time.Now()
	defer r.proxy.memory.Put(memory)
	n := copy(memory.FromClient.Free(), ask.head())
	memory.FromClient.Grow(n)
	req := &memory.Request
	if _, err := req.Parse(memory.FromClient.Bytes()); err != nil {
		isHost := errors.Is(err, upgrade.ErrBadHost)
		return answer{refusal: err, hasHost: !isHost, hasPath: isHost}
	}
	var c handshake.Core
	c.Begin(rehearsed{l}, reach.NewClient(netip.AddrPortFrom(route.ExampleClient(), 0)), memory, now, now)
	step := c.ClientRead(n, nil, now)
	a.hasHost, a.hasPath = route.MatchesHost(req.Hostname()), route.MatchesPath(req.Path())
	if c.Route != nil {
		a.route = c.Route.Variants()[0]
	}
	switch step {
	case handshake.Plain:
		a.route = l.plainRoute(&c.Client, req)
		l.Identify(&c.Client, req, 0)
	case handshake.Dial:
		c.Dialing()
		c.Out()
		c.ClientLost()
	case handshake.Refuse:
		if a.refusal = c.Rejection; errors.Is(a.refusal, upgrade.ErrNoBackend) {
			a.refusal = nil // names aren't resolved, so the pool may have no backend
		}
	}
	c.End(now)
	return a
}

// rehearsed is a listener of a rehearsal: it accounts for nothing.
type rehearsed struct{ *listener }

// Counted implements handshake.Gateway.
func (rehearsed) Counted(netip.Addr, time.Time) *upgrade.Rejection { return nil }

// AttemptEnded implements handshake.Gateway.
func (rehearsed) AttemptEnded(uint64, *balancer.Backend, string) {}

// Ended implements handshake.Gateway.
func (rehearsed) Ended(*handshake.Core) {}
