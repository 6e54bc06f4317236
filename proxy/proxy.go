package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-multierror"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"sluice/balancer"
	"sluice/proxy/driver"
	"sluice/upgrade"
)

// Config is what a Proxy is made of. The sections have been checked, each by its Check and all for the names that they refer to.
type Config struct {
	Listeners   []ListenerConfig
	Routes      []RouteConfig
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
	Tracer      Tracer // nil: handshakes aren't traced
}

// Proxy accepts connections and relays sessions. Its methods may be called from any goroutine.
type Proxy struct {
	log         *zap.Logger
	access      *zap.Logger
	accessLines AccessLines
	tracer      Tracer // nil: there is none
	driver      driver.Driver
	maxSessions int
	metrics     *metrics
	tls         map[string]TLSServer
	backendTLS  map[string]func(host string) *tls.Config
	challenge   func(ctx context.Context, host, path string) (body string, isOurs bool)
	memory      upgrade.Pool
	copyBuffers copyBuffers

	routes     atomic.Pointer[routes]
	pools      map[string]*balancer.Pool
	listeners  []*listener
	handshakes gate
	sessions   sessions
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
		log:         c.Log.Named("proxy"),
		access:      c.Access,
		accessLines: c.AccessLines,
		tracer:      c.Tracer,
		driver:      c.Driver,
		maxSessions: c.MaxSessions,
		tls:         c.TLS,
		backendTLS:  c.BackendTLS,
		challenge:   c.Challenge,
		pools:       map[string]*balancer.Pool{},
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	var problems *multierror.Error
	for i := range c.Pools {
		pool, err := balancer.New(c.Pools[i], c.Log)
		if err != nil {
			problems = multierror.Append(problems, fmt.Errorf("pool %s: %w", c.Pools[i].Name, err))
			continue
		}
		p.pools[c.Pools[i].Name] = pool
	}
	for i := range c.Listeners {
		l, err := p.listen(&c.Listeners[i])
		if err != nil {
			problems = multierror.Append(problems, err)
			continue
		}
		p.listeners = append(p.listeners, l)
	}
	if problems != nil {
		p.closeListeners()
		p.cancel()
		return nil, problems
	}
	p.setRoutes(c.Routes, c.Pools)
	p.metrics = newMetrics(p)
	if err := c.Metrics.Register(p.metrics); err != nil {
		p.closeListeners()
		p.cancel()
		return nil, err
	}
	return p, nil
}

// Close cuts whatever is left and returns when nothing of the Proxy runs any more. Its second call does nothing.
func (p *Proxy) Close() {
	p.closing.Do(func() {
		p.isDraining.Store(true)
		p.refuses.Store(true)
		p.closeListeners()
		p.cancel()
		p.handshakes.close()
		_ = p.driver.Close(context.Background()) // every socket is cut: it ends by itself
		for _, r := range *p.routes.Load() {
			r.transport.http.CloseIdleConnections()
		}
		<-p.sessions.gone()
		p.running.Wait()
	})
}

func (p *Proxy) setRoutes(configs []RouteConfig, pools []balancer.Config) {
	var all []*route
	for i := range configs {
		for j := range pools {
			if pools[j].Name == configs[i].Pool {
				r := newRoute(&configs[i], &pools[j], p.pools[pools[j].Name])
				r.dialer = p.dialer(r.poolName)
				r.plain = p.plainProxy(r)
				all = append(all, r)
			}
		}
	}
	table := newRoutes(all)
	p.routes.Store(&table)
}

// Start begins to accept.
func (p *Proxy) Start() {
	for name, pool := range p.pools {
		d := p.dialer(name)
		p.running.Go(func() {
			pool.Run(p.ctx, balancer.Owner{
				Dial:          func(ctx context.Context, b *balancer.Backend) (net.Conn, error) { return d.dial(ctx, b, nil) },
				CloseSessions: p.closeSessions,
			})
		})
	}
	for _, l := range p.listeners {
		p.log.Info("listening", zap.String("listener", l.name), zap.Stringer("address", l.ln.Addr()))
		if !l.acceptOnLoops() {
			p.running.Go(l.accept)
		}
		p.running.Go(func() { _ = l.server.Serve(l.plain) }) // until the listener is closed
	}
}

// Addr returns the address that a listener is bound to; nil: there is no such listener.
func (p *Proxy) Addr(listener string) net.Addr {
	for _, l := range p.listeners {
		if l.name == listener {
			return l.ln.Addr()
		}
	}
	return nil
}

// IsDraining tells whether the gateway wants no new sessions any more, though it may still take them for a while.
func (p *Proxy) IsDraining() bool { return p.isDraining.Load() }

func (p *Proxy) closeListeners() {
	for _, l := range p.listeners {
		if l.stopLoops != nil {
			l.stopLoops()
		}
		_ = l.ln.Close()
		_ = l.plain.Close()
	}
}

// closeTimeout returns the longest of the routes.
func (p *Proxy) closeTimeout() (longest time.Duration) {
	for _, r := range *p.routes.Load() {
		longest = max(longest, r.relay.CloseTimeout)
	}
	return longest
}
