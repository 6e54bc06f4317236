// Package limits counts the places that clients occupy in the gateway, and reports when a limit is reached. It knows neither the gateway
// nor the answer to a refused client.
package limits

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A Count counts acquired places, such as those of live sessions and of the handshakes that may become sessions, so that simultaneous
// handshakes don't exceed a limit. The zero value counts none. Its methods may be called from any goroutine.
type Count struct{ acquired atomic.Int64 }

// Acquire acquires a place, and reports whether the limit allows it; 0 means no limit.
func (c *Count) Acquire(limit int64) bool {
	if c.acquired.Add(1) > limit && limit > 0 {
		c.acquired.Add(-1)
		return false
	}
	return true
}

// Release releases a place that Acquire has acquired.
func (c *Count) Release() { c.acquired.Add(-1) }

// N returns how many places are acquired.
func (c *Count) N() int64 { return c.acquired.Load() }

// PerClient has the limits of one client address. 0 means no limit.
type PerClient struct {
	Sessions int // at once
	Rate     int // handshakes a second
	Burst    int // handshakes at once; 0 means as many as Rate
}

// Clients limits the live sessions of each client address of a listener, and by a token bucket its handshakes a second. An IPv6 client
// counts by its /64, since providers assign a whole /64 to one customer. Its methods may be called from any goroutine.
type Clients struct {
	limit PerClient

	mu sync.Mutex

	known   map[netip.Addr]*client // guarded by mu; clients with sessions, or with a bucket that isn't full
	sweepAt int                    // guarded by mu: the number of known clients at which a sweep is due
}

type client struct {
	sessions int
	tokens   float64
	at       time.Time // when tokens was computed
}

// Limit returns the limits of each client.
func (c *Clients) Limit() PerClient { return c.limit }

// Len returns how many addresses are known: those with sessions, or with a bucket that isn't full.
func (c *Clients) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.known)
}

// minSweep is the number of known clients below which none is forgotten.
const minSweep = 1024

// NewClients returns Clients without any known address.
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

// Acquire counts a handshake and the session that it may become, and reports whether the client's limits allow both. If they do, the caller
// calls Release later. A client without an address, at a Unix socket, isn't limited.
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

// Release releases the session that Acquire has counted.
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

// sweep forgets the clients that have no sessions and a full bucket. It runs when their number has doubled, which costs O(1) per client.
func (c *Clients) sweep(now time.Time) {
	for key, k := range c.known {
		if c.isForgettable(k, now) {
			delete(c.known, key)
		}
	}
	c.sweepAt = max(2*len(c.known), minSweep)
}
