// Package limits counts what clients take of the gateway, and says when it is too much. It knows neither the gateway nor what a refusal
// looks like.
package limits

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A Count counts places that are taken, as those of live sessions together with the handshakes that may become some: handshakes at the
// same time don't overrun a limit. The zero value counts none. Its methods may be called from any goroutine.
type Count struct{ taken atomic.Int64 }

// Acquire takes a place, and reports whether there was one: with a limit over 0 that many can be taken, with 0 any number.
func (c *Count) Acquire(limit int64) bool {
	if c.taken.Add(1) > limit && limit > 0 {
		c.taken.Add(-1)
		return false
	}
	return true
}

// Release gives back what Acquire took.
func (c *Count) Release() { c.taken.Add(-1) }

// N returns how many places are taken.
func (c *Count) N() int64 { return c.taken.Load() }

// PerClient is what one client address may take. 0 means no limit.
type PerClient struct {
	Sessions int // at once
	Rate     int // handshakes a second
	Burst    int // handshakes at once; 0: as many as Rate
}

// Clients limits what each client address takes of a listener: live sessions, and handshakes a second by a token bucket. An IPv6
// client counts by its /64, all of which one customer of a provider has. Its methods may be called from any goroutine.
type Clients struct {
	limit PerClient

	mu sync.Mutex

	known   map[netip.Addr]*client // guarded by mu; those with sessions, or with an unfilled bucket
	sweepAt int                    // guarded by mu: how many known ones are worth a sweep
}

type client struct {
	sessions int
	tokens   float64
	at       time.Time // of tokens
}

// Limit returns what each of the clients may take.
func (c *Clients) Limit() PerClient { return c.limit }

// Len returns how many addresses are known: those with sessions, or with a bucket that has yet to fill.
func (c *Clients) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.known)
}

// minSweep is the number of known clients below which none is forgotten.
const minSweep = 1024

// NewClients returns Clients that know none.
func NewClients(limit PerClient) *Clients {
	if limit.Burst == 0 {
		limit.Burst = limit.Rate
	}
	return &Clients{limit: limit, known: map[netip.Addr]*client{}, sweepAt: minSweep}
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

// Acquire counts a handshake and the session that it may become, and reports whether the client's limits allow it; then Release has to
// follow. A client without an address (a Unix socket) isn't limited.
func (c *Clients) Acquire(a netip.Addr, now time.Time) bool {
	if c.limit.Sessions == 0 && c.limit.Rate == 0 || !a.IsValid() {
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
		k = &client{tokens: float64(c.limit.Burst), at: now}
		c.known[key] = k
	}
	if c.limit.Rate > 0 {
		k.tokens = c.filled(k, now)
		k.at = now
		if k.tokens < 1 {
			return false
		}
		k.tokens--
	}
	if c.limit.Sessions > 0 && k.sessions >= c.limit.Sessions {
		return false
	}
	k.sessions++
	return true
}

// Release gives back the session of an Acquire that was allowed.
func (c *Clients) Release(a netip.Addr, now time.Time) {
	if c.limit.Sessions == 0 && c.limit.Rate == 0 || !a.IsValid() {
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
func (c *Clients) filled(k *client, now time.Time) float64 {
	return min(k.tokens+now.Sub(k.at).Seconds()*float64(c.limit.Rate), float64(c.limit.Burst))
}

func (c *Clients) isForgettable(k *client, now time.Time) bool {
	return k.sessions == 0 && (c.limit.Rate == 0 || c.filled(k, now) >= float64(c.limit.Burst))
}

// sweep forgets the clients of which nothing is left to know. Doing so each time their number has doubled costs O(1) a client.
func (c *Clients) sweep(now time.Time) {
	for key, k := range c.known {
		if c.isForgettable(k, now) {
			delete(c.known, key)
		}
	}
	c.sweepAt = max(2*len(c.known), minSweep)
}
