package plain

import (
	"container/list"
	"sync"

	"sluice/internal/netconn"
)

// idle is the connections that wait for their next request, in the order in which they began to.
type idle struct {
	limit int // 0 means none

	mu sync.Mutex

	waiting list.List               // of *Conn; guarded by mu
	element map[*Conn]*list.Element // guarded by mu
}

func newIdle(limit int) idle { return idle{limit: limit, element: map[*Conn]*list.Element{}} }

// add adds a connection. If that are too many, it closes the first one.
func (i *idle) add(c *Conn) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.element[c] = i.waiting.PushBack(c)
	if i.limit > 0 && i.waiting.Len() > i.limit {
		i.closeFirst()
	}
}

// remove removes a connection that waits no longer.
func (i *idle) remove(c *Conn) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if e := i.element[c]; e != nil {
		i.waiting.Remove(e)
		delete(i.element, c)
	}
}

// close closes the first n connections.
func (i *idle) close(n int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for ; n > 0 && i.waiting.Len() > 0; n-- {
		i.closeFirst()
	}
}

// closeFirst closes the connection that has waited longest. net/http notices it by its read. A close_notify of TLS is left out, since it may
// block, and no answer is incomplete.
func (i *idle) closeFirst() {
	c := i.waiting.Remove(i.waiting.Front()).(*Conn)
	delete(i.element, c)
	_ = netconn.Socket(c.Conn).Close()
}

func (i *idle) len() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.waiting.Len()
}
