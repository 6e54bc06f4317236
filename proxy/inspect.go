package proxy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"sluice/balancer"
	"sluice/proxy/limits"
	"sluice/proxy/route"
	"sluice/proxy/session"
)

// The views show a Proxy at one moment: plain values, whose JSON is that of the admin API.

// A ListenerView is a listener at one moment.
type ListenerView struct {
	Name           string `json:"name"`
	Address        string `json:"address"` // as bound
	Sessions       int64  `json:"sessions"`
	MaxSessions    int64  `json:"max_sessions"` // of this and the other limits, 0 means none
	Handshakes     int64  `json:"handshakes"`   // under way
	MaxHandshakes  int64  `json:"max_handshakes"`
	Requests       int64  `json:"requests"` // plain ones, under way
	MaxRequests    int64  `json:"max_requests"`
	Connections    int64  `json:"connections"` // open ones, sessions included
	MaxConnections int64  `json:"max_connections"`
	Idle           int    `json:"idle"` // connections among them that wait for a plain request
	MaxIdle        int    `json:"max_idle"`

	Refused        map[string]uint64 `json:"refused"` // for want of a place, by reason, since the start
	TLS            bool              `json:"tls"`
	HTTP2          string            `json:"http2"` // "off", "http" or "websocket"
	IsBehindProxy  bool              `json:"proxy_protocol"`
	RedirectsHTTPS bool              `json:"redirect_https"`
}

// A LimitsView has the limits of the whole gateway and their use. 0 means no limit.
type LimitsView struct {
	Connections    int64 `json:"connections"` // of clients
	MaxConnections int64 `json:"max_connections"`
	Sessions       int64 `json:"sessions"` // with the handshakes that may become sessions
	MaxSessions    int64 `json:"max_sessions"`
}

// A RouteView is a route at one moment.
type RouteView struct {
	Name     string `json:"name"`     // as in logs and metrics
	Listener string `json:"listener"` // "" means every listener
	Host     string `json:"host"`     // the first one; "" means any host
	Path     string `json:"path"`     // a prefix; "" if PathExact or PathRegexp has the path
	Pool     string `json:"pool"`     // "" if it has several, or none
	HTTP     bool   `json:"http"`     // plain requests pass as well
	Sessions int    `json:"sessions"`

	Hosts      []string          `json:"hosts,omitempty"` // all, if there are several
	PathExact  string            `json:"path_exact,omitempty"`
	PathRegexp string            `json:"path_regexp,omitempty"`
	Method     []string          `json:"method,omitempty"`
	Header     map[string]string `json:"header,omitempty"`
	Query      map[string]string `json:"query,omitempty"`
	Priority   int               `json:"priority,omitempty"`
	Pools      []ShareView       `json:"pools,omitempty"` // if it has several
}

// A ShareView is one of several pools of a route at one moment.
type ShareView struct {
	Pool     string `json:"pool"`
	Weight   int    `json:"weight"`
	Sessions int    `json:"sessions"` // of the route in that pool
}

// A PoolView is a pool at one moment.
type PoolView struct {
	Name      string        `json:"name"`
	Sessions  int64         `json:"sessions"`  // with handshakes
	Available int           `json:"available"` // backends that new sessions may go to
	Backends  []BackendView `json:"backends"`
}

// A BackendView is a backend at one moment.
type BackendView struct {
	Address      string            `json:"address"` // its name, as configured or discovered
	State        string            `json:"state"`
	IsAvailable  bool              `json:"available"`
	TLS          bool              `json:"tls"`
	Weight       int               `json:"weight"`
	Warmth       float64           `json:"warmth"` // the share of its weight that it has during a slow start
	Backup       bool              `json:"backup"`
	Sessions     int64             `json:"sessions"` // with handshakes
	MaxSessions  int64             `json:"max_sessions"`
	EjectedUntil *time.Time        `json:"ejected_until,omitempty"` // while it is ejected
	Failures     map[string]uint64 `json:"failures"`                // by reason, since the start
	LastFailure  *FailureView      `json:"last_failure,omitempty"`
	ToBackend    session.FlowView  `json:"to_backend"` // of all its sessions, since the start
	ToClient     session.FlowView  `json:"to_client"`
}

// A FailureView is the last failure of a backend.
type FailureView struct {
	Reason string     `json:"reason"`
	Error  string     `json:"error"` // in words for an operator
	At     time.Time  `json:"at"`
	Since  *time.Time `json:"since,omitempty"` // of the first failure after the last success; none: the backend has answered since
}

// Listeners returns all listeners in the order of the configuration.
func (p *Proxy) Listeners() []ListenerView {
	listeners := *p.listeners.Load()
	views := make([]ListenerView, 0, len(listeners))
	for _, l := range listeners {
		v := ListenerView{
			Name:           l.name,
			Address:        l.ln.Addr().String(),
			TLS:            l.tls != nil,
			HTTP2:          cmp.Or(l.config.HTTP2, HTTP2Off),
			IsBehindProxy:  l.isBehindProxy,
			RedirectsHTTPS: l.config.RedirectHTTPS,
		}
		v.Sessions, v.MaxSessions = l.places.Held(limits.Sessions)
		v.Handshakes, v.MaxHandshakes = l.places.Held(limits.Handshakes)
		v.Requests, v.MaxRequests = l.places.Held(limits.Requests)
		v.Connections, v.MaxConnections = l.places.Held(limits.Connections)
		v.Idle, v.MaxIdle = l.plain.Idle()
		v.Refused = l.refusedPlaces()
		views = append(views, v)
	}
	return views
}

// refusedPlaces counts the refusals for want of a place by their reasons.
func (l *listener) refusedPlaces() map[string]uint64 {
	counts := map[string]uint64{}
	for k := range limits.NumKinds {
		for why, n := range l.places.Refused(k) {
			if n > 0 {
				counts[placeRefusals[k][why].Reason] = n
			}
		}
	}
	return counts
}

// Limits returns the limits of the whole gateway, and their use.
func (p *Proxy) Limits() LimitsView {
	connections, sessions := &p.totals[limits.Connections], &p.totals[limits.Sessions]
	return LimitsView{
		Connections: connections.Held(), MaxConnections: connections.Limit(),
		Sessions: sessions.Held(), MaxSessions: sessions.Limit(),
	}
}

// Routes returns all routes, the more exact ones first, as they are tried.
func (p *Proxy) Routes() []RouteView {
	sessions, inPool := map[route.Key]int{}, map[routePool]int{}
	for _, s := range p.sessions.List() {
		key := s.Route.Key()
		sessions[key]++
		inPool[routePool{key, s.Route.PoolName}]++
	}
	views := make([]RouteView, 0)
	for _, r := range p.routes.Load().Routes {
		view := viewRoute(r)
		view.Sessions = sessions[r.Key()]
		for i := range view.Pools {
			view.Pools[i].Sessions = inPool[routePool{r.Key(), view.Pools[i].Pool}]
		}
		views = append(views, view)
	}
	return views
}

func viewRoute(r *route.Route) RouteView {
	view := RouteView{
		Name: r.Name, Listener: r.Listener, Host: route.HostPattern(r.FirstHost()), Pool: r.PoolName, HTTP: r.PassesHTTP,
		Method: r.Methods, Header: viewConditions(r.Headers), Query: viewConditions(r.Queries), Priority: r.Priority,
	}
	if len(r.Hosts) > 1 {
		for _, host := range r.Hosts {
			view.Hosts = append(view.Hosts, route.HostPattern(host))
		}
	}
	switch r.PathKind {
	case route.PrefixPath:
		view.Path = r.Path
	case route.ExactPath:
		view.PathExact = r.Path
	case route.RegexpPath:
		view.PathRegexp = r.Path
	default:
		panic("BUG: unknown kind of a path")
	}
	if len(r.Variants()) > 1 {
		view.Pool = ""
		for _, share := range r.Config.Shares() {
			view.Pools = append(view.Pools, ShareView{Pool: share.Pool, Weight: share.Weight})
		}
	}
	return view
}

func viewConditions(list []route.Condition) map[string]string {
	view := map[string]string{}
	for _, c := range list {
		view[c.Name] = c.Shown()
	}
	return view
}

// A routePool identifies a pool of a route.
type routePool struct {
	route route.Key
	pool  string
}

// Pools returns all pools by name, each with its backends in the order of the configuration. A pool that a reload has removed is among them
// as long as it has sessions. Pools waits for a few turns of each loop, as a page of sessions does.
func (p *Proxy) Pools() []PoolView {
	pools := *p.pools.Load()
	statuses := make(map[string][]balancer.BackendStatus, len(pools))
	for name, pool := range pools {
		statuses[name] = pool.Status()
	}
	// The pools were asked before the sessions: a session that ends in between is missing in this answer, and none is counted twice.
	live := p.sessions.Traffic()
	views := make([]PoolView, 0, len(pools))
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		view := PoolView{Name: name, Backends: []BackendView{}}
		for _, b := range statuses[name] {
			b.ToBackend.Add(live[b.Backend].ToBackend)
			b.ToClient.Add(live[b.Backend].ToClient)
			backend := viewBackend(&b)
			view.Backends = append(view.Backends, backend)
			view.Sessions += b.Sessions
			if backend.IsAvailable {
				view.Available++
			}
		}
		views = append(views, view)
	}
	return views
}

// UnavailablePools returns the names of the pools to which routes lead and that have no available backend.
func (p *Proxy) UnavailablePools() (names []string) {
	pools := *p.pools.Load()
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		isAvailable := slices.ContainsFunc(pools[name].Status(), func(b balancer.BackendStatus) bool { return b.State.IsAvailable() })
		if !isAvailable && !pools[name].isRemoved {
			names = append(names, name)
		}
	}
	return names
}

func viewBackend(b *balancer.BackendStatus) BackendView {
	view := BackendView{
		Address:     b.Name,
		State:       b.State.String(),
		IsAvailable: b.State.IsAvailable(),
		TLS:         b.TLS,
		Weight:      b.Weight,
		Warmth:      b.Warmth,
		Backup:      b.Backup,
		Sessions:    b.Sessions,
		MaxSessions: b.MaxSessions,
		Failures:    b.Failures,
		ToBackend:   session.FlowView(b.ToBackend),
		ToClient:    session.FlowView(b.ToClient),
	}
	if f := b.LastFailure; f != nil {
		view.LastFailure = &FailureView{Reason: f.Reason, Error: f.Cause, At: f.At.UTC()}
		if !f.Since.IsZero() {
			since := f.Since.UTC()
			view.LastFailure.Since = &since
		}
	}
	if b.State == balancer.Ejected {
		view.EjectedUntil = &b.EjectedUntil
	}
	return view
}

// Drain sends no new sessions to a backend, and closes its live ones evenly over a time.
func (p *Proxy) Drain(pool, backend string, over time.Duration) error {
	found := (*p.pools.Load())[pool]
	if found == nil {
		return fmt.Errorf("no pool %q", pool)
	}
	return found.Drain(backend, over)
}

// Undrain ends a drain.
func (p *Proxy) Undrain(pool, backend string) error {
	found := (*p.pools.Load())[pool]
	if found == nil {
		return fmt.Errorf("no pool %q", pool)
	}
	return found.Undrain(backend)
}
