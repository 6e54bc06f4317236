package balancer

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"reflect"
	"sync"
	"time"

	"sluice/balancer/probe"
)

// A probeRecord is what the probes of a backend said. Guarded by pool.mu.
type probeRecord struct {
	isDown  bool
	isKnown bool // there was one
	inRow   int  // probes in a row that say the contrary of isDown
}

// probers are the goroutines that probe the members, one each. Owned by the goroutine of Run.
type probers struct {
	pool    *Pool
	owner   Owner
	config  HealthConfig
	cancel  map[*Backend]context.CancelFunc
	running sync.WaitGroup
}

func newProbers(p *Pool, owner Owner) *probers {
	if owner.Dial == nil {
		owner.Dial = dialPlain
	}
	return &probers{pool: p, owner: owner, cancel: make(map[*Backend]context.CancelFunc)}
}

// adjust starts and ends goroutines so that each member is probed as configured.
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

// wanted returns which members are to be probed, and how.
func (ps *probers) wanted() (config HealthConfig, isWanted map[*Backend]bool) {
	ps.pool.mu.Lock()
	defer ps.pool.mu.Unlock()
	config, isWanted = ps.pool.cfg.Health, make(map[*Backend]bool)
	if config.Kind != "" {
		for _, b := range ps.pool.members {
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

// probe probes b until ctx ends. The first time is a random one, so that neither the members nor
// the gateway processes probe in step.
func (ps *probers) probe(ctx context.Context, b *Backend, c HealthConfig) {
	timer := time.NewTimer(toStep(time.Now(), rand.N(c.Interval.Std()), probeStep(c.Interval.Std())))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		// A probe that panics says nothing about the backend: the fault is the gateway's.
		ps.owner.Panics.Guard(room, func() {
			dial := func(ctx context.Context) (net.Conn, error) { return ps.owner.Dial(ctx, b) }
			if err := c.Do(ctx, probe.Backend{Dial: dial, Host: b.host()}, ps.owner.Panics); ctx.Err() == nil {
				ps.pool.probed(b, err, time.Now())
			}
		})
		timer.Reset(toStep(time.Now(), c.Interval.Std()+rand.N(c.Jitter.Std()+1), probeStep(c.Interval.Std())))
	}
}

// maxProbeStep is the time between two moments at which probes begin, if that is not more than a
// twentieth of the interval. A process that sleeps pays more for being woken than for a probe: 1,000
// members at 5s that each have a moment of their own cost 3.9 % of a core by tcp, in steps 0.9 %.
const maxProbeStep = 250 * time.Millisecond

func probeStep(interval time.Duration) time.Duration { return max(1, min(maxProbeStep, interval/20)) }

// toStep returns d, or as much more as brings now+d to a whole step: everybody's timers meet there.
func toStep(now time.Time, d, step time.Duration) time.Duration {
	past := (now.UnixNano() + int64(d)) % int64(step)
	return d + (step-time.Duration(past))%step
}

// probed notes what a probe of b said.
func (p *Pool) probed(b *Backend, err error, now time.Time) {
	if err != nil {
		b.failures[reasonProbe].Add(1)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c, record := &p.cfg.Health, &b.probes
	if c.Kind == "" {
		return // since this probe began
	}
	isFirst := !record.isKnown
	record.isKnown = true
	if (err == nil) != record.isDown {
		record.inRow = 0
		return
	}
	record.inRow++
	limit := c.Fall
	if record.isDown {
		limit = c.Rise
	}
	// A member is believed to be up until its first probe, which is believed at once.
	if record.inRow < limit && !isFirst {
		return
	}
	record.isDown, record.inRow = !record.isDown, 0
	p.settle(b, now, err)
	p.changed(now)
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
