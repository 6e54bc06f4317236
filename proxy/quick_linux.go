package proxy

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"sluice/balancer"
	"sluice/internal/epoll"
	"sluice/proxy/driver"
	"sluice/proxy/reach"
	"sluice/proxy/relay"
	"sluice/upgrade"
)

// A quick is a handshake on a loop: it costs no goroutine, and its sockets never are package net's. It goes the straight way only,
// from a WebSocket request to a backend's 101. Whatever leaves that way goes on as an ordinary handshake, from where it is.
// Owned by the loop goroutine.
type quick struct {
	handshake
	loops *driver.Loops
	until time.Time // of the attempt
	stage quickStage
	left  [][]byte // of the head that is being sent
}

// A quickStage is what a quick waits for.
type quickStage uint8

const (
	quickHead   quickStage = iota // the client's head
	quickDial                     // the backend, to take the head
	quickAnswer                   // the backend's answer
	quickAccept                   // the client, to take the answer
)

// acceptOnLoops has the driver's loops accept; false: they can't, or handshakes are traced, which takes more time than a loop has.
func (l *listener) acceptOnLoops() bool {
	loops, isLoops := l.proxy.driver.(*driver.Loops)
	ln, isSocket := l.ln.(syscall.Conn)
	if !isLoops || l.tls != nil || !isSocket || l.isBehindProxy || l.proxy.tracer != nil {
		return false
	}
	s := l.socket
	stop, err := loops.Accept(ln, func(w driver.Work, peer netip.AddrPort) driver.Task {
		return s.current().accepted(w, peer, loops)
	}, l.failed)
	if err != nil {
		l.proxy.log.Warn("no loop accepts, a goroutine does", zap.String("listener", l.name), zap.Error(err))
		return false
	}
	s.stopLoops = stop
	return true
}

// accepted begins a handshake.
func (l *listener) accepted(w driver.Work, peer netip.AddrPort, loops *driver.Loops) driver.Task {
	if !l.enter() {
		defer l.letGo()
		rejection := upgrade.ErrLimit.RetryAfter(reach.RetryAfter)
		_, _ = epoll.Write(w.FD(relay.Client), upgrade.AppendRejection(nil, rejection))
		w.Drop()
		l.proxy.metrics.refused(nil, rejection.Reason, rejection.Status)
		return nil
	}
	isBegun := false
	defer func() {
		if !isBegun {
			l.done()
		}
	}()
	q := &quick{handshake: handshake{listener: l, proxy: l.proxy, from: reach.NewClient(peer), start: time.Now(), id: rand.Uint64()}, loops: loops}
	w.SetDeadline(q.start.Add(l.headTimeout))
	if w.Await(relay.Client, unix.EPOLLIN) != nil {
		w.Drop()
		return nil
	}
	isBegun = true
	return q
}

// Ready implements driver.Task.
func (q *quick) Ready(w driver.Work, side relay.Side, events uint32) {
	switch {
	case q.stage == quickHead:
		q.readHead(w)
	case side == relay.Client && q.stage != quickAccept:
		q.readEarly(w, events)
	case q.stage == quickAnswer:
		q.readAnswer(w)
	default:
		q.send(w)
	}
}

func (q *quick) readHead(w driver.Work) {
	if q.memory == nil {
		q.memory = q.proxy.memory.Get()
	}
	buf, req := &q.memory.FromClient, &q.memory.Request
	n, err := epoll.Read(w.FD(relay.Client), buf.Free())
	if err != nil && err != unix.EAGAIN {
		q.lose(w)
		return
	}
	buf.Grow(n)
	size, err := req.Parse(buf.Bytes())
	switch {
	case err != nil || size > 0 && (q.isPlain() || q.isChallenge()):
		q.leave(w, q.fromStart)
	case size > 0:
		q.headSize = size
		if err := q.admit(); err != nil {
			q.leave(w, func() error { return err })
			return
		}
		q.dial(w)
	}
}

// readEarly keeps what the client sends before it is answered, and notices that it goes.
func (q *quick) readEarly(w driver.Work, events uint32) {
	buf := &q.memory.FromClient
	if q.secured() != nil || len(buf.Free()) == 0 {
		if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			q.lose(w)
		} else {
			q.await(w, relay.Client, unix.EPOLLRDHUP)
		}
		return
	}
	n, err := epoll.Read(w.FD(relay.Client), buf.Free())
	buf.Grow(n)
	if err != nil && err != unix.EAGAIN {
		q.lose(w)
	}
}

// dial picks a backend and sends it the head.
func (q *quick) dial(w driver.Work) {
	if q.route.SendsProxy {
		q.leave(w, func() error { return q.connect(nil) })
		return
	}
	want := q.wanted()
	pick, err := q.route.Pool.TryPick(&want)
	if errors.Is(err, balancer.ErrWait) {
		q.leave(w, func() error { return q.connect(nil) })
		return
	}
	if err != nil {
		q.leave(w, func() error { return reach.Unpicked(err) })
		return
	}
	q.attempt = q.newAttempt(pick, time.Now().Add(q.route.HandshakeTimeout))
	q.until = q.attempt.until()
	fd, err := dialNow(pick.Backend)
	if errors.Is(err, errNotDirect) {
		q.leave(w, q.goOn)
		return
	}
	if err != nil {
		q.failDial(w, err)
		return
	}
	w.SetBackend(fd)
	q.stage, q.left = quickDial, q.attempt.head()
	w.SetDeadline(q.dialUntil())
	q.send(w)
}

// errNotDirect says that a backend's address takes more than a system call to reach.
var errNotDirect = errors.New("address needs resolving")

// dialNow begins to connect to a backend, if nothing has to be waited for.
func dialNow(b *balancer.Backend) (fd int, err error) {
	if _, isTLS := b.TLS(); isTLS {
		return -1, errNotDirect
	}
	if b.Network() == "unix" {
		return epoll.DialUnix(b.Address())
	}
	addr, err := netip.ParseAddrPort(b.Address())
	if err != nil || addr.Addr().Zone() != "" {
		return -1, errNotDirect
	}
	return epoll.Dial(addr)
}

// send sends what is left of a head, to the backend or to the client.
func (q *quick) send(w driver.Work) {
	side := relay.Backend
	if q.stage == quickAccept {
		side = relay.Client
	}
	left, err := sendNow(w.FD(side), q.left)
	q.left = left
	switch {
	case err != nil && side == relay.Client:
		q.lose(w)
	case err != nil:
		q.failDial(w, err)
	case len(left) > 0:
		q.await(w, side, unix.EPOLLOUT|unix.EPOLLONESHOT)
	case side == relay.Client:
		q.relay(w)
	default:
		q.stage = quickAnswer
		w.SetDeadline(q.until)
		q.await(w, relay.Backend, unix.EPOLLIN)
	}
}

// sendNow writes slices as far as the socket takes them, and returns those that are left.
func sendNow(fd int, slices [][]byte) (left [][]byte, err error) {
	for len(slices) > 0 {
		n, err := epoll.Writev(fd, slices)
		if err == unix.EAGAIN || err == unix.ENOTCONN {
			return slices, nil
		}
		if err != nil {
			return slices, err
		}
		b := net.Buffers(slices)
		consume(&b, n)
		slices = b
	}
	return nil, nil
}

// consume takes n bytes off the front.
func consume(b *net.Buffers, n int) {
	for len(*b) > 0 && n >= len((*b)[0]) {
		n -= len((*b)[0])
		*b = (*b)[1:]
	}
	if n > 0 {
		(*b)[0] = (*b)[0][n:]
	}
}

func (q *quick) readAnswer(w driver.Work) {
	a, buf := q.attempt, &q.memory.FromBackend
	n, err := epoll.Read(w.FD(relay.Backend), buf.Free())
	if err == unix.EAGAIN {
		return
	}
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		a.failed(err)
		q.fail(w, err, a.outcome)
		return
	}
	buf.Grow(n)
	a.size, err = q.memory.Answer.Parse(buf.Bytes())
	if err == nil && a.size == 0 {
		return
	}
	if err != nil {
		a.failed(err)
		q.fail(w, err, a.outcome)
		return
	}
	if err := a.checkAnswer(); err != nil {
		q.leave(w, q.goOn) // it tells the same
		return
	}
	q.stage, q.isAnswered = quickAccept, true
	if q.left, err = w.Seal(a.answerHead()); err != nil {
		q.lose(w)
		return
	}
	q.send(w)
}

// relay is the end of the straight way.
func (q *quick) relay(w driver.Work) {
	defer q.listener.done()
	defer q.proxy.memory.Put(q.memory)
	a := q.attempt
	s := a.newSession()
	w.Relay(q.loops, a.params(s))
	s.Relayed()
}

// await waits for a side. If epoll can't, the handshake fails as if the client had gone.
func (q *quick) await(w driver.Work, side relay.Side, events uint32) {
	if q.stage == quickAccept && side == relay.Client {
		if w.Await(relay.Backend, 0) != nil { // its early frames would be reported all the time
			q.lose(w)
			return
		}
	}
	if w.Await(side, events) != nil {
		q.lose(w)
	}
}

// Due implements driver.Task.
func (q *quick) Due(w driver.Work) {
	switch {
	case q.stage == quickHead && q.memory != nil && len(q.memory.FromClient.Bytes()) > 0:
		q.leave(w, func() error { return upgrade.ErrHeadTimeout })
	case q.stage == quickHead:
		q.lose(w)
	case q.stage == quickDial:
		q.fail(w, os.ErrDeadlineExceeded, balancer.DialTimeout)
	case q.stage == quickAnswer:
		q.fail(w, os.ErrDeadlineExceeded, balancer.HandshakeTimeout)
	default:
		q.lose(w)
	}
}

// dialUntil returns when the backend has to have been connected.
func (q *quick) dialUntil() time.Time {
	limit := q.attempt.deadline.Add(q.route.ConnectTimeout - q.route.HandshakeTimeout)
	if q.until.Before(limit) {
		return q.until
	}
	return limit
}

// Cut implements driver.Task.
func (q *quick) Cut(w driver.Work) { q.lose(w) }

// Failed implements driver.Task.
func (q *quick) Failed(w driver.Work) {
	if q.memory == nil {
		q.lose(w) // nothing was read yet
		return
	}
	q.leave(w, q.abandon)
}

// lose ends a handshake whose client has gone.
func (q *quick) lose(w driver.Work) {
	w.Drop()
	if q.attempt != nil {
		q.attempt.backend.Release(balancer.ClientFault)
	}
	go q.lost()
}

// lost is the part of lose that may block on a slow log.
func (q *quick) lost() {
	defer q.proxy.panics.Catch(room, nil)
	q.ended(errClientLost)
	if q.memory != nil {
		q.proxy.memory.Put(q.memory)
	}
	q.listener.done()
}

// fail ends the attempt: another backend may be tried, by a goroutine.
func (q *quick) fail(w driver.Work, err error, outcome balancer.Outcome) {
	q.attempt.err, q.attempt.outcome = err, outcome
	w.CloseBackend()
	q.leave(w, q.goOn)
}

// failDial ends an attempt of which the backend has seen nothing.
func (q *quick) failDial(w driver.Work, err error) {
	err = &reach.DialError{Err: err}
	q.fail(w, err, reach.OutcomeOf(err))
}

// goOn continues with the attempt as it is.
func (q *quick) goOn() error { return q.connect(q.attempt) }
