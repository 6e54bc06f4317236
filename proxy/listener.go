package proxy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"sluice/upgrade"
)

// A listener accepts connections and starts a handshake for each.
type listener struct {
	proxy       *Proxy
	name        string
	headTimeout time.Duration
	trusted     []netip.Prefix
	ln          net.Listener
	tls         TLSServer      // nil: connections are not secured
	plain       *plainListener // to net/http, for what isn't WebSocket
	server      *http.Server   // that serves it
	stopLoops   func()         // ends accepting on loops; nil: a goroutine accepts

	isBehindProxy  bool // every connection begins with a PROXY header
	redirectsHTTPS bool
	maxSessions    int // 0: no limit
	clients        *clients

	sessions   atomic.Int64  // live ones
	handshakes chan struct{} // one for each that is under way; nil: no limit
}

// Accepting pauses so long when it fails for want of something, doubling.
const (
	minBackoff = 5 * time.Millisecond // as net/http.Server.Serve
	maxBackoff = time.Second
)

func (p *Proxy) listen(c *ListenerConfig) (*listener, error) {
	l := &listener{
		proxy:          p,
		name:           c.Name,
		tls:            p.tls[c.Name],
		headTimeout:    time.Duration(c.HeadTimeout),
		isBehindProxy:  c.ProxyProtocol,
		redirectsHTTPS: c.RedirectHTTPS,
		maxSessions:    c.MaxSessions,
		clients:        newClients(c),
	}
	if c.MaxHandshakes > 0 {
		l.handshakes = make(chan struct{}, c.MaxHandshakes)
	}
	for _, s := range c.TrustedProxies {
		prefix, err := parsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("listener %s: %w", c.Name, err)
		}
		l.trusted = append(l.trusted, prefix)
	}
	ln, err := listen(c.Address)
	if err != nil {
		return nil, fmt.Errorf("listener %s: %w", c.Name, err)
	}
	l.ln = ln
	l.plain = newPlainListener(ln.Addr())
	l.server = l.plainServer()
	return l, nil
}

// listen opens a listening socket at "host:port" or "unix:/path". A Unix socket's file that nobody listens on any more is replaced.
func listen(address string) (net.Listener, error) {
	// Keepalive of TCP is off: the gateway pings by itself, and it would cost four system calls a connection.
	lc := net.ListenConfig{KeepAlive: -1}
	path, isUnix := strings.CutPrefix(address, "unix:")
	if !isUnix {
		return lc.Listen(context.Background(), "tcp", address)
	}
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("listen on %s: somebody listens there", address)
	} else if info, statErr := os.Stat(path); statErr == nil && info.Mode()&os.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("listen on %s: remove the socket that nobody uses: %w", address, err)
		}
	}
	return lc.Listen(context.Background(), "unix", path)
}

// accept runs until the listener is closed.
func (l *listener) accept() {
	backoff := time.Duration(0)
	for {
		conn, err := l.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			if backoff == 0 {
				l.failed(err)
			}
			backoff = min(max(2*backoff, minBackoff), maxBackoff)
			time.Sleep(backoff)
			continue
		}
		if backoff > 0 {
			l.failed(nil)
			backoff = 0
		}
		if !l.enter() {
			l.refuse(conn)
			continue
		}
		if l.proxy.handshakes.enter(conn) {
			go l.handshake(conn)
		} else {
			l.done()
		}
	}
}

// failed logs that accepting fails, once, and that it works again (nil).
func (l *listener) failed(err error) {
	if err != nil {
		l.proxy.log.Warn("accept fails", zap.String("listener", l.name), zap.Error(err))
	} else {
		l.proxy.log.Info("accept works again", zap.String("listener", l.name))
	}
}

// refuse answers a connection for which there is no handshake left, without reading it.
func (l *listener) refuse(conn net.Conn) {
	rejection := upgrade.ErrLimit.RetryAfter(retryAfter)
	if l.tls == nil {
		_ = conn.SetWriteDeadline(time.Now().Add(time.Millisecond)) // it fits into the socket's buffer, or isn't sent
		_, _ = conn.Write(upgrade.AppendRejection(nil, rejection))
	}
	_ = conn.Close()
	l.proxy.metrics.refused(nil, rejection.Reason, rejection.Status)
}

// enter takes a handshake's part of the listener's limit; false: there is none left.
func (l *listener) enter() bool {
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

// done ends a handshake's part of the listener's limit.
func (l *listener) done() {
	if l.handshakes != nil {
		<-l.handshakes
	}
}

// handshake runs one handshake, from accept to the driver or the refusal.
func (l *listener) handshake(conn net.Conn) {
	defer l.done()
	defer l.proxy.handshakes.leave(conn)
	h := handshake{listener: l, proxy: l.proxy, client: conn, peer: addrOf(conn), start: time.Now()}
	h.id, h.memory = rand.Uint64(), l.proxy.memory.Get()
	h.run()
}

// trusts tells whether a peer's X-Forwarded-* fields are believed.
func (l *listener) trusts(peer netip.Addr) bool {
	for _, p := range l.trusted {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}

// addrOf returns a connection's peer; the zero Addr for a Unix socket.
func addrOf(conn net.Conn) netip.AddrPort {
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}
