package proxy

import (
	"context"
	"errors"
	"net"
	"time"

	"sluice/internal/netconn"
	"sluice/proxy/handshake"
	"sluice/proxy/reach"
	"sluice/upgrade"
)

// The executor of handshakes on a goroutine, for connections that a loop doesn't accept and for steps that a loop can't execute. It blocks,
// and its connections are package net's.

// handshake runs the handshake of a connection from accept until it ends, or a driver or a loop owns the connection.
func (c *connection) handshake() {
	conn := c.client
	defer c.proxy.handshakes.remove(conn)
	client, now := reach.NewClient(addrOf(conn)), time.Now()
	client.Local = conn.LocalAddr()
	c.core.Begin(c, client, c.proxy.memory.Get(), now, now.Add(c.headTimeout))
	defer c.proxy.panics.Catch(room, c.endAfterPanic)
	var step handshake.Step
	var rejection *upgrade.Rejection
	switch err := c.begin(); {
	case err == nil && c.hasAgreed():
		if c.moveToMux() {
			return
		}
		step = c.core.ClientLost()
	case err == nil:
		step = c.headRead(0, nil) // a part of the head may have come with the PROXY header
	case errors.As(err, &rejection):
		step = c.core.Refuse(rejection)
	default:
		step = c.core.ClientLost()
	}
	c.proceed(step)
}

// begin reads what comes before the head: a PROXY header and the TLS handshake. After an error the connection can't be used, unless the
// error is a *upgrade.Rejection.
func (c *connection) begin() error {
	if err := c.client.SetReadDeadline(c.core.Deadline); err != nil {
		return err
	}
	if c.listener.isBehindProxy {
		if err := c.readProxyHeader(); err != nil {
			return err
		}
		if rejection := c.reassign(c.core.Client.Peer.Addr()); rejection != nil {
			if c.tls == nil {
				return rejection
			}
			c.refused(rejection, c.core.Client.Peer)
			return errNoPlace
		}
	}
	if c.listener.tls != nil {
		return c.secure(c.core.Deadline)
	}
	return nil
}

// errNoPlace ends a connection over TLS, whose client can't be told of it before the handshake of TLS.
var errNoPlace = errors.New("no place for the client")

// proceed executes steps until the handshake ends, or a loop owns the connection.
func (c *connection) proceed(step handshake.Step) {
	a := attempts{connection: c}
	defer a.stop()
	for {
		switch step {
		case handshake.ReadClient:
			if isHTTP2, _ := c.isPrior(); !isHTTP2 {
				step = c.readClient()
			} else if c.moveToMux() {
				return
			} else {
				step = c.core.ClientLost()
			}
		case handshake.Challenge:
			if c.answerChallenge() {
				step = c.core.Served(false)
			} else {
				step = c.core.NoChallenge(time.Now())
			}
		case handshake.Plain:
			step = c.servePlain()
		case handshake.Pick, handshake.Dial:
			switch {
			case a.ctx == nil && c.moveToLoop(step):
				return
			case c.core.Route.IsHTTP2: // the connections to its backends are the loops'
				step = c.core.Refuse(reach.Exhausted(netconn.Descriptors))
			default:
				step = a.execute(step)
			}
		case handshake.WriteBackend, handshake.ReadBackend:
			step = a.execute(step)
		case handshake.Account:
			failed := c.core.Failed()
			failed.Account()
			step = c.core.Accounted(time.Now())
		case handshake.WriteClient, handshake.Pass:
			if a.stop(); a.isLost() {
				step = c.core.ClientLost()
			} else {
				step = c.answer(step)
			}
		case handshake.Relay:
			c.relay()
			return
		case handshake.Refuse, handshake.Drop:
			a.stop()
			c.end(step)
			return
		default:
			panic("BUG: no such step")
		}
	}
}

// readClient reads more of the client's head.
func (c *connection) readClient() handshake.Step {
	buf := &c.core.Memory.FromClient
	n, err := c.client.Read(buf.Free())
	buf.Grow(n)
	return c.headRead(n, err)
}

// headRead notes n bytes of the client's head, or the error of the read. What HTTP/2 begins with is no head.
func (c *connection) headRead(n int, err error) handshake.Step {
	if isHTTP2, isPart := c.isPrior(); err == nil && (isHTTP2 || isPart) {
		return handshake.ReadClient
	}
	return c.core.ClientRead(n, err, time.Now())
}

// attempts executes the steps with backends, and watches the client meanwhile.
type attempts struct {
	*connection
	ctx    context.Context // ends with the client, or the gateway; nil before the first step
	cancel context.CancelFunc
	watch  *clientWatch
}

// execute executes a step with a backend, and returns the next one.
func (a *attempts) execute(step handshake.Step) handshake.Step {
	if a.ctx == nil {
		a.ctx, a.cancel = context.WithCancel(a.proxy.ctx)
		a.watch = watchClient(a.connection, a.cancel)
	}
	switch step {
	case handshake.Pick:
		want := a.core.Wanted()
		pick, err := a.core.Route.Pool.Pick(a.ctx, &want, nil)
		if err != nil && a.isLost() {
			return a.core.ClientLost()
		}
		step = a.core.Picked(pick, err, time.Now())
	case handshake.Dial:
		step = a.dial()
	case handshake.WriteBackend:
		step = a.write()
	case handshake.ReadBackend:
		step = a.read()
	}
	return step
}

func (a *attempts) dial() handshake.Step {
	a.closeBackend()
	ctx, cancel := context.WithDeadline(a.ctx, a.core.Deadline)
	defer cancel()
	conn, err := a.proxy.dialer(a.core.Route.PoolName).Dial(ctx, a.core.Backend(), a.core.Opening())
	if err == nil {
		a.backend = conn
	}
	if a.isLost() {
		return a.core.ClientLost()
	}
	return a.core.Connected(err, time.Now())
}

func (a *attempts) write() handshake.Step {
	defer a.interruptible()()
	_ = a.backend.SetDeadline(a.core.Deadline)
	out := net.Buffers(a.core.Out())
	n, err := out.WriteTo(a.backend)
	if n > 0 {
		a.core.Wrote(time.Now())
	}
	if a.isLost() {
		return a.core.ClientLost()
	}
	return a.core.Sent(err, time.Now())
}

func (a *attempts) read() handshake.Step {
	defer a.interruptible()()
	_ = a.backend.SetDeadline(a.core.Deadline)
	buf := &a.core.Memory.FromBackend
	n, err := a.backend.Read(buf.Free())
	buf.Grow(n)
	if a.isLost() {
		return a.core.ClientLost()
	}
	return a.core.Answered(n, err, time.Now())
}

// interruptible makes the end of ctx interrupt reads and writes of the backend, until the function that it returns is called.
func (a *attempts) interruptible() (stop func() bool) {
	conn := a.backend
	return context.AfterFunc(a.ctx, func() {
		defer a.proxy.panics.Catch(room, nil)
		_ = conn.SetDeadline(time.Unix(1, 0))
	})
}

// isLost reports whether the client has gone.
func (a *attempts) isLost() bool { return a.watch != nil && a.watch.isLost() }

// stop ends the watch.
func (a *attempts) stop() {
	if a.ctx != nil {
		a.watch.stop()
		a.cancel()
	}
}

// answer writes the backend's answer to the client.
func (c *connection) answer(step handshake.Step) handshake.Step {
	if step == handshake.Pass {
		c.endHandshake() // the answer may have a long body
		return c.core.Passed(c.passAnswer())
	}
	_ = c.client.SetWriteDeadline(c.core.Deadline)
	out := net.Buffers(c.core.Out())
	_, err := out.WriteTo(c.client)
	return c.core.Accepted(err)
}

// relay hands both connections over to the driver.
func (c *connection) relay() {
	_ = c.client.SetDeadline(time.Time{})
	_ = c.backend.SetDeadline(time.Time{})
	s := c.newSession() // a panic before this ends the handshake, one after it the session
	c.isFinished = true
	defer c.leave()
	defer c.putMemory()
	c.proxy.driver.Relay(c.params(s), c.client, c.backend)
	c.session = nil
	s.Relayed()
}

// servePlain lets the plain path serve requests until a request isn't for it, or the connection ends.
func (c *connection) servePlain() handshake.Step {
	if c.proxy.refuses.Load() { // the plain path learns of it a moment later
		return c.core.Refuse(upgrade.ErrDraining)
	}
	p := c.listener.plain.Begin(c.client, c.core.Client, c.core.Memory.FromClient.Bytes())
	if p == nil {
		return c.core.Refuse(upgrade.ErrDraining)
	}
	c.hasServed = true
	c.putMemory() // plain requests may go on for long, and need none of it
	c.endHandshake()
	rest, start, err := p.Wait()
	memory := c.proxy.memory.Get()
	c.core.Memory = memory
	switch {
	case err != nil:
		return c.core.Refuse(upgrade.ErrInternal)
	case start.IsZero():
		return c.core.Served(false)
	}
	memory.FromClient.Grow(copy(memory.FromClient.Free(), rest))
	if rejection := c.beginHandshake(c.of); rejection != nil {
		return c.core.Refuse(rejection)
	}
	until := start.Add(c.listener.headTimeout)
	_ = c.client.SetDeadline(until)
	return c.core.Next(memory, start, until, time.Now())
}
