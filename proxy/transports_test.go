package proxy

import (
	"crypto/tls"
	"net"
	"sync"
	"testing"

	"sluice/balancer"
	"sluice/internal/h2test"
)

// The suites of the wire run over HTTP/2 too. Their clients and backends speak HTTP/1.1; bridges before and behind the gateway make streams of
// their connections. What HTTP/2 can't say stays with withDrivers: TLS of the test's own, PROXY headers, several requests on a connection, bytes
// that are no head, and what the loss of a whole connection does.

// A transport is a driver, and which sides of the gateway speak HTTP/2.
type transport struct {
	name, driver    string
	isFront, isBack bool // clients, backends
	isSecure        bool // over TLS
}

var transports = []transport{
	{name: "loop", driver: "loop"},
	{name: "goroutine", driver: "goroutine"},
	{name: "h2 front", driver: "loop", isFront: true},
	{name: "h2 front over TLS", driver: "loop", isFront: true, isSecure: true},
	{name: "h2 backend", driver: "loop", isBack: true},
	{name: "h2 both over TLS", driver: "loop", isFront: true, isBack: true, isSecure: true},
}

// transportNamed returns the transport with a name.
func transportNamed(name string) transport {
	for _, each := range transports {
		if each.name == name {
			return each
		}
	}
	panic("BUG: transport " + name)
}

// withTransports is withDrivers, over HTTP/2 too.
func withTransports(t *testing.T, test func(t *testing.T, driver string)) {
	withSome(t, func(transport) bool { return true }, test)
}

// withFronts is withTransports for what only the backend's own bytes of HTTP/1.1 can say.
func withFronts(t *testing.T, test func(t *testing.T, driver string)) {
	withSome(t, func(each transport) bool { return !each.isBack }, test)
}

// withSome runs a test with some of the transports; with -short HTTP/2 is spoken over TLS only.
func withSome(t *testing.T, isOf func(transport) bool, test func(t *testing.T, driver string)) {
	for _, each := range transports {
		if !isOf(each) || testing.Short() && !each.isSecure && (each.isFront || each.isBack) {
			continue
		}
		t.Run(each.name, func(t *testing.T) {
			t.Parallel()
			test(t, each.name)
		})
	}
}

// bridges are those of a gateway.
type bridges struct {
	mu     sync.Mutex
	fronts map[string]*h2test.Bridge // by listener
}

// Close closes the bridges.
func (b *bridges) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, front := range b.fronts {
		front.Close()
	}
}

// bridge has the gateway of the setup speak HTTP/2.
func (s *setup) bridge(t *testing.T) {
	t.Helper()
	if s.transport.isFront {
		for i := range s.Listeners {
			s.Listeners[i].HTTP2 = HTTP2WebSocket
			if s.transport.isSecure {
				secure := newTLSServer().config.Clone()
				secure.NextProtos = []string{"h2"}
				s.Listeners[i].TLS = tlsServer{secure}
			}
		}
	}
	if !s.transport.isBack {
		return
	}
	for i := range s.Pools {
		pool := &s.Pools[i]
		pool.Protocol = balancer.ProtocolHTTP2
		for j := range pool.Backend {
			backend := &pool.Backend[j]
			var secure *tls.Config
			if s.transport.isSecure {
				secure = newTLSServer().config
			}
			back, err := h2test.Back(backend.Address, secure, h2test.BridgeOptions{})
			mustDo(err)
			t.Cleanup(back.Close)
			backend.Address = back.Addr()
			if s.transport.isSecure {
				backend.Address = "wss://" + backend.Address
				pool.TLS = func(string) *tls.Config { return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}} }
			}
		}
	}
}

// Addr returns the address at which clients of a listener connect: of the listener itself, or of a bridge before it.
func (g *gateway) Addr(listener string) net.Addr {
	address := g.Proxy.Addr(listener)
	if address == nil || !g.transport.isFront {
		return address
	}
	g.bridges.mu.Lock()
	defer g.bridges.mu.Unlock()
	if g.bridges.fronts == nil {
		g.bridges.fronts = map[string]*h2test.Bridge{}
	}
	front := g.bridges.fronts[listener]
	if front == nil {
		var secure *tls.Config
		scheme := "http"
		if g.transport.isSecure {
			secure, scheme = &tls.Config{InsecureSkipVerify: true}, "https"
		}
		var err error
		front, err = h2test.Front(address.String(), secure, h2test.BridgeOptions{Scheme: scheme})
		mustDo(err)
		g.bridges.fronts[listener] = front
	}
	address, err := net.ResolveTCPAddr("tcp", front.Addr())
	mustDo(err)
	return address
}
