package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"sluice/proxy/driver"
)

// A socket is a listening socket. A reload may assign it to another listener, which accepts from then on.
type socket struct {
	ln          net.Listener
	isInherited bool       // from systemd
	isOwn       bool       // another process of the gateway has opened it
	made        UnixAccess // to the file of a Unix socket, before a section said anything; empty for another

	serving atomic.Pointer[listener] // that accepts

	accepts   bool           // guarded by proxy.reloading
	stopLoops func()         // makes the loops accept no more; nil if none accepts. Guarded by proxy.reloading
	accepting sync.WaitGroup // the goroutine that accepts, if there is one
}

// open opens the socket of a listener, unless the process has inherited it: then it is systemd's to say who may connect.
func (p *Proxy) open(c *ListenerConfig) (*socket, error) {
	if p.inherited != nil {
		ln := p.inherited(c.Name, c.Address)
		if own, isOwn := ln.(Own); isOwn {
			return p.openOwn(c, own.Listener)
		}
		if ln != nil {
			driver.Tune(ln)
			return &socket{ln: ln, isInherited: true}, nil
		}
	}
	ln, err := listen(c.Address)
	if err != nil {
		return nil, fmt.Errorf("listener %s: %w", c.Name, err)
	}
	driver.Tune(ln)
	s := &socket{ln: ln}
	if path, isUnix := strings.CutPrefix(c.Address, "unix:"); isUnix {
		s.made = accessOf(path)
	}
	if err := s.restrict(c, UnixAccess{}); err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("listener %s: %w", c.Name, err)
	}
	return s, nil
}

// openOwn takes a socket that another process of the gateway has opened. Until start, the file of a Unix socket is that process's to remove.
func (p *Proxy) openOwn(c *ListenerConfig, ln net.Listener) (*socket, error) {
	driver.Tune(ln)
	s := &socket{ln: ln, isOwn: true}
	if path, isUnix := strings.CutPrefix(c.Address, "unix:"); isUnix {
		s.made = accessOf(path)
	}
	if err := s.restrict(c, UnixAccess{}); err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("listener %s: %w", c.Name, err)
	}
	return s, nil
}

// removeFile says whether a close of a Unix socket removes its file.
func (s *socket) removeFile(remove bool) {
	if ln, isUnix := s.ln.(*net.UnixListener); isUnix {
		ln.SetUnlinkOnClose(remove)
	}
}

// restrict lets those connect to a Unix socket that the section says. before is what the section said last.
func (s *socket) restrict(c *ListenerConfig, before UnixAccess) error {
	path, isUnix := strings.CutPrefix(c.Address, "unix:")
	if !isUnix || s.isInherited {
		return nil
	}
	access := c.UnixAccess.over(before, s.made)
	return access.apply(path)
}

// listen opens a listening socket at "host:port" or "unix:/path". It replaces the file of a Unix socket on which no process listens.
func listen(address string) (net.Listener, error) {
	// TCP keepalive is off: the gateway sends pings of its own, and keepalive costs four system calls a connection.
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false) // connections of a multipath socket don't inherit what driver.Tune sets
	path, isUnix := strings.CutPrefix(address, "unix:")
	if !isUnix {
		return lc.Listen(context.Background(), "tcp", address)
	}
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("listen on %s: another process listens there", address)
	} else if info, statErr := os.Stat(path); statErr == nil && info.Mode()&os.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("listen on %s: remove the unused socket: %w", address, err)
		}
	}
	return lc.Listen(context.Background(), "unix", path)
}

// assign makes the socket a listener's. The listener that had it before accepts no more, and the new one accepts the connections that
// wait in the socket. The caller holds proxy.reloading.
func (s *socket) assign(l *listener) {
	before := s.serving.Swap(l)
	if before != nil && !s.pause() {
		return // the goroutine that accepts continues for l
	}
	if !l.proxy.isPaused {
		s.resume(l)
	}
}

// resume makes the socket accept for a listener, if it doesn't. The caller holds proxy.reloading.
func (s *socket) resume(l *listener) {
	if s.accepts {
		return
	}
	s.accepts = true
	if s.isOwn {
		s.removeFile(true)
	}
	if !l.acceptOnLoops() {
		s.accepting.Go(s.accept)
	}
}

// pause stops accepting: connections then wait in the socket. It returns false if only a close of the socket could stop it.
// The caller holds proxy.reloading.
func (s *socket) pause() bool {
	if !s.accepts {
		return true
	}
	if s.stopLoops != nil {
		s.stopLoops()
		s.stopLoops, s.accepts = nil, false
		return true
	}
	ln, canStop := s.ln.(interface{ SetDeadline(time.Time) error })
	if !canStop || ln.SetDeadline(time.Unix(1, 0)) != nil {
		return false
	}
	s.accepting.Wait()
	s.accepts = ln.SetDeadline(time.Time{}) != nil
	return !s.accepts
}

// close closes the socket. The caller holds proxy.reloading, or Start has not been called.
func (s *socket) close() {
	if s.stopLoops != nil {
		s.stopLoops()
		s.stopLoops = nil
	}
	_ = s.ln.Close()
	s.accepting.Wait()
}

// acquireListener returns the listener to which a connection that is accepted now belongs. The caller has a reference to it, until
// releaseRef.
func (s *socket) acquireListener() *listener {
	for {
		if l := s.serving.Load(); l.acquireRef() {
			return l
		}
	}
}

// accept accepts connections until the socket is closed, or pause is called.
func (s *socket) accept() {
	backoff := time.Duration(0)
	for {
		conn, err := s.ln.Accept()
		if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if err != nil {
			if backoff == 0 {
				s.serving.Load().failed(err)
			}
			backoff = min(max(2*backoff, minBackoff), maxBackoff)
			time.Sleep(backoff)
			continue
		}
		if backoff > 0 {
			s.serving.Load().failed(nil)
			backoff = 0
		}
		s.begin(conn)
	}
}

// begin begins the handshake of a connection.
func (s *socket) begin(conn net.Conn) {
	l := s.acquireListener()
	defer l.proxy.panics.Catch(room, func() { _ = conn.Close() })
	c := &connection{listener: l, proxy: l.proxy, client: conn}
	peer := addrOf(conn)
	if rejection := c.admit(peer.Addr()); rejection != nil {
		defer c.leave()
		l.refuse(conn, rejection, peer)
		return
	}
	if l.proxy.handshakes.add(conn) {
		go c.handshake()
	} else {
		c.leave()
	}
}

// failed logs the first error of a row of failed accepts, and with a nil error that accepting works again.
func (l *listener) failed(err error) {
	if err != nil {
		l.proxy.log.Warn("accept fails", zap.String("listener", l.name), zap.Error(err))
	} else {
		l.proxy.log.Info("accept works again", zap.String("listener", l.name))
	}
}
