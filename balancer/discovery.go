package balancer

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"sluice/internal/recovery"
)

const (
	// minResolveGap is the least time between two resolutions, however many dials fail.
	minResolveGap = time.Second
	// maxResolved bounds the members that one name stands for.
	maxResolved = 4096
)

// A name is an address that stands for several members, and how its last resolutions went. Owned by
// the goroutine that resolves.
type name struct {
	address  address
	failures int // in a row
}

// resolveNames resolves the pool's names until ctx ends: at once, at the interval, and when a
// dial failed or the definition changed.
func (p *Pool) resolveNames(ctx context.Context, panics recovery.Handler) {
	names := make(map[string]*name)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			last = time.Now()
			wait := panicPause
			panics.Guard(room, func() { wait = p.resolveAll(ctx, names, panics) })
			if wait > 0 {
				timer.Reset(wait)
			}
		case <-p.keeper.resolve:
			timer.Reset(max(0, minResolveGap-time.Since(last)))
		}
	}
}

// resolveAll resolves every name of the definition once and returns when to do it again; 0: there
// is none.
func (p *Pool) resolveAll(ctx context.Context, names map[string]*name, panics recovery.Handler) time.Duration {
	c, listed := p.listed()
	if len(listed) == 0 {
		return 0
	}
	wait := c.Interval.Std()
	for text, a := range listed {
		n := names[text]
		if n == nil {
			n = &name{}
			names[text] = n
		}
		n.address = a
		panics.Guard(room, func() { p.resolve(ctx, c, text, n) })
		if ctx.Err() != nil {
			return 0
		}
		if n.failures > 0 {
			// Sooner than the interval at first: 1s, 2s, 4s...
			wait = min(wait, minResolveGap<<min(n.failures-1, 16))
		}
	}
	for text := range names {
		if _, isListed := listed[text]; !isListed {
			delete(names, text)
		}
	}
	return wait
}

// resolve resolves one name. After a panic the name keeps its last members.
func (p *Pool) resolve(ctx context.Context, c DiscoveryConfig, text string, n *name) {
	found, err := c.resolve(ctx, n.address)
	if ctx.Err() == nil {
		p.resolvedTo(text, n, found, err)
	}
}

// listed returns the names of the definition, by their text, and how they are to be resolved.
func (p *Pool) listed() (DiscoveryConfig, map[string]address) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg.Discovery, p.names()
}

// names returns the addresses of the definition that are names, by their text. The caller holds mu.
func (p *Pool) names() map[string]address {
	listed := make(map[string]address)
	if p.cfg.Discovery.DNS == "" {
		return listed
	}
	for i := range p.cfg.Backend {
		c := &p.cfg.Backend[i]
		if a, err := p.cfg.address(c); err == nil && a.isName() {
			listed[c.Address] = a
		}
	}
	return listed
}

// forgetNames drops what names were resolved to that the definition does not list any more. The
// caller holds mu.
func (p *Pool) forgetNames() {
	listed := p.names()
	for text := range p.resolved {
		if _, isListed := listed[text]; !isListed {
			delete(p.resolved, text)
		}
	}
}

// resolvedTo makes found the members that a name stands for. On an error, or without any, the last
// ones are kept: what answered a minute ago is a better guess than nothing.
func (p *Pool) resolvedTo(text string, n *name, found []member, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fields := []zap.Field{zap.String("pool", p.cfg.Name), zap.String("name", text), zap.Int("members", len(p.resolved[text]))}
	if err != nil {
		n.failures++
		if n.failures == 1 {
			p.log.Warn("name not resolved, last members kept", append(fields, zap.Error(err))...)
		}
		return
	}
	if n.failures > 0 {
		n.failures = 0
		p.log.Info("name resolved again", fields...)
	}
	if _, isListed := p.names()[text]; isListed && !slices.Equal(p.resolved[text], found) {
		p.resolved[text] = found
		p.define(time.Now())
	}
}

// resolve returns the members that a stands for, ordered. There is one at least if err is nil.
func (c *DiscoveryConfig) resolve(ctx context.Context, a address) ([]member, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout.Std())
	defer cancel()
	resolver := c.resolver()
	var members []member
	var err error
	if c.DNS == DiscoverSRV {
		members, err = resolveSRV(ctx, resolver, a)
	} else {
		members, err = resolveHost(ctx, resolver, a, a.host(), a.port())
	}
	switch {
	case err != nil:
		return nil, err
	case len(members) == 0:
		return nil, fmt.Errorf("resolve %s: no address", a.text)
	case len(members) > maxResolved:
		return nil, fmt.Errorf("resolve %s: more than %d addresses", a.text, maxResolved)
	}
	slices.SortFunc(members, func(a, b member) int { return cmp.Compare(a.text, b.text) })
	return slices.CompactFunc(members, func(a, b member) bool { return a.id() == b.id() }), nil
}

func (c *DiscoveryConfig) resolver() *net.Resolver {
	if c.Server == "" {
		return net.DefaultResolver
	}
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, c.Server)
	}}
}

func resolveHost(ctx context.Context, r *net.Resolver, a address, host, port string) ([]member, error) {
	ips, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var members []member
	for _, ip := range ips {
		members = append(members, member{address: a.at(ip, port, a.serverName)})
	}
	return members, nil
}

// resolveSRV follows the records to their addresses. RFC 2782: a client "MUST attempt to contact the
// target host with the lowest-numbered priority it can reach", so the higher ones are backups. A
// target without an address is passed over while another one has some.
func resolveSRV(ctx context.Context, r *net.Resolver, a address) ([]member, error) {
	_, records, err := r.LookupSRV(ctx, "", "", a.host())
	if err != nil {
		return nil, err
	}
	var members []member
	var lastErr error
	for _, record := range records {
		target := a
		target.serverName = strings.TrimSuffix(record.Target, ".")
		found, err := resolveHost(ctx, r, target, record.Target, strconv.Itoa(int(record.Port)))
		if err != nil {
			lastErr = err
		}
		for _, m := range found {
			// "A weight of 0" is for a record that is hardly chosen; here it is the least there is.
			m.weight = max(1, int(record.Weight))
			m.backup = record.Priority > records[0].Priority // sorted by the resolver
			members = append(members, m)
		}
	}
	if len(members) == 0 {
		return nil, lastErr
	}
	return members, nil
}
