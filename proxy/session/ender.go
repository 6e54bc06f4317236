package session

import (
	"sync"

	"sluice/balancer"
	"sluice/proxy/driver"
)

// An ender releases sessions that have ended, on goroutines of its own, since that may block on a slow log and the caller may be a loop. A
// few goroutines take one session after another: each new goroutine would have to grow its stack anew. The zero value is ready.
type ender struct {
	mu sync.Mutex

	waiting []ended // guarded by mu
	workers int     // guarded by mu
}

// ended is a session that has ended.
type ended struct {
	session *Session
	result  driver.Result
	outcome balancer.Outcome
}

// maxWorkers bounds the goroutines of an ender. They all write to the same log.
const maxWorkers = 4

// add has a session released soon. It doesn't block.
func (n *ender) add(e ended) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waiting = append(n.waiting, e)
	if n.workers < maxWorkers && n.workers < len(n.waiting) {
		n.workers++
		go n.work()
	}
}

// work releases what waits.
func (n *ender) work() {
	for {
		e, isMore := n.next()
		if !isMore {
			return
		}
		e.session.release(e.result, e.outcome)
	}
}

// next takes the session that has waited longest. It returns false if none waits: then the caller's goroutine ends.
func (n *ender) next() (e ended, isMore bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.waiting) == 0 {
		n.waiting = nil // a burst's memory goes
		n.workers--
		return ended{}, false
	}
	e = n.waiting[0]
	n.waiting[0] = ended{}
	n.waiting = n.waiting[1:]
	return e, true
}
