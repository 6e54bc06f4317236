package proxy

import (
	"context"
	"errors"
	"net"
	"time"

	"sluice/balancer"
	"sluice/proxy/reach"
	"sluice/upgrade"
)

// An attempt is the handshake with one backend. Owned by the handshake's goroutine.
type attempt struct {
	*handshake
	backend *balancer.Backend
	cookie  string // to be set on the 101
	watch   *clientWatch
	hasNext bool // another backend may be tried, if this one fails

	deadline time.Time        // of the handshake as a whole
	conn     net.Conn         // nil: not dialled yet
	err      error            // it has failed already
	size     int              // of the answer's head; 0: it has not come yet
	outcome  balancer.Outcome // when run fails
}

// run dials the backend, sends the client's head and takes the answer. nil: the session is relayed; the place in the pool is its.
// On an error the place and the connection are the caller's, with the outcome. errStatus: the answer is there to be passed on.
func (a *attempt) run(ctx context.Context) (err error) {
	if a.err != nil {
		return a.err
	}
	deadline := a.until()
	if a.conn == nil {
		err := a.dial(ctx, deadline)
		a.followed.step("dial", err)
		if err != nil {
			a.outcome = reach.OutcomeOf(err)
			return err
		}
	}
	stop := context.AfterFunc(ctx, a.interrupt)
	defer func() {
		stop()
		a.followed.step("answer", err)
	}()
	_ = a.conn.SetDeadline(deadline)
	if a.size == 0 {
		if err := a.ask(); err != nil {
			return err
		}
	}
	if err := a.checkAnswer(); err != nil {
		return err
	}
	a.watch.stop()
	if !stop() || a.watch.isLost() {
		a.outcome = balancer.ClientFault
		return errClientLost
	}
	if err := a.accept(deadline); err != nil {
		a.outcome = balancer.ClientFault
		return errClientLost
	}
	a.relay()
	return nil
}

// giveBack ends an attempt that did not become a session.
func (a *attempt) giveBack() {
	if a.attempt == a {
		a.attempt = nil
	}
	if a.conn != nil {
		_ = a.conn.Close()
	}
	a.backend.Release(a.outcome)
}

// until returns when the attempt has to be over: a backend that accepts and never answers must leave time for another one.
func (a *attempt) until() time.Time {
	if a.hasNext {
		return time.Now().Add(time.Until(a.deadline) / 2)
	}
	return a.deadline
}

// ask sends the head and waits for the answer's.
func (a *attempt) ask() (err error) {
	out := net.Buffers(a.head())
	if _, isTLS := a.backend.TLS(); a.route.SendsProxy && !isTLS {
		out = append(net.Buffers{a.from.ProxyHeader()}, out...)
	}
	if _, err = out.WriteTo(a.conn); err == nil {
		a.size, err = a.readAnswer()
	}
	if err != nil {
		a.failed(err)
	}
	return err
}

// failed notes an error behind the dial.
func (a *attempt) failed(err error) {
	a.outcome = reach.OutcomeOf(err)
}

// checkAnswer checks a whole answer. nil: it is the 101 of a session.
func (a *attempt) checkAnswer() error {
	answer := &a.memory.Answer
	if err := answer.Check(&a.memory.Request); err != nil {
		a.outcome = balancer.BadAnswer
		return err
	}
	if status := answer.Status(); status != 101 {
		a.outcome = balancer.Outcome(status)
		return errStatus
	}
	return nil
}

// errStatus says that the backend's answer is a right one that makes no session.
var errStatus = errors.New("answer other than 101")

// interrupt makes whatever blocks on the backend return.
func (a *attempt) interrupt() {
	defer a.proxy.panics.Catch(room, nil)
	_ = a.conn.SetDeadline(time.Unix(1, 0))
}

func (a *attempt) dial(ctx context.Context, deadline time.Time) (err error) {
	if limit := time.Now().Add(a.route.ConnectTimeout); limit.Before(deadline) {
		deadline = limit
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	var opening []byte
	if _, isTLS := a.backend.TLS(); isTLS && a.route.SendsProxy {
		opening = a.from.ProxyHeader()
	}
	a.conn, err = a.proxy.dialer(a.route.PoolName).Dial(ctx, a.backend, opening)
	return err
}

// head returns what is sent to the backend: the client's own head lines, and ours.
func (a *attempt) head() [][]byte {
	f := a.from.Forward(a.route)
	a.followed.addFields(&f)
	a.memory.Out = a.memory.Request.AppendForward(a.memory.Out[:0], &f)
	return a.memory.Out
}

// readAnswer reads up to the end of the backend's head, and returns its size.
func (a *attempt) readAnswer() (size int, err error) {
	buf, answer := &a.memory.FromBackend, &a.memory.Answer
	buf.Reset()
	answer.Reset()
	for {
		n, err := a.conn.Read(buf.Free())
		buf.Grow(n)
		if n > 0 {
			size, err := answer.Parse(buf.Bytes())
			if err != nil || size > 0 {
				return size, err
			}
		}
		if err != nil {
			return 0, err
		}
	}
}

// accept tells the client that the session begins.
func (a *attempt) accept(deadline time.Time) error {
	a.isAnswered = true
	_ = a.client.SetWriteDeadline(deadline)
	out := net.Buffers(a.answerHead())
	_, err := out.WriteTo(a.client)
	return err
}

// answerHead returns the 101 as the client gets it.
func (a *attempt) answerHead() [][]byte {
	var extra []upgrade.Field
	if a.cookie != "" {
		extra = []upgrade.Field{{Name: "Set-Cookie", Value: a.cookie}}
	}
	a.memory.Out = a.memory.Answer.AppendForward(a.memory.Out[:0], extra)
	return a.memory.Out
}

// rejection is what the client is told when no backend took the session.
func (a *attempt) rejection(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return upgrade.ErrBackendTimeout
	}
	return reach.Rejection(err, a.outcome)
}
