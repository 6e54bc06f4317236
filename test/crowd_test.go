//go:build unix

package test

import (
	"fmt"
	"testing"

	"github.com/gobwas/ws"
)

// A crowd is sessions that live beside what a test does to others, and must not notice it.
type crowd struct {
	clients, backends []*wire
	rounds            int
}

// crowdSize is how many sessions a crowd has.
const crowdSize = 10

// crowdRoute is the part of a configuration that a crowd needs.
func crowdRoute(backend rawBackend) string { return toPool("/crowd", "crowd", backend.port()) }

// openCrowd opens the sessions of a crowd.
func openCrowd(t *testing.T, g *gateway, backend rawBackend) *crowd {
	t.Helper()
	c := new(crowd)
	for range crowdSize {
		client, backendEnd := open(t, g, backend, "/crowd")
		c.clients = append(c.clients, client)
		c.backends = append(c.backends, backendEnd)
	}
	return c
}

// wantLive sends a message both ways in every session.
func (c *crowd) wantLive(t *testing.T) {
	t.Helper()
	c.rounds++
	for i := range c.clients {
		text := fmt.Sprintf("round %d of session %d", c.rounds, i)
		c.clients[i].send(t, c.clients[i].frame(ws.OpText, text))
		c.backends[i].wantFrame(t, ws.OpText, text)
		c.backends[i].send(t, c.backends[i].frame(ws.OpText, text))
		c.clients[i].wantFrame(t, ws.OpText, text)
	}
}
