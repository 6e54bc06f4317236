package proxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-multierror"
	"go.uber.org/zap"

	"sluice/balancer"
	"sluice/proxy/limits"
	"sluice/proxy/plain"
	"sluice/proxy/relay"
	"sluice/proxy/route"
	"sluice/proxy/session"
)

// Sections are the parts of a configuration that describe a Proxy and that a reload may change. The caller has checked them: each by its
// Check, and all of them for the names that they refer to. The Proxy owns them.
type Sections struct {
	Listeners   []Listener
	Routes      []route.Config
	Pools       []Pool
	MaxSessions int // live sessions at once

	// MaxConnections is the number of clients' connections for which the process has descriptors, those to backends included where sessions need
	// them. 0 means that it is not known. Listeners that don't change keep limits that were lowered to it.
	MaxConnections int

	// DrainsRemoved closes the sessions of routes and pools that a reload removes, spread over Drain. Otherwise these sessions continue.
	DrainsRemoved bool
	Drain         time.Duration
}

// ErrStopping is the error of a Reload after the gateway has begun to stop.
var ErrStopping = errors.New("the gateway is stopping")

// Reload replaces the sections of the proxy. Listeners are identified by their addresses, routes by their conditions, and pools by
// their names: a changed one is replaced in its place, a new one opens, and a removed one closes. Live sessions stay as they are; new timers
// and limits apply to sessions that begin afterwards. Every step that may fail comes before the first change: after an error nothing has
// changed.
func (p *Proxy) Reload(c Sections) error {
	p.reloading.Lock()
	defer p.reloading.Unlock()
	if p.isDraining.Load() {
		return ErrStopping
	}
	next, err := p.prepare(&c)
	if err != nil {
		return err
	}
	before := p.install(next)
	p.onRemoved = onRemoved{c.DrainsRemoved, c.Drain}
	for _, l := range next.started {
		l.start()
	}
	p.closeRemoved(before, next, &c)
	return nil
}

// A generation is the parts of a Proxy that one configuration describes. A reload replaces one by the next.
type generation struct {
	listeners []*listener
	routes    []*route.Route
	pools     map[string]*pool // by name

	maxSessions    int
	maxConnections int

	opened  []*socket        // new sockets
	started []*listener      // new listeners, which don't accept yet
	created []*balancer.Pool // new pools, which don't run yet
	set     []func()         // put the new definitions of existing pools and sockets in force
}

// A pool is a pool of backends with what the Proxy has of it. A reload replaces it, and keeps what hasn't changed.
type pool struct {
	*balancer.Pool
	section   *Pool
	plain     *plain.Handler
	isRemoved bool // it stays until its last session has ended
}

// prepare makes a generation from the sections, of new parts and of parts in use that haven't changed. After an error nothing stays open.
// The caller holds reloading.
func (p *Proxy) prepare(c *Sections) (*generation, error) {
	next := &generation{pools: map[string]*pool{}, maxSessions: c.MaxSessions, maxConnections: c.MaxConnections}
	isReady := false
	defer func() {
		if !isReady { // after problems, or a panic
			next.abandon()
		}
	}()
	var problems *multierror.Error
	for i := range c.Pools {
		problems = multierror.Append(problems, p.preparePool(next, &c.Pools[i]))
	}
	for i := range c.Listeners {
		problems = multierror.Append(problems, p.prepareListener(next, &c.Listeners[i]))
	}
	if err := problems.ErrorOrNil(); err != nil {
		return nil, err
	}
	p.prepareRoutes(next, c)
	isReady = true
	return next, nil
}

// abandon closes the sockets of a generation that is never installed.
func (g *generation) abandon() {
	for _, s := range g.opened {
		_ = s.ln.Close()
	}
}

// hasSame reports whether a section is as the pool's own.
func (p *pool) hasSame(c *Pool) bool {
	return reflect.DeepEqual(p.section.Config, c.Config) && p.section.TLSOf == c.TLSOf
}

// preparePool adds the pool of a section. An existing pool of that name stays, with all that it knows of its backends; idle connections to
// them stay if the section hasn't changed.
func (p *Proxy) preparePool(next *generation, c *Pool) error {
	before, of := (*p.pools.Load())[c.Name], &pool{section: c}
	next.pools[c.Name] = of
	if before != nil && before.hasSame(c) {
		of.Pool, of.plain = before.Pool, before.plain
		return nil
	}
	of.plain = plain.NewHandler(p.dialer(c.Name), c.Protocol == balancer.ProtocolHTTP2, &p.plainConns, p.log)
	var err error
	if before != nil {
		of.Pool = before.Pool
		var set func()
		set, err = of.Prepare(c.Config)
		next.set = append(next.set, set)
		return err
	}
	if of.Pool, err = balancer.New(c.Config, p.poolLog); err != nil {
		return fmt.Errorf("pool %s: %w", c.Name, err)
	}
	next.created = append(next.created, of.Pool)
	return nil
}

// prepareListener adds the listener of a section. If a socket is open at its address already, the listener gets that.
func (p *Proxy) prepareListener(next *generation, c *Listener) error {
	before := p.listenerAt(&c.ListenerConfig)
	if before != nil && before.tls == c.TLS && reflect.DeepEqual(before.config, &c.ListenerConfig) {
		next.listeners = append(next.listeners, before)
		return nil
	}
	var s *socket
	if before != nil {
		s = before.socket
		if before.config.UnixAccess != c.UnixAccess {
			next.set = append(next.set, func() {
				if err := s.restrict(&c.ListenerConfig, before.config.UnixAccess); err != nil {
					p.log.Error("access to a unix socket can't be changed", zap.String("listener", c.Name), zap.Error(err))
				}
			})
		}
	} else {
		var err error
		if s, err = p.open(&c.ListenerConfig); err != nil {
			return err
		}
		next.opened = append(next.opened, s)
	}
	l, err := p.newListener(c, s, before)
	if err != nil {
		return err
	}
	next.listeners = append(next.listeners, l)
	next.started = append(next.started, l)
	return nil
}

// listenerAt returns the listener whose socket a listener of that section takes over, or nil.
func (p *Proxy) listenerAt(c *ListenerConfig) *listener {
	for _, l := range *p.listeners.Load() {
		if l.config.Address == c.Address && (l.name == c.Name || !isAnyPort(c.Address)) {
			return l
		}
	}
	return nil
}

// isAnyPort reports whether the kernel chooses the port of an address. Such an address doesn't identify a socket.
func isAnyPort(address string) bool {
	_, port, err := net.SplitHostPort(address)
	return err == nil && port == "0" && !strings.HasPrefix(address, "unix:")
}

// prepareRoutes adds the routes. A route that hasn't changed stays.
func (p *Proxy) prepareRoutes(next *generation, c *Sections) {
	inUse := map[route.Key]*route.Route{}
	for _, r := range p.routes.Load().Routes {
		inUse[r.Key()] = r
	}
	for i := range c.Routes {
		r := p.newRoute(next, &c.Routes[i])
		if before := inUse[r.Key()]; before != nil && reflect.DeepEqual(before.Config, r.Config) && p.hasSamePools(next, before.Config) {
			r = before
		}
		next.routes = append(next.routes, r)
	}
}

// newRoute makes the route of a section, with the pools of a generation.
func (p *Proxy) newRoute(next *generation, config *route.Config) *route.Route {
	var variants []*route.Route
	for _, share := range config.Shares() {
		pool := next.pools[share.Pool]
		if pool == nil {
			panic("BUG: a route to no pool")
		}
		r := route.New(config, &pool.section.Config, pool.Pool)
		r.Plain = pool.plain
		variants = append(variants, r)
	}
	if len(variants) == 0 {
		return route.New(config, nil, nil)
	}
	return route.Join(variants)
}

// hasSamePools reports whether a generation has the pools of a route as they are in use.
func (p *Proxy) hasSamePools(next *generation, config *route.Config) bool {
	pools := *p.pools.Load()
	return !slices.ContainsFunc(config.Shares(), func(share route.Share) bool {
		before, pool := pools[share.Pool], next.pools[share.Pool]
		return before == nil || before.Pool != pool.Pool || !before.hasSame(pool.section)
	})
}

// install makes a generation the one in use, and returns the one that it replaces. It can't fail. New listeners don't accept yet. The
// caller holds reloading.
func (p *Proxy) install(next *generation) (before *generation) {
	before = &generation{listeners: *p.listeners.Load(), routes: p.routes.Load().Routes, pools: *p.pools.Load()}
	for _, set := range next.set {
		set()
	}
	pools := maps.Clone(next.pools)
	for name, of := range before.pools {
		if next.pools[name] == nil {
			pools[name] = &pool{Pool: of.Pool, section: of.section, plain: of.plain, isRemoved: true}
		}
	}
	p.pools.Store(&pools)
	for _, pool := range next.created {
		p.runPool(pool)
	}
	p.totals[limits.Sessions].SetLimit(int64(next.maxSessions))
	p.totals[limits.Connections].SetLimit(int64(next.maxConnections))
	table := route.NewTable(next.routes)
	p.routes.Store(&table)
	p.listeners.Store(&next.listeners)
	p.metrics.initialize(next)
	return before
}

// runPool runs a pool until it is closed, or the Proxy is.
func (p *Proxy) runPool(pool *balancer.Pool) {
	d := p.dialer(pool.Name())
	p.running.Go(func() {
		pool.Run(p.ctx, balancer.Owner{
			Dial: func(ctx context.Context, b *balancer.Backend) (net.Conn, error) {
				return d.Dial(ctx, b, probeOpening(pool))
			},
			CloseSessions: p.sessions.Shed,
			Panics:        p.panics,
		})
	})
}

// closeRemoved closes the parts of the generation before that the next one does not have. The caller holds reloading.
func (p *Proxy) closeRemoved(before, next *generation, c *Sections) {
	for _, l := range before.listeners {
		switch {
		case slices.Contains(next.listeners, l):
		case slices.ContainsFunc(next.listeners, func(heir *listener) bool { return heir.socket == l.socket }):
			l.endMuxes()
			l.releaseRef()
		default:
			l.end()
			p.log.Info("listener closed", zap.String("listener", l.name), zap.Stringer("address", l.ln.Addr()))
		}
	}
	for name, pool := range before.pools {
		if next.pools[name] == nil {
			p.beginRetiring(name)
		}
		if heir := next.pools[name]; heir == nil || heir.section.Protocol != pool.section.Protocol || heir.section.TLSOf != pool.section.TLSOf {
			p.backends.goAway(pool.Pool)
		}
		if heir := next.pools[name]; heir == nil || heir.plain != pool.plain {
			pool.plain.CloseIdleConnections()
		}
	}
	if c.DrainsRemoved {
		p.drainRemoved(before, next, c.Drain)
	}
}

// drainRemoved closes the sessions whose route or pool is removed.
func (p *Proxy) drainRemoved(before, next *generation, over time.Duration) {
	kept := map[route.Key]bool{}
	for _, r := range next.routes {
		kept[r.Key()] = true
	}
	isGone := func(r *route.Route) bool { return !kept[r.Key()] || next.pools[r.PoolName] == nil }
	for _, first := range before.routes {
		for _, r := range first.Variants() {
			if isGone(r) {
				r.IsRemoved.Store(true) // before the list is made: a handshake under way sees it, or its session is in the list
			}
		}
	}
	p.spreadRemoved(slices.DeleteFunc(p.sessions.List(), func(s *session.Session) bool { return !isGone(s.Route) }), over)
}

// spreadRemoved closes sessions whose route or pool is removed.
func (p *Proxy) spreadRemoved(of []*session.Session, over time.Duration) {
	if len(of) == 0 {
		return
	}
	p.log.Info("draining removed routes and pools", zap.Int("sessions", len(of)), zap.Duration("over", over))
	p.running.Go(func() {
		p.panics.Guard(room, func() { p.sessions.Spread(p.ctx, of, over, relay.ReasonRemoved) })
	})
}

// beginRetiring has a removed pool closed after its last session. The caller holds reloading.
func (p *Proxy) beginRetiring(name string) {
	if !p.retiring[name] {
		p.retiring[name] = true
		p.running.Go(func() { p.retire(name) })
	}
}

// retireInterval is the time between two checks whether a removed pool is still in use.
const retireInterval = time.Second

// retire closes a removed pool after its last session has ended, unless a reload adds the pool again.
func (p *Proxy) retire(name string) {
	ticker := time.NewTicker(retireInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-p.ctx.Done():
			return
		}
		isDone := false
		p.panics.Guard(room, func() { isDone = p.closeIfUnused(name) })
		if isDone {
			return
		}
	}
}

// closeIfUnused closes a removed pool that has no session left, and reports whether nothing more is to be done for it.
func (p *Proxy) closeIfUnused(name string) bool {
	p.reloading.Lock()
	defer p.reloading.Unlock()
	if pool := (*p.pools.Load())[name]; pool.isRemoved {
		for _, b := range pool.Status() {
			if b.Sessions > 0 {
				return false
			}
		}
		pools := maps.Clone(*p.pools.Load())
		delete(pools, name)
		p.pools.Store(&pools)
		pool.Close()
		p.log.Info("pool closed", zap.String("pool", name))
	}
	delete(p.retiring, name)
	return true
}
