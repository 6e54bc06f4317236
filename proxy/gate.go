package proxy

import (
	"net"
	"sync"
)

// A gate is the set of connections whose handshake runs on a goroutine, and counts the goroutines that run a step for a loop. A stop closes
// the connections and waits for all of them.
type gate struct {
	mu sync.Mutex

	conns    map[net.Conn]struct{} // guarded by mu
	isClosed bool                  // guarded by mu
	running  sync.WaitGroup
}

// add adds a connection, until remove. After close it closes the connection instead and returns false.
func (g *gate) add(conn net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isClosed {
		_ = conn.Close()
		return false
	}
	if g.conns == nil {
		g.conns = map[net.Conn]struct{}{}
	}
	g.conns[conn] = struct{}{}
	g.running.Add(1)
	return true
}

// remove removes a connection that add has added.
func (g *gate) remove(conn net.Conn) {
	g.mu.Lock()
	delete(g.conns, conn)
	g.mu.Unlock()
	g.running.Done()
}

// addGoroutine counts a goroutine that has no connection of its own, until running.Done. It returns false after close.
func (g *gate) addGoroutine() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.isClosed {
		g.running.Add(1)
	}
	return !g.isClosed
}

// close closes all connections, and waits until they are removed, and all goroutines have ended.
func (g *gate) close() {
	g.mu.Lock()
	g.isClosed = true
	for conn := range g.conns {
		_ = conn.Close()
	}
	g.mu.Unlock()
	g.running.Wait()
}
