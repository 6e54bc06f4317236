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
	if step == handshake.Dial {
		if _, isTLS := c.core.Backend().TLS(); isTLS {
			return false // the loop would move it back
		}
	}
	t := &task{connection: c, loops: loops, step: step}
	err := loops.Take(c.client, t, func(w driver.Work) {
		events := uint32(unix.EPOLLIN)
		if t.secured() != nil {
			events = unix.EPOLLRDHUP // early frames wait in the socket, and in crypto/tls
		}
		if w.Await(relay.Client, events) != nil {
			step = c.core.ClientLost()
		}
		t.execute(w, step)
	})
	if err != nil {
		c.end(c.core.ClientLost())
	}
	return true
}

// secured returns the client's connection if it has TLS, otherwise nil.
func (t *task) secured() *tls.Conn {
	conn, _ := t.client.(*tls.Conn)
	return conn
}

// lend has a goroutine run do, the part of the current step that may block. do returns two functions for its result: the loop calls then, or
// undo if the handshake has ended meanwhile.
func (t *task) lend(w driver.Work, do func(context.Context) (func(driver.Work) handshake.Step, func())) (next handshake.Step, isDone bool) {
	if !t.proxy.handshakes.addGoroutine() {
		return t.core.ClientLost(), true // the gateway stops
	}
	ctx, cancel := context.WithCancel(t.proxy.ctx)
	t.lent = cancel
	w.SetDeadline(time.Time{})
	go t.runLent(ctx, w.Resume(), do)
	return 0, false
}

// runLent runs do on a goroutine of its own, and hands its result to the loop.
func (t *task) runLent(ctx context.Context, resume func(func(driver.Work, bool)), do func(context.Context) (func(driver.Work) handshake.Step, func())) {
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
func (t *task) pick(ctx context.Context) (then func(driver.Work) handshake.Step, undo func()) {
	want := t.core.Wanted()
	pick, err := t.core.Route.Pool.Pick(ctx, &want, nil)
	then = func(driver.Work) handshake.Step { return t.core.Picked(pick, err, time.Now()) }
	return then, func() {
		if err == nil {
			pick.Backend.Release(balancer.ClientFault)
		}
	}
}

// dialByName connects to a backend whose address is a name.
func (t *task) dialByName(ctx context.Context) (then func(driver.Work) handshake.Step, undo func()) {
	ctx, cancel := context.WithDeadline(ctx, t.core.Deadline)
	defer cancel()
	conn, err := t.proxy.dialer(t.core.Route.PoolName).Dial(ctx, t.core.Backend(), t.core.Opening())
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

// moveToGoroutine continues from the current step on a goroutine, with connections of package net.
func (t *task) moveToGoroutine(w driver.Work) {
	t.endLoan()
	go t.proceedOnGoroutine(w.Release())
}

// proceedOnGoroutine proceeds with a handshake that its loop has released. It owns the descriptors.
func (t *task) proceedOnGoroutine(fds [2]int) {
	c := t.connection
	defer c.proxy.panics.Catch(room, c.endAfterPanic)
	conns, err := netConns(fds, t.secured() == nil)
	client := conns[relay.Client]
	if err == nil && !c.proxy.handshakes.add(client) {
		err = net.ErrClosed
	}
	if err != nil {
		for _, conn := range conns {
			if conn != nil {
				_ = conn.Close()
			}
		}
		c.isFinished = true
		defer c.listener.releaseHandshake()
		defer c.putMemory()
		if reach.IsExhausted(err) {
			c.core.Refuse(upgrade.ErrLimit)
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
	c.core.Client.Local = client.LocalAddr()
	c.backend = conns[relay.Backend]
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
		if isPlain && reach.IsExhausted(fileErr) && side == int(relay.Client) {
			_, _ = f.Write(upgrade.AppendRejection(nil, upgrade.ErrLimit.RetryAfter(reach.RetryAfter)))
		}
		_ = f.Close()
	}
	return conns, err
}
