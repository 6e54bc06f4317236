package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"sluice/balancer"
	"sluice/internal/epoll"
	"sluice/internal/netconn"
	"sluice/proxy/driver"
	"sluice/proxy/handshake"
	"sluice/proxy/reach"
	"sluice/proxy/relay"
	"sluice/upgrade"
)

// How a handshake moves between a goroutine and a loop, and how a loop lends a step to a goroutine.

// moveToLoop hands a handshake that is about to contact a backend over to a loop, where the rest of it costs less. It returns false if the
// caller still owns the connection.
func (c *connection) moveToLoop(step handshake.Step) bool {
	loops, isLoops := c.proxy.driver.(*driver.Loops)
	if !isLoops || !loops.CanTake(c.client) {
		return false
	}
	if step == handshake.Dial && !c.core.Route.IsHTTP2 {
		if _, isTLS := c.core.Backend().TLS(); isTLS {
			return false // the loop would move it back
		}
	}
	t := &task{connection: c, loops: loops, step: step}
	return loops.Take(c.client, t, func(w driver.Work) {
		events := uint32(unix.EPOLLIN)
		if t.secured() != nil {
			events = unix.EPOLLRDHUP // early frames wait in the socket, and in crypto/tls
		}
		if w.Await(relay.Client, events) != nil {
			step = c.core.ClientLost()
		}
		t.execute(w, step)
	})
}

// secured returns the client's connection if it has TLS, otherwise nil.
func (t *task) secured() *tls.Conn {
	conn, _ := t.client.(*tls.Conn)
	return conn
}

// A loan is the part of a step that may block. It bounds its own time, and doesn't use the Core, since the handshake may end meanwhile. It
// returns two functions for its result: the loop calls then, or undo if the handshake has ended.
type loan func(ctx context.Context) (then func(driver.Work) handshake.Step, undo func())

// lend has a goroutine run a loan, which begin makes on the loop.
func (t *task) lend(w driver.Work, begin func() loan) (next handshake.Step, isDone bool) {
	if !t.proxy.handshakes.addGoroutine() {
		return t.core.ClientLost(), true // the gateway stops
	}
	ctx, cancel := context.WithCancel(t.proxy.ctx)
	t.lent = cancel
	w.SetDeadline(time.Time{})
	go t.runLent(ctx, w.Resume(), begin())
	return 0, false
}

// runLent runs do on a goroutine of its own, and hands its result to the loop.
func (t *task) runLent(ctx context.Context, resume func(func(driver.Work, bool)), do loan) {
	defer t.proxy.handshakes.running.Done()
	then, undo := func(driver.Work) handshake.Step { return t.abort() }, func() {}
	defer func() {
		resume(func(w driver.Work, isLive bool) {
			if !isLive {
				undo()
				return
			}
			t.lent()
			t.lent = nil
			t.execute(w, then(w))
		})
	}()
	t.proxy.panics.Guard(room, func() { then, undo = do(ctx) })
}

// endLoan cancels the goroutine to which the step is lent, if there is one.
func (t *task) endLoan() {
	if t.lent != nil {
		t.lent()
		t.lent = nil
		t.isMemoryShared = true
	}
}

// pick waits until the pool has a backend for the request.
func (t *task) pick() loan {
	want, pool := t.core.Wanted(), t.core.Route.Pool
	return func(ctx context.Context) (then func(driver.Work) handshake.Step, undo func()) {
		pick, err := pool.Pick(ctx, &want, nil)
		then = func(driver.Work) handshake.Step { return t.core.Picked(pick, err, time.Now()) }
		return then, func() {
			if err == nil {
				pick.Backend.Release(balancer.ClientFault)
			}
		}
	}
}

// dialByName connects to a backend whose address is a name.
func (t *task) dialByName() loan {
	dialer, backend, opening, deadline := t.proxy.dialer(t.core.Route.PoolName), t.core.Backend(), t.core.Opening(), t.core.Deadline
	return func(ctx context.Context) (then func(driver.Work) handshake.Step, undo func()) {
		ctx, cancel := context.WithDeadline(ctx, deadline)
		defer cancel()
		conn, err := dialer.Dial(ctx, backend, opening)
		then = func(w driver.Work) handshake.Step {
			if err == nil {
				var fd int
				if fd, err = epoll.Detach(conn); err == nil {
					w.SetBackend(fd)
				}
			}
			return t.core.Connected(err, time.Now())
		}
		return then, func() {
			if err == nil {
				_ = conn.Close()
			}
		}
	}
}

// account accounts for a failed attempt.
func (t *task) account() loan {
	failed, backend := t.core.Failed(), t.backend
	t.backend = nil
	return func(context.Context) (then func(driver.Work) handshake.Step, undo func()) {
		if backend != nil {
			_ = backend.Close()
		}
		failed.Account()
		return func(driver.Work) handshake.Step { return t.core.Accounted(time.Now()) }, func() {}
	}
}

// moveToGoroutine continues from the current step on a goroutine, with connections of package net.
func (t *task) moveToGoroutine(w driver.Work) {
	t.endLoan()
	if t.isStream[relay.Client] {
		if !w.HasStream(relay.Client) {
			t.core.ClientLost()
			t.drop(w)
			return
		}
		t.client = newStreamConn(w.LendStream(relay.Client, t.early), &t.core.Memory.Request)
		t.early = nil
	}
	if backend := t.lendBackend(w); backend != nil {
		t.backend = backend
	}
	t.isOver = true
	fds := w.Release()
	t.proxy.running.Go(func() { t.proceedOnGoroutine(fds) })
}

// proceedOnGoroutine proceeds with a handshake that its loop has released. It owns the descriptors.
func (t *task) proceedOnGoroutine(fds [2]int) {
	c := t.connection
	defer c.proxy.panics.Catch(room, c.endAfterPanic)
	conns, err := netConns(fds, t.secured() == nil)
	client := conns[relay.Client]
	if c.isStream[relay.Client] {
		client = c.client
		if what := netconn.Exhausted(err); what != "" { // a stream needs nothing to be answered
			t.step, err = c.core.Refuse(reach.Exhausted(what)), nil
		}
	}
	if err == nil && !c.proxy.handshakes.add(client) {
		err = net.ErrClosed
	}
	if err != nil {
		conns[relay.Client] = client
		for _, conn := range conns {
			if conn != nil {
				_ = conn.Close()
			}
		}
		c.closeBackend()
		c.isFinished = true
		defer c.leave()
		defer c.putMemory()
		if what := netconn.Exhausted(err); what != "" {
			c.core.Refuse(reach.Exhausted(what))
		} else {
			c.core.ClientLost()
		}
		c.core.End(time.Now())
		return
	}
	defer c.proxy.handshakes.remove(client)
	if secured := t.secured(); secured != nil {
		driver.Restore(secured, client)
	} else {
		c.client = client
	}
	if c.core.Client.Local == nil { // not known from a PROXY header
		c.core.Client.Local = client.LocalAddr()
	}
	if conns[relay.Backend] != nil {
		c.backend = conns[relay.Backend]
	}
	c.proceed(t.step)
}

// netConns makes connections of package net from descriptors, which it then owns; -1 becomes nil. It needs one more descriptor for a moment.
// If there is none left, it tells a client whose connection isPlain, which means without TLS.
func netConns(fds [2]int, isPlain bool) (conns [2]net.Conn, err error) {
	for side, fd := range fds {
		if fd < 0 {
			continue
		}
		f := os.NewFile(uintptr(fd), "")
		c, fileErr := net.FileConn(f)
		if fileErr == nil {
			conns[side] = c
		} else {
			err = fileErr
		}
		if what := netconn.Exhausted(fileErr); isPlain && what != "" && side == int(relay.Client) {
			_, _ = f.Write(upgrade.AppendRejection(nil, reach.Exhausted(what)))
		}
		_ = f.Close()
	}
	return conns, err
}
