package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"sluice/balancer"
	"sluice/proxy/driver"
	"sluice/proxy/h2"
	"sluice/proxy/relay"
	"sluice/proxy/route"
	"sluice/upgrade"
)

// The HTTP/2 connections to backends. Each event loop has its own, so that a handshake finds one without a lock and a session stays on its
// loop. A further connection is opened as soon as each of those that are there carries a stream, up to the pool's `connections`: sessions
// stay for long and can't be moved, so that the first connection would otherwise keep all of them, and a lost packet would delay all of
// them. A handshake doesn't wait for that one if another has room.

// backendConns are the connections of all event loops.
type backendConns struct {
	proxy *Proxy

	mu sync.Mutex

	groups map[groupKey]*backendGroup // guarded by mu
}

type groupKey struct {
	host    driver.Host
	backend *balancer.Backend
}

// group returns the connections of an event loop to a backend. The loop calls it.
func (b *backendConns) group(host driver.Host, backend *balancer.Backend, r *route.Route) *backendGroup {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := groupKey{host, backend}
	g := b.groups[key]
	if g == nil {
		g = &backendGroup{groupKey: key, all: b, pool: r.Pool, poolName: r.PoolName}
		if b.groups == nil {
			b.groups = map[groupKey]*backendGroup{}
		}
		b.groups[key] = g
	}
	return g
}

// goAway has the connections to the backends of a pool, or of all pools if it is nil, end after their last stream. No stream is opened on
// them any more.
func (b *backendConns) goAway(pool *balancer.Pool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range b.groups {
		if pool == nil || g.pool == pool {
			g.host.Command(g.goAway)
		}
	}
}

// A backendGroup is the connections of one event loop to a backend. Owned by the loop's goroutine.
type backendGroup struct {
	groupKey
	all      *backendConns
	pool     *balancer.Pool
	poolName string

	conns   []*backendMux
	dialing int               // connections that goroutines are opening
	waiting []func(err error) // handshakes that wait for a connection; none if none is coming
	leaves  int               // how often all connections were told to end
	retryAt time.Time         // when a connection may be opened again for which no handshake waits
}

// A backendMux is a connection to a backend. It implements driver.MuxOwner. Owned by its loop's goroutine.
type backendMux struct {
	group     *backendGroup
	mux       *driver.Mux // nil until it is begun
	start     time.Time
	tls       uint16 // version, or 0
	isReady   bool   // the backend's settings have come
	isLeaving bool   // no further streams
	wasAsked  bool   // to leave, by us
}

// backendHTTP2 bounds no streams: acquire does, as the route says at that time.
var backendHTTP2 = h2.Config{Role: h2.Client, Streams: 1 << 16}

const (
	// backendIdleTimeout is how long a connection stays without a stream, as one of plain requests does.
	backendIdleTimeout = 75 * time.Second
	// reopenPause is the time from a connection that could not be opened to the next one for which no handshake waits.
	reopenPause = time.Second
)

// acquire returns the connection with the fewest streams of those that have room for another, or nil. isComing means that there may be one
// soon. Unless isFailed, it opens a further connection where that is of use.
func (g *backendGroup) acquire(r *route.Route, isFailed bool) (best *backendMux, isComing bool) {
	count, fewest := g.dialing, 0
	for _, c := range g.conns {
		if c.isLeaving {
			continue
		}
		count++
		if !c.isReady || c.mux.Room() == 0 {
			continue
		}
		if n := c.mux.Streams(); n < r.Streams && (best == nil || n < fewest) {
			best, fewest = c, n
		}
	}
	isWanted := best == nil || fewest > 0 && g.coming() == 0 && !time.Now().Before(g.retryAt)
	if isWanted && !isFailed && count < r.Connections {
		g.open(r)
	}
	return best, g.coming() > 0
}

// coming returns how many connections aren't ready yet.
func (g *backendGroup) coming() int {
	n := g.dialing
	for _, c := range g.conns {
		if !c.isReady && !c.isLeaving {
			n++
		}
	}
	return n
}

// open opens a connection on a goroutine.
func (g *backendGroup) open(r *route.Route) {
	g.dialing++
	p, leaves := g.all.proxy, g.leaves
	dialer := p.dialer(g.poolName)
	ctx, cancel := context.WithTimeout(p.ctx, r.ConnectTimeout)
	p.running.Go(func() {
		defer cancel()
		conn, err := net.Conn(nil), error(upgrade.ErrInternal)
		p.panics.Guard(room, func() { conn, err = dialer.Dial(ctx, g.backend, nil) })
		isTaken := g.host.Command(func() {
			g.dialing--
			if err == nil && leaves != g.leaves {
				_ = conn.Close()
				g.reopen()
				return
			}
			g.begin(conn, err, r)
		})
		if !isTaken && err == nil {
			_ = conn.Close()
		}
	})
}

// begin begins a connection that has been dialed, unless there is an error.
func (g *backendGroup) begin(conn net.Conn, err error, r *route.Route) {
	if err == nil {
		c := &backendMux{group: g, start: time.Now(), tls: tlsVersion(conn)}
		g.conns = append(g.conns, c)
		g.all.proxy.muxes[relay.Backend].Add(1)
		c.mux, err = g.host.NewMux(conn, driver.MuxParams{
			Config: &backendHTTP2, Owner: c,
			HeadTimeout: r.ConnectTimeout, IdleTimeout: backendIdleTimeout, WriteTimeout: r.WriteTimeout,
		})
		if err == nil {
			return
		}
		_ = conn.Close()
		c.forget()
	}
	g.failed(err)
}

// failed notes that a connection could not be opened.
func (g *backendGroup) failed(err error) {
	g.retryAt = time.Now().Add(reopenPause)
	g.note("connection to a backend can't be opened", err)
	if g.coming() == 0 {
		g.serve(err)
	}
	g.forgetIfEmpty()
}

// serve lets handshakes go on that wait. If further connections are coming, they get their share.
func (g *backendGroup) serve(err error) {
	n, shares := len(g.waiting), g.coming()+1
	n = (n + shares - 1) / shares
	served := g.waiting[:n]
	g.waiting = slices.Clone(g.waiting[n:])
	for _, resume := range served {
		resume(err)
	}
}

// goAway has the connections end after their last stream, also those that are coming.
func (g *backendGroup) goAway() {
	g.leaves++
	for _, c := range g.conns {
		c.leave()
	}
	g.reopen()
}

// reopen lets handshakes that wait look for another connection, if none is coming.
func (g *backendGroup) reopen() {
	if g.coming() == 0 {
		g.serve(nil)
	}
	g.forgetIfEmpty()
}

// leave has the connection end after its last stream.
func (c *backendMux) leave() {
	if c.mux != nil && !c.isLeaving {
		c.isLeaving, c.wasAsked = true, true
		c.mux.GoAway()
	}
}

// Opened implements driver.MuxOwner: a backend opens no streams.
func (c *backendMux) Opened(w driver.Work, _ *driver.Mux, _ *h2.Head, _ bool) driver.StreamTask {
	w.Drop()
	return nil
}

// Changed implements driver.MuxOwner.
func (c *backendMux) Changed(m *driver.Mux) {
	c.mux = m // the first settings may come before NewMux has returned
	isFirst := !c.isReady && m.IsReady()
	c.isReady = c.isReady || isFirst
	switch {
	case m.IsGoingAway() && !c.isLeaving:
		c.isLeaving = true
		switch err := m.Err(); {
		case !c.isReady && err != nil:
			c.group.failed(fmt.Errorf("HTTP/2: %v", err)) // the type of the cause says nothing to those who look for one
		case !c.isReady, isFirst:
			c.group.failed(errGoingAway)
		}
	case isFirst && !m.CanConnect():
		c.leave()
		c.group.failed(upgrade.ErrNoConnect)
	case isFirst:
		c.group.host.Command(c.serve)
	}
}

// serve lets handshakes go on that wait for the connection, after all that has come with the backend's settings: a GOAWAY may be among it, and a
// handshake would open the next connection to the same end.
func (c *backendMux) serve() {
	if c.isLeaving && !c.wasAsked {
		c.group.failed(errGoingAway)
	} else {
		c.group.serve(nil)
	}
}

var errGoingAway = errors.New("the backend accepts no streams (GOAWAY)")

// Ended implements driver.MuxOwner.
func (c *backendMux) Ended(_ *driver.Mux, err error) {
	g := c.group
	c.forget()
	switch {
	case !c.isReady || err == nil || c.wasAsked || g.all.proxy.ctx.Err() != nil:
		g.note("connection to a backend ended", err)
	default:
		g.all.proxy.log.Warn("connection to a backend lost", zap.String("pool", g.poolName), zap.String("backend", g.backend.Name()),
			zap.Duration("duration", time.Since(c.start)), zap.Error(err))
	}
	g.forgetIfEmpty()
}

// note logs what happened to a connection. What the sessions make of it is told by others.
func (g *backendGroup) note(message string, err error) {
	if ce := g.all.proxy.log.Check(zap.DebugLevel, message); ce != nil {
		ce.Write(zap.String("pool", g.poolName), zap.String("backend", g.backend.Name()), zap.Error(err))
	}
}

// forget takes the connection out of its group.
func (c *backendMux) forget() {
	g := c.group
	g.conns = slices.DeleteFunc(g.conns, func(other *backendMux) bool { return other == c })
	g.all.proxy.muxes[relay.Backend].Add(-1)
}

// forgetIfEmpty releases the group if there is nothing in it.
func (g *backendGroup) forgetIfEmpty() {
	if len(g.conns) == 0 && g.dialing == 0 && len(g.waiting) == 0 {
		g.all.mu.Lock()
		defer g.all.mu.Unlock()
		delete(g.all.groups, g.groupKey)
	}
}
