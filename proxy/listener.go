package proxy

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"sluice/proxy/h2"
	"sluice/proxy/limits"
	"sluice/proxy/plain"
	"sluice/proxy/reach"
	"sluice/proxy/route"
	"sluice/proxy/session"
	"sluice/upgrade"
)

// A listener starts a handshake for each connection that its socket accepts. Immutable except for what it counts: a reload that changes its
// section makes a new listener, and the old one exists until its last handshake has ended.
type listener struct {
	*socket
	proxy       *Proxy
	config      *ListenerConfig
	name        string
	source      session.Source // what its sessions share
	streams     session.Source // what its sessions on streams of HTTP/2 share
	muxConfig   *h2.Config     // of connections that speak HTTP/2; nil if none does
	headTimeout time.Duration
	trust       reach.Trust
	tls         TLSServer     // nil if connections are not secured
	plain       *plain.Server // for requests that aren't WebSocket

	isBehindProxy bool           // every connection begins with a PROXY header
	headerSenders route.Prefixes // that may send it

	places *limits.Places // what is occupied is that of all listeners that have had the socket
	refs   atomic.Int64   // handshakes, connections of HTTP/2, and 1 while the socket belongs to it

	endsMuxes atomic.Bool // endMuxes was called
}

// The pause after a failed accept is minBackoff at first, and doubles up to maxBackoff.
const (
	minBackoff = 5 * time.Millisecond // as net/http.Server.Serve
	maxBackoff = time.Second
)

// newListener makes a listener of its section, which doesn't accept yet. before is the listener that had the socket until now, or nil.
func (p *Proxy) newListener(c *Listener, s *socket, before *listener) (*listener, error) {
	l := &listener{
		socket:        s,
		proxy:         p,
		config:        &c.ListenerConfig,
		name:          c.Name,
		tls:           c.TLS,
		headTimeout:   time.Duration(c.HeadTimeout),
		isBehindProxy: c.ProxyProtocol,
	}
	l.source = session.Source{Name: c.Name, Release: l.endSession}
	l.streams = session.Source{Name: c.Name, Release: l.Release}
	if c.SpeaksHTTP2() {
		if !p.hasLoops() {
			return nil, fmt.Errorf("listener %s: http2 needs event loops", c.Name)
		}
		l.muxConfig = newMuxConfig(l.config)
	}
	l.refs.Store(1)
	if before != nil {
		l.places = before.places.With(p.limitsOf(l.config))
	} else {
		l.places = limits.NewPlaces(&p.totals, p.limitsOf(l.config))
	}
	var err error
	l.trust.Certificate = c.TrustedClientCertificate
	if l.trust.Proxies, err = route.ParsePrefixes(c.TrustedProxies); err != nil {
		return nil, fmt.Errorf("listener %s: %w", c.Name, err)
	}
	if l.headerSenders, err = route.ParsePrefixes(c.headerSenders()); err != nil {
		return nil, fmt.Errorf("listener %s: %w", c.Name, err)
	}
	l.plain = l.newPlainServer()
	return l, nil
}

// start makes the listener accept.
func (l *listener) start() {
	l.warnOfLimits()
	l.proxy.running.Go(l.plain.Run)
	l.socket.assign(l)
	l.proxy.log.Info("listening", zap.String("listener", l.name), zap.Stringer("address", l.ln.Addr()))
}

// end closes the listener's socket. Handshakes continue, a connection of plain requests ends after the request under way, and one of HTTP/2
// after the last of its streams.
func (l *listener) end() {
	l.socket.close()
	l.plain.EndKeepAlive()
	l.endMuxes()
	l.releaseRef()
}

// acquireRef keeps what handshakes need of the listener until releaseRef. It returns false if the listener has ended and its socket
// belongs to another one.
func (l *listener) acquireRef() bool {
	for n := l.refs.Load(); n > 0; n = l.refs.Load() {
		if l.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

// releaseRef releases what acquireRef has acquired. The last release closes the server of plain requests.
func (l *listener) releaseRef() {
	if l.refs.Add(-1) == 0 {
		l.plain.Close()
	}
}

// refuse answers a connection for which there is no place, without reading from it.
func (l *listener) refuse(conn net.Conn, rejection *upgrade.Rejection, peer netip.AddrPort) {
	if l.tls == nil {
		_ = conn.SetWriteDeadline(time.Now().Add(time.Millisecond)) // it is written only if the socket's buffer has room for it
		_, _ = conn.Write(upgrade.AppendRejection(nil, rejection))
	}
	_ = conn.Close()
	l.refused(rejection, peer)
}

// refused accounts for a connection that was refused before anything was read from it.
func (l *listener) refused(rejection *upgrade.Rejection, peer netip.AddrPort) {
	l.proxy.metrics.refused(nil, rejection.Reason, rejection.Status)
	l.warn(rejection.Reason, zap.String("client", reach.FormatClient(peer)))
}

// addrOf returns the address of a connection's peer; the zero AddrPort for a Unix socket.
func addrOf(conn net.Conn) netip.AddrPort {
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
