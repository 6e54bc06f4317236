package proxy

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"sluice/balancer"
	"sluice/proxy/route"
	"sluice/proxy/session"
)

// The views show a Proxy at one moment: plain values, whose JSON is that of the admin API.

// A ListenerView is a listener at one moment.
type ListenerView struct {
	Name           string `json:"name"`
	Address        string `json:"address"` // as bound
	Sessions       int64  `json:"sessions"`
	MaxSessions    int    `json:"max_sessions"` // 0 means that only the gateway's limit applies
	Handshakes     int    `json:"handshakes"`   // under way; 0 without a limit
	MaxHandshakes  int    `json:"max_handshakes"`
	TLS            bool   `json:"tls"`
	IsBehindProxy  bool   `json:"proxy_protocol"`
	RedirectsHTTPS bool   `json:"redirect_https"`
}

// A RouteView is a route at one moment.
type RouteView struct {
	Name     string `json:"name"`     // as in logs and metrics
	Listener string `json:"listener"` // "" means every listener
	Host     string `json:"host"`     // "" means any host
	Path     string `json:"path"`
	Pool     string `json:"pool"`
	HTTP     bool   `json:"http"` // plain requests pass as well
	Sessions int    `json:"sessions"`
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
		views = append(views, ListenerView{
			Name:           l.name,
			Address:        l.ln.Addr().String(),
			Sessions:       l.places.N(),
			MaxSessions:    l.maxSessions,
			Handshakes:     len(l.handshakes),
			MaxHandshakes:  cap(l.handshakes),
			TLS:            l.tls != nil,
			IsBehindProxy:  l.isBehindProxy,
			RedirectsHTTPS: l.config.RedirectHTTPS,
		})
	}
	return views
}

// Routes returns all routes, the more exact ones first, as they are tried.
func (p *Proxy) Routes() []RouteView {
	sessions := map[route.Key]int{}
	for _, s := range p.sessions.List() {
		sessions[s.Route.Key()]++
	}
	views := make([]RouteView, 0)
	for _, r := range *p.routes.Load() {
		host := r.Host
		if host != "" && host[0] == '.' {
			host = "*" + host
		}
		views = append(views, RouteView{
			Name: r.Name, Listener: r.Listener, Host: host, Path: r.Path, Pool: r.PoolName,
			HTTP: r.PassesHTTP, Sessions: sessions[r.Key()],
		})
	}
	return views
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
