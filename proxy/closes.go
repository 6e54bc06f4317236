package proxy

import (
	"net/netip"
	"sync"
	"time"

	"sluice/proxy/driver"
	"sluice/proxy/relay"
)

// keptCloses is how many of the last ends are kept whole.
const keptCloses = 50

// closes are the ends of sessions: how many of each kind, and the last ones. A session tells its end once, behind its last frame.
// The methods may be called from any goroutine.
type closes struct {
	mu sync.Mutex

	counts map[closeKind]uint64 // guarded by mu; as many as there are codes, at most
	last   [keptCloses]ending   // guarded by mu; a ring, in which the next stands at added % keptCloses
	added  int                  // guarded by mu
}

type closeKind struct {
	by   relay.Initiator
	code uint16
}

// An ending is what is kept of a session that has ended: no more than that, so that the session's memory goes.
type ending struct {
	id                             uint64
	listener, route, pool, backend string
	client                         netip.AddrPort
	path                           string
	at                             time.Time
	took                           time.Duration
	result                         driver.Result
}

func (c *closes) add(s *session, r *driver.Result) {
	now := time.Now()
	e := ending{
		id: s.id, listener: s.listener.name, route: s.route.Name, pool: s.route.PoolName, backend: s.backend.Name(),
		client: s.client, path: s.path(), at: now, took: now.Sub(s.start), result: *r,
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[closeKind{r.Verdict.Initiator, closeCode(r.Verdict)}]++
	c.last[c.added%keptCloses] = e
	c.added++
}

// recent returns the last ends, the newest first.
func (c *closes) recent() []ending {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := make([]ending, min(c.added, keptCloses))
	for i := range kept {
		kept[i] = c.last[(c.added-1-i)%keptCloses]
	}
	return kept
}

// sums returns how many sessions ended in each way, in no order.
func (c *closes) sums() []CloseCount {
	c.mu.Lock()
	defer c.mu.Unlock()
	sums := make([]CloseCount, 0, len(c.counts))
	for kind, n := range c.counts {
		sums = append(sums, CloseCount{ClosedBy: kind.by.String(), Code: kind.code, Count: n})
	}
	return sums
}
