package proxy

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"sluice/proxy/limits"
	"sluice/proxy/plain"
	"sluice/proxy/reach"
	"sluice/proxy/session"
	"sluice/upgrade"
)

// A listener starts a handshake for each connection that its socket accepts. Immutable but for what it counts: a reload that
// changes its section makes another one, and this one lives until its last handshake is over.
type listener struct {
	*socket
	proxy       *Proxy
	config      *ListenerConfig
	name        string
	source      session.Source // of its sessions
	headTimeout time.Duration
	trusted     reach.Trust
	tls         TLSServer     // nil: connections are not secured
	plain       *plain.Server // of what isn't WebSocket

	isBehindProxy  bool // every connection begins with a PROXY header
	redirectsHTTPS bool
	maxSessions    int // 0: no limit
	clients        *limits.Clients

	places     *limits.Count // of all listeners that have had the socket
	handshakes chan struct{} // one for each that is under way; nil: no limit
	refs       atomic.Int64  // handshakes, and 1 while the socket is its
}

// The pause after a failed accept: it begins with the first, and doubles up to the second.
const (
	minBackoff = 5 * time.Millisecond // as net/http.Server.Serve
	maxBackoff = time.Second
)

// newListener makes a listener of its section. secure is nil where connections are not secured. before is the listener that had the
// socket until now; nil: there is none. The listener doesn't accept yet.
func (p *Proxy) newListener(c *ListenerConfig, secure TLSServer, s *socket, before *listener) (*listener, error) {
	l := &listener{
		socket:         s,
		proxy:          p,
		config:         c,
		name:           c.Name,
		tls:            secure,
		headTimeout:    time.Duration(c.HeadTimeout),
		isBehindProxy:  c.ProxyProtocol,
		redirectsHTTPS: c.RedirectHTTPS,
		maxSessions:    c.MaxSessions,
		clients:        limits.NewClients(limits.PerClient{Sessions: c.MaxSessionsPerIP, Rate: c.HandshakeRate, Burst: c.HandshakeBurst}),
		places:         new(limits.Count),
	}
	l.source = session.Source{Name: c.Name, Release: l.Release}
	l.refs.Store(1)
	if before != nil {
		l.places = before.places
		if l.clients.Limit() == before.clients.Limit() {
			l.clients = before.clients
		}
	}
	if c.MaxHandshakes > 0 {
		l.handshakes = make(chan struct{}, c.MaxHandshakes)
	}
	var err error
	if l.trusted, err = reach.ParseTrust(c.TrustedProxies); err != nil {
		return nil, fmt.Errorf("listener %s: %w", c.Name, err)
	}
	l.plain = l.newPlainServer()
	return l, nil
}

// start has the listener accept.
func (l *listener) start() {
	l.proxy.running.Go(l.plain.Run)
	l.socket.assign(l)
	l.proxy.log.Info("listening", zap.String("listener", l.name), zap.Stringer("address", l.ln.Addr()))
}

// end closes the listener's socket. Handshakes go on, and connections of plain requests up to the end of the one under way.
func (l *listener) end() {
	l.socket.close()
	l.plain.EndKeepAlive()
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

// refuse answers a connection for which there is no handshake left, without reading it.
func (l *listener) refuse(conn net.Conn) {
	rejection := upgrade.ErrLimit.RetryAfter(reach.RetryAfter)
	if l.tls == nil {
		_ = conn.SetWriteDeadline(time.Now().Add(time.Millisecond)) // it fits into the socket's buffer, or isn't sent
		_, _ = conn.Write(upgrade.AppendRejection(nil, rejection))
	}
	_ = conn.Close()
	l.proxy.metrics.refused(nil, rejection.Reason, rejection.Status)
}

// acquireHandshake acquires one of the listener's max_handshakes, and reports whether one was left.
func (l *listener) acquireHandshake() bool {
	if l.handshakes == nil {
		return true
	}
	select {
	case l.handshakes <- struct{}{}:
		return true
	default:
		return false
	}
}

// releaseHandshake releases what a handshake has acquired of the listener: its part of max_handshakes, and its reference.
func (l *listener) releaseHandshake() {
	if l.handshakes != nil {
		<-l.handshakes
	}
	l.releaseRef()
}

// addrOf returns a connection's peer; the zero Addr for a Unix socket.
func addrOf(conn net.Conn) netip.AddrPort {
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
