package proxy

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sluice/upgrade"
)

// places are those of live sessions and of the handshakes that may become some: handshakes at once don't overrun a limit.
type places struct{ taken atomic.Int64 }

// take takes a place; false: limit are taken, which is 0 for no limit.
func (p *places) take(limit int64) bool {
	if p.taken.Add(1) > limit && limit > 0 {
		p.taken.Add(-1)
		return false
	}
	return true
}

func (p *places) give() { p.taken.Add(-1) }

// take takes the places of a session of that client: the gateway's, the listener's, the client's. nil: they are the caller's until
// give.
func (l *listener) take(client netip.Addr, now time.Time) *upgrade.Rejection {
	if !l.proxy.places.take(l.proxy.maxSessions.Load()) {
		return upgrade.ErrLimit
	}
	if !l.places.take(int64(l.maxSessions)) {
		l.proxy.places.give()
		return upgrade.ErrLimit
	}
	if !l.clients.enter(client, now) {
		l.places.give()
		l.proxy.places.give()
		return upgrade.ErrRate
	}
	return nil
}

// give gives back what take took.
func (l *listener) give(client netip.Addr, now time.Time) {
	l.clients.leave(client, now)
	l.places.give()
	l.proxy.places.give()
}

// clients limits what one client address takes of a listener: live sessions, and handshakes a second by a token bucket. An IPv6
// client counts by its /64, all of which one customer of a provider has. Its methods may be called from any goroutine.
type clients struct {
	maxSessions int // a client; 0: no limit
	rate        int // handshakes a second; 0: no limit
	burst       int

	mu sync.Mutex

	known   map[netip.Addr]*client // guarded by mu; those with sessions, or with an unfilled bucket
	sweepAt int                    // guarded by mu: how many known ones are worth a sweep
}

type client struct {
	sessions int
	tokens   float64
	at       time.Time // of tokens
}

// isLike tells whether two have the same limits.
func (c *clients) isLike(d *clients) bool {
	return c.maxSessions == d.maxSessions && c.rate == d.rate && c.burst == d.burst
}

// minSweep is the number of clients below which nobody looks for forgotten ones.
const minSweep = 1024

func newClients(c *ListenerConfig) *clients {
	burst := c.HandshakeBurst
	if burst == 0 {
		burst = c.HandshakeRate
	}
	return &clients{
		maxSessions: c.MaxSessionsPerIP,
		rate:        c.HandshakeRate,
		burst:       burst,
		known:       map[netip.Addr]*client{},
		sweepAt:     minSweep,
	}
}

// keyOf returns the address that a client is counted by.
func keyOf(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// enter counts a handshake and the session that it may become; false: it is one too many. One that is let in has to leave.
// A client without an address (a Unix socket) isn't limited.
func (c *clients) enter(a netip.Addr, now time.Time) bool {
	if c.maxSessions == 0 && c.rate == 0 || !a.IsValid() {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := keyOf(a)
	k := c.known[key]
	if k == nil {
		if len(c.known) >= c.sweepAt {
			c.sweep(now)
		}
		k = &client{tokens: float64(c.burst), at: now}
		c.known[key] = k
	}
	if c.rate > 0 {
		k.tokens = c.filled(k, now)
		k.at = now
		if k.tokens < 1 {
			return false
		}
		k.tokens--
	}
	if c.maxSessions > 0 && k.sessions >= c.maxSessions {
		return false
	}
	k.sessions++
	return true
}

// leave ends what enter let in.
func (c *clients) leave(a netip.Addr, now time.Time) {
	if c.maxSessions == 0 && c.rate == 0 || !a.IsValid() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := keyOf(a)
	k := c.known[key]
	k.sessions--
	if c.isForgettable(k, now) {
		delete(c.known, key)
	}
}

// filled returns the tokens of a client's bucket now.
func (c *clients) filled(k *client, now time.Time) float64 {
	return min(k.tokens+now.Sub(k.at).Seconds()*float64(c.rate), float64(c.burst))
}

func (c *clients) isForgettable(k *client, now time.Time) bool {
	return k.sessions == 0 && (c.rate == 0 || c.filled(k, now) >= float64(c.burst))
}

// sweep forgets the clients of which nothing is left to know. Doing so each time their number has doubled costs O(1) a client.
func (c *clients) sweep(now time.Time) {
	for key, k := range c.known {
		if c.isForgettable(k, now) {
			delete(c.known, key)
		}
	}
	c.sweepAt = max(2*len(c.known), minSweep)
}
