package proxy

import (
	"maps"
	"sync"
)

// activeSessions counts live sessions. What no session and no route has any more isn't counted any longer. The zero value is ready for use.
type activeSessions struct {
	mu sync.Mutex

	live   map[activeKey]int  // guarded by mu; 0 only for what is served
	served map[activeKey]bool // guarded by mu; by the configuration in use
}

// An activeKey is what a session belongs to.
type activeKey struct{ listener, route, pool string }

// add counts the start of a session as 1, and its end as -1.
func (a *activeSessions) add(key activeKey, n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.live == nil {
		a.live = map[activeKey]int{}
	}
	a.live[key] += n
	if a.live[key] == 0 && !a.served[key] {
		delete(a.live, key)
	}
}

// serve sets what the configuration in use serves.
func (a *activeSessions) serve(keys []activeKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	live := map[activeKey]int{}
	a.served = map[activeKey]bool{}
	for _, key := range keys {
		a.served[key] = true
		live[key] = 0
	}
	for key, n := range a.live {
		if n != 0 {
			live[key] = n
		}
	}
	a.live = live
}

// counts returns the live sessions of all that is counted.
func (a *activeSessions) counts() map[activeKey]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.live)
}
