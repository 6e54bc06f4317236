package proxy

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
	"sluice/proxy/driver"
	"sluice/proxy/h2"
	"sluice/proxy/handshake"
	"sluice/proxy/reach"
	"sluice/proxy/relay"
	"sluice/upgrade"
)

// The executor of handshakes on an event loop. A handshake costs no goroutine here, and package net never has its sockets. A step that may
// block is lent to a goroutine, and the loop continues with its result. A step that takes long or ends the connection with an answer moves
// the handshake to a goroutine for good, and so does a backend over TLS (executor_move_linux.go).

// A task is a connection, or a stream of HTTP/2, whose handshake a loop executes. It implements driver.StreamTask. Owned by the loop
// goroutine.
type task struct {
	*connection
	loops *driver.Loops
	left  [][]byte           // the rest of what is being written
	step  handshake.Step     // the current one
	lent  context.CancelFunc // cancels the goroutine to which the step is lent; nil if it isn't lent

	isOver         bool // the task has ended
	hasStreamEnded bool // the client of a stream sends no more

	stream backendStream
}

// An accepted is a task together with its connection, in one allocation.
type accepted struct {
	task
	own connection
}

// acceptOnLoops makes the driver's loops accept, and reports whether they can.
func (l *listener) acceptOnLoops() bool {
	loops, isLoops := l.proxy.driver.(*driver.Loops)
	ln, isSocket := l.ln.(syscall.Conn)
	if !isLoops || l.tls != nil || !isSocket || l.isBehindProxy {
		return false
	}
	s := l.socket
	stop, err := loops.Accept(ln, func(w driver.Work, peer netip.AddrPort) driver.Task {
		return s.acquireListener().accepted(w, peer, loops)
	}, l.failed)
	if err != nil {
		l.proxy.log.Warn("loops cannot accept; a goroutine accepts instead", zap.String("listener", l.name), zap.Error(err))
		return false
	}
	s.stopLoops = stop
	return true
}

// accepted begins the handshake of a connection that a loop has accepted.
func (l *listener) accepted(w driver.Work, peer netip.AddrPort, loops *driver.Loops) driver.Task {
	a := &accepted{own: connection{listener: l, proxy: l.proxy}}
	a.task = task{connection: &a.own, loops: loops}
	isBegun := false
	defer func() {
		if !isBegun {
			a.leave()
		}
	}()
	if rejection := a.admit(peer.Addr()); rejection != nil {
		_, _ = epoll.Write(w.FD(relay.Client), upgrade.AppendRejection(nil, rejection))
		w.Drop()
		l.refused(rejection, peer)
		return nil
	}
	now := time.Now()
	a.step = a.core.Begin(&a.own, reach.NewClient(peer), nil, now, now.Add(l.headTimeout))
	w.SetDeadline(a.core.Deadline)
	if w.Await(relay.Client, unix.EPOLLIN) != nil {
		w.Drop()
		return nil
	}
	isBegun = true
	return &a.task
}

// Ready implements driver.Task.
func (t *task) Ready(w driver.Work, side relay.Side, events uint32) {
	switch {
	case t.step == handshake.ReadClient:
		t.readClient(w)
	case side == relay.Client && t.step != handshake.WriteClient:
		t.readEarly(w, events)
	case t.step == handshake.ReadBackend:
		t.readBackend(w)
	case t.step == handshake.WriteBackend, t.step == handshake.WriteClient:
		t.write(w)
	}
}

// Due implements driver.Task.
func (t *task) Due(w driver.Work) { t.execute(w, t.core.Due(time.Now())) }

// Cut implements driver.Task.
func (t *task) Cut(w driver.Work) { t.execute(w, t.core.ClientLost()) }

// Failed implements driver.Task.
func (t *task) Failed(w driver.Work) {
	step := t.abort()
	if t.core.Memory == nil {
		step = t.core.ClientLost() // no byte was read yet, so no answer is expected
	}
	t.execute(w, step)
}

// execute starts a step, and the steps after it, until one has to wait.
func (t *task) execute(w driver.Work, step handshake.Step) {
	for isDone := true; isDone; {
		t.step = step
		step, isDone = t.start(w)
	}
}

// start starts the current step. If the step is complete at once, isDone is true and next is the step after it.
func (t *task) start(w driver.Work) (next handshake.Step, isDone bool) {
	switch t.step {
	case handshake.ReadClient:
		return 0, false // accepted has begun to wait for it
	case handshake.Pick:
		return t.lend(w, t.pick)
	case handshake.Dial:
		return t.dial(w)
	case handshake.WriteBackend:
		if t.core.Route.IsHTTP2 {
			return t.writeStream(w)
		}
		if t.backend != nil {
			return t.lend(w, t.writeSecure)
		}
		t.left = t.core.Out()
		return t.send(w, relay.Backend)
	case handshake.ReadBackend:
		if t.backend != nil {
			return t.lend(w, t.readSecure)
		}
		w.SetDeadline(t.core.Deadline)
		if w.HasStream(relay.Backend) {
			return 0, false
		}
		return t.await(w, relay.Backend, unix.EPOLLIN)
	case handshake.Account:
		t.endBackend(w)
		return t.lend(w, t.account)
	case handshake.WriteClient:
		if t.isStream[relay.Client] {
			return t.accept(w)
		}
		w.SetDeadline(t.core.Deadline)
		var err error
		if t.left, err = w.Seal(t.core.Out()); err != nil {
			return t.core.ClientLost(), true
		}
		return t.send(w, relay.Client)
	case handshake.Relay:
		t.relay(w)
		return 0, false
	case handshake.Drop:
		t.drop(w)
		return 0, false
	default:
		t.moveToGoroutine(w)
		return 0, false
	}
}

func (t *task) readClient(w driver.Work) {
	if t.core.Memory == nil {
		t.core.Memory = t.proxy.memory.Get()
	}
	buf := &t.core.Memory.FromClient
	n, err := epoll.Read(w.FD(relay.Client), buf.Free())
	if err == unix.EAGAIN {
		err = nil
	}
	buf.Grow(n)
	switch isHTTP2, isPart := t.isPrior(); {
	case err == nil && isHTTP2:
		t.becomeMux(w)
	case err == nil && isPart:
	default:
		t.execute(w, t.core.ClientRead(n, err, time.Now()))
	}
}

// readEarly keeps what the client sends before it has its answer, and notices when the client goes.
func (t *task) readEarly(w driver.Work, events uint32) {
	if t.lent != nil || t.secured() != nil || len(t.core.Memory.FromClient.Free()) == 0 {
		switch {
		case events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0:
			t.execute(w, t.core.ClientLost())
		case w.Await(relay.Client, unix.EPOLLRDHUP) != nil:
			t.execute(w, t.core.ClientLost())
		}
		return
	}
	buf := &t.core.Memory.FromClient
	n, err := epoll.Read(w.FD(relay.Client), buf.Free())
	buf.Grow(n)
	if err != nil && err != unix.EAGAIN {
		t.execute(w, t.core.ClientLost())
	}
}

// dial starts to connect to the backend.
func (t *task) dial(w driver.Work) (next handshake.Step, isDone bool) {
	if t.core.Route.IsHTTP2 {
		return t.dialStream(w, nil)
	}
	if t.core.Route.SendsProxy && t.core.Client.Local == nil {
		t.core.Client.Local = localAddr(w.FD(relay.Client))
	}
	b := t.core.Backend()
	if _, isTLS := b.TLS(); isTLS {
		if t.isStream[relay.Client] {
			return t.lend(w, t.dialSecure)
		}
		t.moveToGoroutine(w)
		return 0, false
	}
	fd, err := -1, error(nil)
	if b.Network() == "unix" {
		fd, err = epoll.DialUnix(b.Address())
	} else {
		addr, parseErr := netip.ParseAddrPort(b.Address())
		if parseErr != nil || addr.Addr().Zone() != "" {
			return t.lend(w, t.dialByName)
		}
		fd, err = epoll.Dial(addr)
	}
	if err != nil {
		return t.core.Connected(err, time.Now()), true
	}
	w.SetBackend(fd)
	return t.core.Dialing(), true
}

// localAddr returns the address that the client of a socket connected to; nil for a Unix socket.
func localAddr(fd int) net.Addr {
	sa, _ := unix.Getsockname(fd)
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
	case *unix.SockaddrInet6:
		return &net.TCPAddr{IP: sa.Addr[:], Port: sa.Port}
	default:
		return nil
	}
}

// write continues to write.
func (t *task) write(w driver.Work) {
	side := relay.Backend
	if t.step == handshake.WriteClient {
		side = relay.Client
	}
	if next, isDone := t.send(w, side); isDone {
		t.execute(w, next)
	}
}

// send writes as much of t.left as the socket accepts.
func (t *task) send(w driver.Work, to relay.Side) (next handshake.Step, isDone bool) {
	n, err := 0, error(nil)
	t.left, n, err = sendNow(w.FD(to), t.left)
	if to == relay.Client {
		if err == nil && len(t.left) > 0 {
			return t.await(w, to, unix.EPOLLOUT|unix.EPOLLONESHOT)
		}
		return t.core.Accepted(err), true
	}
	now := time.Now()
	if n > 0 {
		t.core.Wrote(now)
	}
	if err == nil && len(t.left) > 0 {
		w.SetDeadline(t.core.Deadline)
		return t.await(w, to, unix.EPOLLOUT|unix.EPOLLONESHOT)
	}
	return t.core.Sent(err, now), true
}

// sendNow writes as much of the slices as the socket accepts. It returns the rest, and the number of bytes written.
func sendNow(fd int, slices [][]byte) (left [][]byte, sent int, err error) {
	for len(slices) > 0 {
		n, err := epoll.Writev(fd, slices)
		if err == unix.EAGAIN || err == unix.ENOTCONN {
			return slices, sent, nil
		}
		if err != nil {
			return slices, sent, err
		}
		sent += n
		b := net.Buffers(slices)
		consume(&b, n)
		slices = b
	}
	return nil, sent, nil
}

// consume removes the first n bytes.
func consume(b *net.Buffers, n int) {
	for len(*b) > 0 && n >= len((*b)[0]) {
		n -= len((*b)[0])
		*b = (*b)[1:]
	}
	if n > 0 {
		(*b)[0] = (*b)[0][n:]
	}
}

func (t *task) readBackend(w driver.Work) {
	buf := &t.core.Memory.FromBackend
	n, err := epoll.Read(w.FD(relay.Backend), buf.Free())
	if err == unix.EAGAIN {
		return
	}
	buf.Grow(n)
	t.execute(w, t.core.Answered(n, err, time.Now()))
}

// await makes the task wait for events of a side. If epoll can't, the handshake ends as if the client had gone.
func (t *task) await(w driver.Work, side relay.Side, events uint32) (next handshake.Step, isDone bool) {
	if t.step == handshake.WriteClient && side == relay.Client && w.FD(relay.Backend) >= 0 {
		if w.Await(relay.Backend, 0) != nil { // else epoll would report the backend's early frames all the time
			return t.core.ClientLost(), true
		}
	}
	if w.Await(side, events) != nil {
		return t.core.ClientLost(), true
	}
	return 0, false
}

// relay makes the slot that of a session.
func (t *task) relay(w driver.Work) {
	s := t.newSession()
	t.isOver = true
	t.backend = nil // it is a side of the slot
	t.session = nil // from here on the loop ends the session after a panic
	defer t.leave()
	defer t.putMemory()
	p := t.params(s)
	if t.isStream[relay.Backend] {
		p.Early[relay.Backend] = t.stream.early
	}
	w.Relay(t.loops, p)
	s.Relayed()
}

// drop closes a connection without an answer.
func (t *task) drop(w driver.Work) {
	if t.core.IsTorn || t.core.Outcome != handshake.ClientLost {
		t.moveToGoroutine(w)
		return
	}
	if t.isStream[relay.Client] && w.HasStream(relay.Client) {
		w.ResetStream(relay.Client, h2.Cancel)
	}
	t.isOver = true
	t.endBackend(w) // a stream is reset, so that the backend sees an end that isn't in order
	w.Drop()
	t.endLoan()
	t.proxy.running.Go(t.lost)
}

// lost accounts for a handshake whose client has gone. It may block on a slow log.
func (t *task) lost() {
	defer t.leave()
	defer t.proxy.panics.Catch(room, nil)
	t.closeBackend()
	t.core.End(time.Now())
	t.putMemory()
}
