package proxy

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"sluice/internal/recovery"
	"sluice/proxy/driver"
	"sluice/proxy/handshake"
	"sluice/proxy/limits"
	"sluice/proxy/relay"
	"sluice/proxy/route"
	"sluice/proxy/session"
	"sluice/upgrade"
)

// Config describes a Proxy.
type Config struct {
	Sections

	// Challenge answers requests of ACME's http-01 (RFC 8555 section 8.3), which come under /.well-known/acme-challenge/ to listeners
	// without TLS. It may be nil.
	Challenge func(ctx context.Context, host, path string) (body string, isOurs bool)

	Driver  driver.Driver // the Proxy owns it from New on
	Log     *zap.Logger
	Access  *zap.Logger // for the lines of AccessLines, at info
	Metrics prometheus.Registerer

	AccessLines AccessLines
	Tracer      handshake.Tracer // nil if handshakes aren't traced

	Panics recovery.Handler // nil means that panics are not recovered

	// Inherited returns the socket that another process has opened for a listener; the Proxy then owns it. If it returns nil, the Proxy
	// opens a socket. The func may be nil.
	Inherited func(name, address string) net.Listener
}

// Own is what Config.Inherited returns for a socket that another process of the gateway has opened, as the Proxy would have: until Start it
// is still in use there.
type Own struct{ net.Listener }

// room is the name of this package in calls of Config.Panics.
const room = "proxy"

// Proxy accepts connections and relays sessions. Its methods may be called from any goroutine.
type Proxy struct {
	start       time.Time
	log         *zap.Logger
	access      *zap.Logger
	accessLines AccessLines
	tracer      handshake.Tracer // or nil
	panics      recovery.Handler
	driver      driver.Driver
	totals      limits.Totals // of all listeners
	plainConns  atomic.Int64  // connections to backends for plain requests, idle ones included
	warnings    warnings
	isRelieving atomic.Bool // relieve runs
	metrics     *metrics
	challenge   func(ctx context.Context, host, path string) (body string, isOurs bool)
	memory      upgrade.Pool

	inherited func(name, address string) net.Listener
	poolLog   *zap.Logger

	// A reload replaces each of these as a whole, and holds reloading.
	listeners atomic.Pointer[[]*listener]
	routes    atomic.Pointer[route.Table]
	pools     atomic.Pointer[map[string]*pool] // by name

	reloading sync.Mutex
	retiring  map[string]bool // guarded by reloading; removed pools, for each of which a goroutine runs retire
	isPaused  bool            // guarded by reloading; no listener accepts (PauseAccepting)
	onRemoved onRemoved       // guarded by reloading
	strangers strangers       // guarded by reloading

	handshakes  gate
	clientMuxes muxSet
	backends    backendConns    // of HTTP/2
	muxes       [2]atomic.Int64 // connections of HTTP/2 by side
	sessions    *session.Registry
	isDraining  atomic.Bool // the proxy is not ready any more
	refuses     atomic.Bool // the proxy refuses new sessions

	ctx     context.Context // ends with the Proxy
	cancel  context.CancelFunc
	running sync.WaitGroup // accept loops and pools
	closing sync.Once
}

// New opens the listening sockets, and accepts nothing before Start. After an error nothing stays open, and the caller owns Config.Driver.
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
	p.totals[limits.Connections].SetLimit(int64(c.MaxConnections))
	p.backends.proxy = p
	p.sessions = p.newRegistry()
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.listeners.Store(new([]*listener))
	p.routes.Store(new(route.Table))
	p.pools.Store(&map[string]*pool{})
	next, err := p.prepare(&c.Sections)
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
	p.onRemoved = onRemoved{c.DrainsRemoved, c.Drain}
	return p, nil
}

// Close cuts every connection, and returns after every goroutine of the Proxy has ended. A second call does nothing.
func (p *Proxy) Close() {
	p.closing.Do(func() {
		p.refuses.Store(true)
		p.closeListeners()
		p.cancel()
		p.handshakes.close()
		_ = p.driver.Close(context.Background()) // it cuts every socket, so it needs no deadline
		p.closeIdle()
		<-p.sessions.Gone()
		p.running.Wait()
	})
}

// Start makes the listeners accept.
func (p *Proxy) Start() {
	p.reloading.Lock()
	defer p.reloading.Unlock()
	for _, l := range *p.listeners.Load() {
		l.start()
	}
}

// Addr returns the address that a listener is bound to; nil if there is no such listener.
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

// closeListeners closes the listeners. Afterwards no reload opens another one.
func (p *Proxy) closeListeners() {
	p.stopReloads()
	p.reloading.Lock()
	defer p.reloading.Unlock()
	for _, l := range *p.listeners.Load() {
		l.socket.close()
		l.plain.Close()
		l.endMuxes()
	}
}

// closeIdle closes the idle connections to backends.
func (p *Proxy) closeIdle() {
	for _, pool := range *p.pools.Load() {
		pool.plain.CloseIdleConnections()
	}
}

// stopReloads makes the gateway not ready, and waits for a reload under way. No reload begins after it.
func (p *Proxy) stopReloads() {
	p.reloading.Lock()
	defer p.reloading.Unlock()
	p.isDraining.Store(true)
}

// EndTimeout returns how long Shutdown may take after the last session was asked to close: the longest close_timeout and write_timeout.
func (p *Proxy) EndTimeout() time.Duration {
	return p.closeTimeout() + p.writeTimeout()
}

func (p *Proxy) closeTimeout() time.Duration {
	return p.longest(func(c *relay.Config) time.Duration { return c.CloseTimeout })
}

func (p *Proxy) writeTimeout() time.Duration {
	return p.longest(func(c *relay.Config) time.Duration { return c.WriteTimeout })
}

// longest returns the longest time of all routes. Routes that a reload has removed count as long as they have sessions.
func (p *Proxy) longest(of func(*relay.Config) time.Duration) (longest time.Duration) {
	for _, r := range p.routes.Load().Routes {
		longest = max(longest, of(&r.Relay))
	}
	for _, s := range p.sessions.List() {
		longest = max(longest, of(&s.Route.Relay))
	}
	return longest
}
