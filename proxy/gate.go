package proxy

import (
	"net"
	"sync"
)

// A gate keeps the connections whose handshake is under way, so that a stop can end them.
type gate struct {
	mu sync.Mutex

	conns    map[net.Conn]struct{} // guarded by mu
	isClosed bool                  // guarded by mu
	running  sync.WaitGroup
}

// enter admits a connection; false: the gateway stops, and the connection is closed. Each enter that admits wants a leave.
func (g *gate) enter(conn net.Conn) bool {
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

func (g *gate) leave(conn net.Conn) {
	g.mu.Lock()
	delete(g.conns, conn)
	g.mu.Unlock()
	g.running.Done()
}

// close ends what is under way, and waits for it.
func (g *gate) close() {
	g.mu.Lock()
	g.isClosed = true
	for conn := range g.conns {
		_ = conn.Close()
	}
	g.mu.Unlock()
	g.running.Wait()
}
