package proxy

import (
	"errors"
	"fmt"
	"net"
	"time"

	"sluice/proxy/driver"
	"sluice/proxy/h2"
	"sluice/proxy/h2/http1"
	"sluice/proxy/handshake"
	"sluice/proxy/reach"
	"sluice/proxy/relay"
	"sluice/upgrade"
)

// The steps of a handshake with a backend that speaks HTTP/2: the request is a stream of one of the connections to it. The Core sees the heads
// in HTTP/1.1.

// A backendStream is what a task knows of the stream to its backend. The zero value is that of a task without one.
type backendStream struct {
	conn  *backendMux // that was chosen
	waits int         // how often the task has waited for a connection
	body  http1.Body  // of an answer that passes
	early []byte      // frames that came after the answer; their window isn't given back
}

// dialStream chooses a connection to the backend, or waits for one. Before that, err is why the one that it has waited for isn't there, or nil.
func (t *task) dialStream(w driver.Work, err error) (next handshake.Step, isDone bool) {
	g := t.proxy.backends.group(w.Host(), t.core.Backend(), t.core.Route)
	conn, isComing := g.acquire(t.core.Route, err != nil)
	switch {
	case conn != nil:
		t.stream.conn = conn
		t.isStream[relay.Backend], t.streamTLS[relay.Backend] = true, conn.tls
		return t.core.Connected(nil, time.Now()), true
	case isComing:
		w.SetDeadline(t.core.Deadline)
		g.waiting = append(g.waiting, t.resumeDial(w))
		return 0, false
	case err == nil:
		err = upgrade.ErrStreams.RetryAfter(reach.RetryAfter)
	}
	g.forgetIfEmpty()
	return t.core.Connected(err, time.Now()), true
}

// resumeDial returns a function by which the task goes on that waits for a connection.
func (t *task) resumeDial(w driver.Work) func(err error) {
	t.stream.waits++
	wait, resume := t.stream.waits, w.Resume()
	return func(err error) {
		resume(func(w driver.Work, isLive bool) {
			if !isLive || t.step != handshake.Dial || t.stream.waits != wait {
				return
			}
			if next, isDone := t.dialStream(w, err); isDone {
				t.execute(w, next)
			}
		})
	}
}

// writeStream opens a stream with the request.
func (t *task) writeStream(w driver.Work) (next handshake.Step, isDone bool) {
	scheme := "http"
	if t.stream.conn.tls != 0 {
		scheme = "https"
	}
	fields, err := http1.ConnectFields(make([]h2.Field, 0, 32), t.core.Out(), scheme)
	if err != nil {
		return t.core.Sent(err, time.Now()), true
	}
	if !w.OpenStream(relay.Backend, t.stream.conn.mux, fields, false) {
		return t.redial(errNotOpened)
	}
	return t.core.Sent(nil, time.Now()), true
}

var (
	errNotOpened     = errors.New("the connection takes no more streams")
	errRefusedStream = errors.New("the backend refuses the stream (REFUSED_STREAM)")
)

// redial goes on with another connection to the backend, which hasn't handled the request.
func (t *task) redial(err error) (next handshake.Step, isDone bool) {
	now := time.Now()
	if next, isNext := t.core.Redial(now); isNext {
		return next, true
	}
	return t.core.Sent(&reach.DialError{Err: err}, now), true
}

// backendHead takes the head of an answer, which may be an interim one.
func (t *task) backendHead(w driver.Work, head *h2.Head, isEnd bool) {
	if t.step != handshake.ReadBackend || head.IsTrailer {
		return
	}
	buf := &t.core.Memory.FromBackend
	key := t.core.Memory.Request.Header("Sec-WebSocket-Key")
	answer, err := http1.AppendAnswer(buf.Free()[:0], head, isEnd, key)
	if err == nil && len(answer) > len(buf.Free()) {
		err = upgrade.ErrBadAnswer
	}
	if err != nil {
		t.execute(w, t.core.Answered(0, err, time.Now()))
		return
	}
	buf.Grow(len(answer))
	t.stream.body = http1.AnswerBody(head, isEnd)
	t.execute(w, t.core.Answered(len(answer), nil, time.Now()))
}

// backendData keeps frames that come before the client has its answer. The window bounds them.
func (t *task) backendData(_ driver.Work, p []byte, _ bool) {
	t.stream.early = append(t.stream.early, p...)
}

// backendReset ends an attempt whose stream is gone.
func (t *task) backendReset(w driver.Work, code h2.Code, err error) {
	var fault *h2.StreamFault
	switch {
	case t.step == handshake.ReadBackend && errors.As(err, &fault):
		t.execute(w, t.core.Answered(0, badStream(fault), time.Now()))
	case t.step == handshake.ReadBackend && err == nil && code == h2.RefusedStream:
		if next, isDone := t.redial(errRefusedStream); isDone {
			t.execute(w, next)
		}
	case t.step == handshake.ReadBackend:
		if err == nil {
			err = resetError(code)
		}
		t.execute(w, t.core.Answered(0, err, time.Now()))
	case t.step == handshake.WriteClient:
		t.execute(w, t.core.Refuse(upgrade.ErrBadAnswer)) // the client has a part of an answer that can't be kept
	}
}

// A resetError is a stream that the backend has reset.
type resetError h2.Code

func (e resetError) Error() string { return fmt.Sprintf("stream reset (%v)", h2.Code(e)) }

// badStream is upgrade.ErrBadAnswer for an answer that breaks the rules of HTTP/2.
func badStream(fault *h2.StreamFault) *upgrade.Rejection {
	r := *upgrade.ErrBadAnswer
	r.Text = "the backend's answer was refused: " + fault.Text
	return &r
}

// endBackend ends what there is of an attempt that has failed.
func (t *task) endBackend(w driver.Work) {
	switch {
	case w.HasStream(relay.Backend):
		w.ResetStream(relay.Backend, h2.Cancel)
	case w.FD(relay.Backend) >= 0:
		w.CloseBackend()
	}
}

// lendBackend returns the stream of an answer that is to pass as a connection of package net. It returns nil if there is none.
func (t *task) lendBackend(w driver.Work) net.Conn {
	if t.step != handshake.Pass || !w.HasStream(relay.Backend) {
		return nil
	}
	stream := w.LendStream(relay.Backend, nil)
	_ = stream.CloseWrite() // the request is over, too
	return &answerConn{stream, t.stream.body}
}

// An answerConn is a backend's answer after its head, in HTTP/1.1.
type answerConn struct {
	*driver.StreamConn
	body http1.Body
}

func (c *answerConn) Read(p []byte) (int, error) { return c.body.Read(c.StreamConn, p) }
