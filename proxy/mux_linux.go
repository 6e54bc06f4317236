package proxy

import (
	"bytes"
	"crypto/tls"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"sluice/internal/netconn"
	"sluice/proxy/driver"
	"sluice/proxy/h2"
	"sluice/proxy/plain"
	"sluice/proxy/reach"
	"sluice/proxy/relay"
	"sluice/proxy/route"
)

// Clients' connections that speak HTTP/2. Each is a driver.Mux, whose streams executor_stream_linux.go serves.

// A clientMux is a client's connection that speaks HTTP/2. It has the place of the connection and a reference to the listener until it ends.
// It implements driver.MuxOwner.
type clientMux struct {
	*connection
	loops      *driver.Loops
	client     reach.Client // before a request says more of it
	tlsVersion uint16       // 0: no TLS
	isWeak     bool         // the cipher suite isn't fit for HTTP/2

	mux    *driver.Mux // guarded by proxy.clientMuxes.mu; nil before it has begun
	isOver bool        // guarded by proxy.clientMuxes.mu
}

// A muxSet has the clients' connections that speak HTTP/2. The zero value is ready for use.
type muxSet struct {
	mu sync.Mutex

	live map[*clientMux]struct{} // guarded by mu
}

// add adds a connection, until remove.
func (m *muxSet) add(x *clientMux) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.live == nil {
		m.live = map[*clientMux]struct{}{}
	}
	m.live[x] = struct{}{}
}

// remove removes a connection.
func (m *muxSet) remove(x *clientMux) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.live, x)
	x.isOver = true
}

// begun returns the connections that have begun.
func (m *muxSet) begun() []*clientMux {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]*clientMux, 0, len(m.live))
	for x := range m.live {
		if x.mux != nil {
			all = append(all, x)
		}
	}
	return all
}

// endMuxes tells the clients of the listener that speak HTTP/2 to open no more streams. Their connections end after the last one. Those that
// begin later are told so, too.
func (l *listener) endMuxes() {
	l.endsMuxes.Store(true)
	for _, x := range l.proxy.clientMuxes.begun() {
		if x.listener == l {
			x.mux.GoAway()
		}
	}
}

// eachMux calls f on the loop of each connection that has begun, and waits for all calls.
func (p *Proxy) eachMux(f func(*clientMux)) {
	byHost := map[driver.Host][]*clientMux{}
	for _, x := range p.clientMuxes.begun() {
		host := x.mux.Host()
		byHost[host] = append(byHost[host], x)
	}
	var running sync.WaitGroup
	for host, some := range byHost {
		running.Add(1)
		isTaken := host.Command(func() {
			defer running.Done()
			for _, x := range some {
				f(x)
			}
		})
		if !isTaken {
			running.Done()
		}
	}
	running.Wait()
}

// closeIdleMuxes closes connections of the listener that have no stream, n at most.
func (l *listener) closeIdleMuxes(n int64) {
	var mu sync.Mutex
	l.proxy.eachMux(func(x *clientMux) {
		if x.listener != l || x.mux.Streams() > 0 {
			return
		}
		mu.Lock()
		n--
		isOne := n >= 0
		mu.Unlock()
		if isOne {
			x.mux.GoAway()
		}
	})
}

// streamCounts counts the streams of clients by the listener's name.
func (p *Proxy) streamCounts() map[string]int {
	streams := map[string]int{}
	var mu sync.Mutex
	p.eachMux(func(x *clientMux) {
		mu.Lock()
		defer mu.Unlock()
		streams[x.listener.name] += x.mux.Streams()
	})
	return streams
}

// hasLoops reports whether connections may speak HTTP/2. A Proxy that is only tried out has no driver.
func (p *Proxy) hasLoops() bool {
	_, isLoops := p.driver.(*driver.Loops)
	return isLoops || p.driver == nil
}

// streamLimit is how many streams a client may have open on a connection (RFC 9113 section 6.5.2 recommends 100 at least).
const streamLimit = 128

// newMuxConfig returns what the connections of a listener that speak HTTP/2 have in common.
func newMuxConfig(c *ListenerConfig) *h2.Config {
	return &h2.Config{Role: h2.Server, Streams: streamLimit, Connect: c.HTTP2 == HTTP2WebSocket}
}

// newMux makes a connection whose client speaks HTTP/2 one that is about to be a Mux. Its handshake is over.
func (c *connection) newMux(loops *driver.Loops) *clientMux {
	x := &clientMux{connection: c, loops: loops, client: c.core.Client}
	if secured, isTLS := c.client.(*tls.Conn); isTLS {
		state := secured.ConnectionState()
		x.tlsVersion, x.isWeak = state.Version, isWeak(&state)
	}
	c.isFinished = true
	c.endHandshake()
	c.proxy.clientMuxes.add(x)
	c.proxy.muxes[relay.Client].Add(1)
	return x
}

// isWeak reports whether a connection has a cipher suite of RFC 9113 appendix A. Of the suites of crypto/tls these are the ones without
// authenticated encryption or without an ephemeral key.
func isWeak(state *tls.ConnectionState) bool {
	switch state.CipherSuite {
	case tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256:
		return false
	}
	return state.Version < tls.VersionTLS13
}

// params describes the Mux. input is what has been read of it.
func (x *clientMux) params(input []byte) driver.MuxParams {
	return driver.MuxParams{
		Config:       x.muxConfig,
		Owner:        x,
		Input:        bytes.Clone(input),
		HeadTimeout:  x.headTimeout,
		IdleTimeout:  plain.IdleTimeout,
		WriteTimeout: x.proxy.longestWrite(),
	}
}

// longestWrite returns the longest write_timeout of the routes in use.
func (p *Proxy) longestWrite() time.Duration {
	routes := p.routes.Load().Routes
	if len(routes) == 0 {
		return 0
	}
	slowest := slices.MaxFunc(routes, func(a, b *route.Route) int { return int(a.WriteTimeout - b.WriteTimeout) })
	return slowest.WriteTimeout
}

// begun notes that the Mux has begun. It is called on its loop.
func (x *clientMux) begun(m *driver.Mux) {
	muxes := &x.proxy.clientMuxes
	muxes.mu.Lock()
	x.mux = m
	isOver := x.isOver
	muxes.mu.Unlock()
	switch {
	case isOver:
	case x.isWeak:
		m.Cut(h2.InadequateSecurity, "the cipher suite is not fit for HTTP/2")
	case x.endsMuxes.Load() || x.proxy.refuses.Load(): // after mux is set: endMuxes sees it, or is seen here
		m.GoAway()
	}
}

// forget notes that the connection is no Mux any more.
func (x *clientMux) forget() {
	x.proxy.clientMuxes.remove(x)
	x.proxy.muxes[relay.Client].Add(-1)
}

// Changed implements driver.MuxOwner.
func (x *clientMux) Changed(*driver.Mux) {}

// Ended implements driver.MuxOwner.
func (x *clientMux) Ended(_ *driver.Mux, err error) {
	x.forget()
	defer x.leave()
	if ce := x.proxy.log.Check(zap.DebugLevel, "HTTP/2 connection ended"); ce != nil && err != nil {
		// A slow log must not stop the loop.
		x.proxy.running.Go(func() {
			defer x.proxy.panics.Catch(room, nil)
			ce.Write(zap.String("listener", x.name), zap.String("client", reach.FormatClient(x.client.Peer)), zap.Error(err))
		})
	}
}

// becomeMux makes the connection of a task, whose client speaks HTTP/2, a Mux of the same loop.
func (t *task) becomeMux(w driver.Work) {
	fd := w.FD(relay.Client)
	t.core.Client.Local = localAddr(fd)
	keepAlive(fd)
	x := t.newMux(t.loops)
	defer t.putMemory()
	x.begun(w.Mux(x.params(t.core.Memory.FromClient.Bytes())))
}

// keepAlive makes the kernel notice that a client has gone that nothing is sent to, as netconn.KeepAlive does.
func keepAlive(fd int) {
	for _, option := range [][3]int{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9},
	} {
		_ = unix.SetsockoptInt(fd, option[0], option[1], option[2])
	}
}

// moveToMux makes the connection, whose client speaks HTTP/2, a Mux of a loop. It returns false if the caller still owns it.
func (c *connection) moveToMux() bool {
	loops, isLoops := c.proxy.driver.(*driver.Loops)
	if !isLoops || !loops.CanTake(c.client) {
		return false
	}
	_ = c.client.SetDeadline(time.Time{})
	netconn.KeepAlive(netconn.Socket(c.client))
	input := c.core.Memory.FromClient.Bytes()
	x := c.newMux(loops)
	params := x.params(input)
	c.putMemory()
	if !loops.TakeMux(c.client, params, x.begun) {
		x.forget()
		c.isFinished = false
		return false
	}
	return true
}
