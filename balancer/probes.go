package balancer

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"reflect"
	"sync"
	"time"

	"go.uber.org/zap"

	"sluice/balancer/probe"
	"sluice/internal/netconn"
)

// A probeState is the result of a backend's probes. Guarded by pool.mu.
type probeState struct {
	isDown      bool
	hasResult   bool // of one probe at least
	consecutive int  // probes whose result contradicts isDown
}

// probers probes the backends, with a goroutine for each. Owned by the goroutine of Run.
type probers struct {
	pool    *Pool
	owner   Owner
	config  HealthConfig
	cancel  map[*Backend]context.CancelFunc
	running sync.WaitGroup
}

func newProbers(p *Pool, owner Owner) *probers {
	return &probers{pool: p, owner: owner, cancel: make(map[*Backend]context.CancelFunc)}
}

// adjust starts and ends goroutines so that each backend is probed as configured.
func (ps *probers) adjust(ctx context.Context) {
	config, isWanted := ps.wanted()
	isOther := !reflect.DeepEqual(config, ps.config)
	ps.config = config
	for b, cancel := range ps.cancel {
		if isOther || !isWanted[b] {
			cancel()
			delete(ps.cancel, b)
		}
	}
	for b := range isWanted {
		if ps.cancel[b] == nil {
			ctx, cancel := context.WithCancel(ctx)
			ps.cancel[b] = cancel
			ps.running.Go(func() { ps.probe(ctx, b, config) })
		}
	}
}

// wanted returns which backends are to be probed, and how.
func (ps *probers) wanted() (config HealthConfig, isWanted map[*Backend]bool) {
	ps.pool.mu.Lock()
	defer ps.pool.mu.Unlock()
	config, isWanted = ps.pool.cfg.Health, make(map[*Backend]bool)
	if config.Kind != "" {
		for _, b := range ps.pool.backends {
			isWanted[b] = true
		}
	}
	return config, isWanted
}

func (ps *probers) stop() {
	for _, cancel := range ps.cancel {
		cancel()
	}
	ps.running.Wait()
}

// probe probes b until ctx ends. The first probe is at a random time, so that neither the backends nor
// the gateway processes are in step.
func (ps *probers) probe(ctx context.Context, b *Backend, c HealthConfig) {
	timer := time.NewTimer(untilStep(time.Now(), rand.N(c.Interval.Std()), probeStep(c.Interval.Std())))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		// A panic is the gateway's mistake and says nothing about the backend.
		if !ps.owner.Panics.Guard(room, func() {
			dial := func(ctx context.Context) (net.Conn, error) { return ps.owner.Dial(ctx, b) }
			if err := c.Do(ctx, b.probed(dial), ps.owner.Panics); ctx.Err() == nil {
				ps.pool.recordProbe(b, err, time.Now())
			}
			timer.Reset(untilStep(time.Now(), c.Interval.Std()+rand.N(c.Jitter.Std()+1), probeStep(c.Interval.Std())))
		}) {
			timer.Reset(c.Interval.Std())
		}
	}
}

// maxProbeStep is the time between two moments at which probes start, unless a twentieth of the interval
// is less. Waking a process costs more than a probe: 1,000 backends probed by tcp every 5s cost 3.9 % of a
// core if each has its own moment, and 0.9 % in steps.
const maxProbeStep = 250 * time.Millisecond

func probeStep(interval time.Duration) time.Duration { return max(1, min(maxProbeStep, interval/20)) }

// untilStep returns d, prolonged so that now+d is a whole step, where the timers of all backends meet.
func untilStep(now time.Time, d, step time.Duration) time.Duration {
	past := (now.UnixNano() + int64(d)) % int64(step)
	return d + (step-time.Duration(past))%step
}

// recordProbe applies the result of a probe of b. A probe for which the gateway had no descriptor, port or memory has none.
func (p *Pool) recordProbe(b *Backend, err error, now time.Time) {
	if what := netconn.Exhausted(err); what != "" {
		p.warnExhausted(what, err, now)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c, state := &p.cfg.Health, &b.probes
	if c.Kind == "" {
		return // probes were turned off in the meantime
	}
	cause := ""
	if err != nil {
		cause = "probe: " + netconn.Explain(err)
		p.noteFailure(b, reasonProbe, cause, now)
	} else if b.failure.last.Reason == reasonProbe.String() {
		b.isFailing.Store(false)
	}
	isFirst := !state.hasResult
	state.hasResult = true
	if (err == nil) != state.isDown {
		state.consecutive = 0
		return
	}
	state.consecutive++
	limit := c.Fall
	if state.isDown {
		limit = c.Rise
	}
	// A backend counts as up until its first probe, whose result applies at once.
	if state.consecutive < limit && !isFirst {
		return
	}
	state.isDown, state.consecutive = !state.isDown, 0
	p.updateState(b, now, cause)
	p.applyChanges(now)
}

// exhaustedInterval is the least time between two lines of the log about probes that could not be made.
const exhaustedInterval = time.Minute

func (p *Pool) warnExhausted(what netconn.Resource, err error, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.warnedAt) < exhaustedInterval {
		return
	}
	p.warnedAt = now
	p.log.Warn("probes can't be made, their last results stay", zap.String("pool", p.cfg.Name), zap.String("reason", string(what)), zap.Error(err))
}

// dialPlain connects to b over TCP or a Unix socket, with TLS and the system's roots if b speaks it.
func dialPlain(ctx context.Context, b *Backend) (net.Conn, error) {
	// A probe is over before the first keep-alive of TCP.
	d := net.Dialer{KeepAlive: -1}
	conn, err := d.DialContext(ctx, b.Network(), b.Address())
	if err != nil {
		return nil, err
	}
	if name, isTLS := b.TLS(); isTLS {
		return tls.Client(conn, &tls.Config{ServerName: name}), nil
	}
	return conn, nil
}

// probed returns b as package probe has it.
func (b *Backend) probed(dial func(context.Context) (net.Conn, error)) probe.Backend {
	of := probe.Backend{Dial: dial, Host: b.host(), IsHTTP2: b.pool.isHTTP2(), Scheme: "http"}
	if _, isTLS := b.TLS(); isTLS {
		of.Scheme = "https"
	}
	return of
}

// host returns the Host of a request to b.
func (b *Backend) host() string {
	if b.Network() == "unix" {
		return "localhost"
	}
	if name, isTLS := b.TLS(); isTLS {
		return net.JoinHostPort(name, b.address.port())
	}
	return b.Address()
}
