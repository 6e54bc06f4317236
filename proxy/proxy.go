package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"sluice/balancer"
	"sluice/internal/recovery"
	"sluice/proxy/driver"
	"sluice/proxy/handshake"
	"sluice/proxy/limits"
	"sluice/proxy/plain"
	"sluice/proxy/route"
	"sluice/proxy/session"
	"sluice/upgrade"
)

// Config is what a Proxy is made of. The sections have been checked, each by its Check and all for the names that they refer to.
type Config struct {
	Listeners   []ListenerConfig
	Routes      []route.Config
	Pools       []balancer.Config
	MaxSessions int // live sessions at once

	// TLS are the listeners that secure their connections, by name.
	TLS map[string]TLSServer
	// BackendTLS are the configurations of TLS towards backends, by the name of their pool; host is the backend's. Backends of other
	// pools have to show a certificate that the system trusts.
	BackendTLS map[string]func(host string) *tls.Config
	// Challenge answers ACME's http-01 (RFC 8555 section 8.3): what listeners without TLS are asked for under
	// /.well-known/acme-challenge/. nil: there is none.
	Challenge func(ctx context.Context, host, path string) (body string, isOurs bool)

	Driver  driver.Driver // becomes the Proxy's
	Log     *zap.Logger
	Access  *zap.Logger // for the lines of AccessLines, at info
	Metrics prometheus.Registerer

	AccessLines AccessLines
	Tracer      handshake.Tracer // nil: handshakes aren't traced

	Panics recovery.Handler // nil: panics are not recovered

	// Inherited returns the socket that was handed to the process for a listener, which becomes the Proxy's; nil: there is none, and
	// one is opened. The func is nil where no socket is ever handed over.
	Inherited func(name, address string) net.Listener
}

// room is the name of this package in calls of Config.Panics.
const room = "proxy"

// Proxy accepts connections and relays sessions. Its methods may be called from any goroutine.
type Proxy struct {
	start       time.Time
	log         *zap.Logger
	access      *zap.Logger
	accessLines AccessLines
	tracer      handshake.Tracer // nil: there is none
	panics      recovery.Handler
	driver      driver.Driver
	maxSessions atomic.Int64
	places      limits.Count // of all listeners
	metrics     *metrics
	challenge   func(ctx context.Context, host, path string) (body string, isOurs bool)
	memory      upgrade.Pool

	inherited func(name, address string) net.Listener
	poolLog   *zap.Logger

	// What a reload replaces, each whole, under reloading.
	listeners atomic.Pointer[[]*listener]
	routes    atomic.Pointer[route.Table]
	pools     atomic.Pointer[map[string]*balancer.Pool]
	// backendTLS is by pool.
	backendTLS atomic.Pointer[map[string]func(host string) *tls.Config]

	reloading sync.Mutex

	poolConfigs map[string]*balancer.Config // guarded by reloading; of the pools that the configuration has
	plain       map[string]*plain.Handler   // guarded by reloading; of plain requests to those pools
	retiring    map[string]bool             // guarded by reloading; removed pools, each with a goroutine that waits for its end

	handshakes gate
	sessions   *session.Registry
	isDraining atomic.Bool // not ready any more
	refuses    atomic.Bool // sessions that would begin now

	ctx     context.Context // ends with the Proxy
	cancel  context.CancelFunc
	running sync.WaitGroup // accept loops and pools
	closing sync.Once
}

// New opens the listening sockets; nothing is accepted before Start. On an error nothing is left open, but Config.Driver is the caller's.
func New(c Config) (*Proxy, error) {
	p := &Proxy{
		start:       time.Now(),
		log:         c.Log.Named("proxy"),
		access:      c.Access,
		accessLines: c.AccessLines,
		tracer:      c.Tracer,
		panics:      c.Panics,
		driver:      c.Driver,
		challenge:   c.Challenge,
		inherited:   c.Inherited,
		poolLog:     c.Log,
		retiring:    map[string]bool{},
	}
	p.sessions = p.newRegistry()
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.listeners.Store(new([]*listener))
	p.routes.Store(new(route.Table))
	p.pools.Store(&map[string]*balancer.Pool{})
	next, err := p.prepare(&Sections{
		Listeners: c.Listeners, Routes: c.Routes, Pools: c.Pools, MaxSessions: c.MaxSessions, TLS: c.TLS, BackendTLS: c.BackendTLS,
	})
	if err != nil {
		p.cancel()
		return nil, err
	}
	p.metrics = newMetrics(p)
	if err := c.Metrics.Register(p.metrics); err != nil {
		next.abandon()
		p.cancel()
		return nil, err
	}
	p.install(next)
	return p, nil
}

// Close cuts all that is left, and returns after every goroutine of the Proxy has ended. Its second call does nothing.
func (p *Proxy) Close() {
	p.closing.Do(func() {
		p.refuses.Store(true)
		p.closeListeners()
		p.cancel()
		p.handshakes.close()
		_ = p.driver.Close(context.Background()) // every socket is cut: it ends by itself
		p.closeIdle()
		<-p.sessions.Gone()
		p.running.Wait()
	})
}

// Start begins to accept.
func (p *Proxy) Start() {
	p.reloading.Lock()
	defer p.reloading.Unlock()
	for _, l := range *p.listeners.Load() {
		l.start()
	}
}

// Addr returns the address that a listener is bound to; nil: there is no such listener.
func (p *Proxy) Addr(listener string) net.Addr {
	for _, l := range *p.listeners.Load() {
		if l.name == listener {
			return l.ln.Addr()
		}
	}
	return nil
}

// IsDraining reports whether the gateway is about to stop. It may still accept sessions for a while.
func (p *Proxy) IsDraining() bool { return p.isDraining.Load() }

// closeListeners ends accepting, and reloads.
func (p *Proxy) closeListeners() {
	p.stopReloads()
	p.reloading.Lock()
	defer p.reloading.Unlock()
	for _, l := range *p.listeners.Load() {
		l.socket.close()
		l.plain.Close()
	}
}

// closeIdle closes the connections to backends that wait for a plain request.
func (p *Proxy) closeIdle() {
	p.reloading.Lock()
	defer p.reloading.Unlock()
	for _, h := range p.plain {
		h.CloseIdleConnections()
	}
}

// stopReloads makes the gateway not ready. After it no reload is under way or begins.
func (p *Proxy) stopReloads() {
	p.reloading.Lock()
	defer p.reloading.Unlock()
	p.isDraining.Store(true)
}

// CloseTimeout returns the longest of the routes, those included that live sessions still have.
func (p *Proxy) CloseTimeout() (longest time.Duration) {
	for _, r := range *p.routes.Load() {
		longest = max(longest, r.Relay.CloseTimeout)
	}
	for _, s := range p.sessions.List() {
		longest = max(longest, s.Route.Relay.CloseTimeout)
	}
	return longest
}
