package proxy

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"time"

	"sluice/proxy/driver"
	"sluice/proxy/h2"
	"sluice/proxy/h2/http1"
	"sluice/proxy/handshake"
	"sluice/proxy/relay"
	"sluice/upgrade"
)

// Streams of HTTP/2 as clients. A stream's fields become the head of an HTTP/1.1 request, which the Core judges as any other one, and a task
// executes its steps: only what is read from a client and written to it differs. A step that needs a blocking connection runs on a goroutine,
// to which the stream is lent under a facade that speaks HTTP/1.1 (stream_conn_linux.go).

// Opened implements driver.MuxOwner.
func (x *clientMux) Opened(w driver.Work, _ *driver.Mux, head *h2.Head, isEnd bool) driver.StreamTask {
	x.refs.Add(1) // the connection has a reference, so the listener is there
	a := &accepted{own: connection{listener: x.listener, proxy: x.proxy, of: x.of}}
	a.own.isStream[relay.Client], a.own.streamTLS[relay.Client] = true, x.tlsVersion
	a.task = task{connection: &a.own, loops: x.loops, hasStreamEnded: isEnd}
	t := &a.task
	now := time.Now()
	client := x.client
	client.IsHTTP2 = true
	t.core.Begin(&a.own, client, x.proxy.memory.Get(), now, now.Add(x.headTimeout))
	if isBegun := x.proxy.panics.Guard(room, func() { t.begin(w, head, now) }); !isBegun && !t.isOver {
		t.Failed(w)
	}
	if t.isOver {
		return nil
	}
	return t
}

// begin starts the handshake of a stream.
func (t *task) begin(w driver.Work, head *h2.Head, now time.Time) {
	if head.IsTooLarge { // a part of it is missing
		t.execute(w, t.core.Refuse(upgrade.ErrHeadTooLarge))
		return
	}
	refusal := t.beginHandshake(t.of)
	buf := &t.core.Memory.FromClient
	request, err := http1.AppendRequest(buf.Free()[:0], head, t.hasStreamEnded, newKey())
	var rejection *upgrade.Rejection
	switch {
	case err == nil && len(request) <= len(buf.Free()):
		buf.Grow(len(request))
	case errors.As(err, &rejection):
		t.execute(w, t.core.Refuse(rejection))
		return
	default:
		t.malformed(w, now)
		return
	}
	step := t.core.ClientRead(len(request), nil, now)
	switch {
	case refusal != nil && step != handshake.Refuse:
		step = t.core.Refuse(refusal)
	case step == handshake.ReadClient:
		step = t.core.Refuse(upgrade.ErrInternal) // the head is whole
	case t.hasStreamEnded && (step == handshake.Pick || step == handshake.Dial):
		step = t.core.ClientLost()
	}
	if step == handshake.Refuse && t.core.Rejection.Reason == upgrade.ErrVersion.Reason {
		step = t.core.Refuse(errVersion)
	}
	t.execute(w, step)
}

// errVersion is upgrade.ErrVersion over HTTP/2, which has no Upgrade to ask for by a 426.
var errVersion = &upgrade.Rejection{
	Status: http.StatusBadRequest, Reason: upgrade.ErrVersion.Reason, Text: upgrade.ErrVersion.Text,
	Header: []upgrade.Field{{Name: "Sec-WebSocket-Version", Value: "13"}},
}

// malformed resets a stream whose request is none (RFC 9113 section 8.1.1). It counts as one all the same.
func (t *task) malformed(w driver.Work, now time.Time) {
	_ = t.Counted(t.core.Client.Peer.Addr(), now)
	t.isOver = true
	w.ResetStream(relay.Client, h2.ProtocolError)
	w.Drop()
	t.putMemory()
	t.leave()
}

// newKey returns a Sec-WebSocket-Key, which a stream has none of.
func newKey() []byte {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // it never fails
	return base64.StdEncoding.AppendEncode(make([]byte, 0, 24), nonce[:])
}

// clientHead notes trailers.
func (t *task) clientHead(w driver.Work, _ *h2.Head, isEnd bool) {
	if isEnd {
		t.execute(w, t.core.ClientLost())
	}
}

// clientData keeps what the client sends before it has its answer. The stream's window bounds it. A client whose stream ends before that has
// gone, as one whose connection ends.
func (t *task) clientData(w driver.Work, p []byte, isEnd bool) {
	t.early = append(t.early, p...)
	if isEnd {
		t.execute(w, t.core.ClientLost())
	}
}

// clientReset notes that the client has gone.
func (t *task) clientReset(w driver.Work, _ h2.Code, _ error) { t.execute(w, t.core.ClientLost()) }

// accept sends the client of a stream the answer that begins its session.
func (t *task) accept(w driver.Work) (next handshake.Step, isDone bool) {
	fields, err := http1.SwitchFields(nil, t.core.Out())
	if err != nil {
		return t.core.Refuse(upgrade.ErrInternal), true
	}
	if t.backend != nil {
		if err := w.SetSecureBackend(t.backend.(*tls.Conn)); err != nil {
			return t.core.Refuse(upgrade.ErrDescriptors), true // it is too late to tell the client
		}
	}
	w.SendHead(relay.Client, fields, false)
	return t.core.Accepted(nil), true
}

// The handshake with a backend over TLS runs on goroutines, one a step: the loop gets the connection with the session.

// dialSecure connects to a backend over TLS.
func (t *task) dialSecure() loan {
	dialer, backend, opening, deadline := t.proxy.dialer(t.core.Route.PoolName), t.core.Backend(), t.core.Opening(), t.core.Deadline
	return func(ctx context.Context) (then func(driver.Work) handshake.Step, undo func()) {
		ctx, cancel := context.WithDeadline(ctx, deadline)
		defer cancel()
		conn, err := dialer.Dial(ctx, backend, opening)
		then = func(driver.Work) handshake.Step {
			if err == nil {
				t.backend = conn
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

// writeSecure writes the request to a backend over TLS.
func (t *task) writeSecure() loan {
	conn, deadline, out := t.backend, t.core.Deadline, net.Buffers(t.core.Out())
	return func(ctx context.Context) (then func(driver.Work) handshake.Step, undo func()) {
		n, err := int64(0), error(nil)
		t.interruptible(ctx, conn, deadline, func() { n, err = out.WriteTo(conn) })
		return func(driver.Work) handshake.Step {
			if n > 0 {
				t.core.Wrote(time.Now())
			}
			return t.core.Sent(err, time.Now())
		}, func() {}
	}
}

// readSecure reads a part of the answer of a backend over TLS. The memory is the task's until the loan has ended.
func (t *task) readSecure() loan {
	conn, deadline, buf := t.backend, t.core.Deadline, &t.core.Memory.FromBackend
	return func(ctx context.Context) (then func(driver.Work) handshake.Step, undo func()) {
		n, err := 0, error(nil)
		t.interruptible(ctx, conn, deadline, func() { n, err = conn.Read(buf.Free()) })
		return func(driver.Work) handshake.Step {
			buf.Grow(n)
			return t.core.Answered(n, err, time.Now())
		}, func() {}
	}
}

// interruptible calls do, which uses conn until the deadline, or until ctx ends.
func (t *task) interruptible(ctx context.Context, conn net.Conn, deadline time.Time, do func()) {
	_ = conn.SetDeadline(deadline)
	defer context.AfterFunc(ctx, func() {
		defer t.proxy.panics.Catch(room, nil)
		_ = conn.SetDeadline(time.Unix(1, 0))
	})()
	do()
}
