package driver

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
	"sluice/proxy/h2"
	"sluice/proxy/relay"
)

// A Task holds a slot of a loop before its session begins: a handshake that waits for its sockets without a goroutine. The loop's
// goroutine calls its methods, which must not block.
type Task interface {
	// Ready reports events (unix.EPOLLIN, …) of a side's socket, as asked for by Await.
	Ready(w Work, side relay.Side, events uint32)
	// Due reports that the deadline has passed.
	Due(w Work)
	// Cut reports that the driver closes: the task ends with Release.
	Cut(w Work)
	// Failed reports that a method of the Task panicked: the task answers its client, and ends with Release.
	Failed(w Work)
}

// Work is a Task's slot. It is valid during one call of the Task.
type Work struct {
	l *loop
	s slot
}

// Accept makes every loop accept connections from a listening socket, which stays the caller's. The loop calls accepted with each
// connection and its address (none at a Unix socket). The connection is the client of a Task that has no deadline and waits for nothing
// yet: accepted returns the Task, or nil after Release.
// When accepting fails, it pauses, and failed is called with the error; failed(nil) is called when it works again. stop ends it, and waits
// until it has ended.
func (d *Loops) Accept(ln syscall.Conn, accepted func(Work, netip.AddrPort) Task, failed func(error)) (stop func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := &accepting{ln: ln, accepted: accepted, failed: failed}
	for l := range d.all() {
		if err := a.join(l); err != nil {
			a.stop()
			return nil, err
		}
	}
	d.accepting[a] = struct{}{}
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.accepting, a)
		a.stop()
	}, nil
}

// accepting is a listening socket from which every loop accepts. Guarded by Loops.mu.
type accepting struct {
	ln        syscall.Conn
	accepted  func(Work, netip.AddrPort) Task
	failed    func(error)
	acceptors []*acceptor
}

// join makes a loop accept, too.
func (a *accepting) join(l *loop) error {
	fd, err := epoll.Dup(a.ln)
	if err != nil {
		return fmt.Errorf("accept on a loop: %w", err)
	}
	one := &acceptor{loop: l, fd: fd, accepted: a.accepted, failed: a.failed}
	if !l.command(one.start) {
		_ = unix.Close(fd)
		return nil // the loop is being replaced
	}
	a.acceptors = append(a.acceptors, one)
	return nil
}

// stop ends accepting, and waits until it has ended.
func (a *accepting) stop() {
	for _, one := range a.acceptors {
		one.loop.do(one.stop)
	}
}

// An acceptor is a listening socket in a loop. Owned by the loop goroutine.
type acceptor struct {
	loop     *loop
	fd       int
	accepted func(Work, netip.AddrPort) Task
	failed   func(error)
	slot     slot
	backoff  time.Duration // of the present pause; 0: there is none
	isFailed bool          // failed was called with an error, and not yet with nil
	isOver   bool
}

const (
	acceptBatch = 64                   // connections a turn
	minBackoff  = 5 * time.Millisecond // as net/http.Server.Serve
	maxBackoff  = time.Second
)

func (a *acceptor) start() {
	a.slot = a.loop.newTask(a.fd)
	a.loop.tasks[a.slot.index] = a
	a.watch()
}

// watch makes epoll wake one loop at a time for a connection. EPOLLEXCLUSIVE can't be changed once it is set.
func (a *acceptor) watch() {
	_ = a.loop.poller.Add(a.fd, unix.EPOLLIN|unix.EPOLLEXCLUSIVE, a.slot.id())
	a.slot.socket[relay.Client].interest = unix.EPOLLIN
}

// Ready implements Task.
func (a *acceptor) Ready(Work, relay.Side, uint32) {
	for range acceptBatch {
		fd, peer, err := epoll.Accept(a.fd)
		if err == unix.EAGAIN {
			if a.isFailed {
				a.isFailed = false
				a.failed(nil)
			}
			return
		}
		if err == unix.ECONNABORTED {
			continue
		}
		if err != nil {
			a.pause(err)
			return
		}
		a.backoff = 0
		a.begin(Work{a.loop, a.loop.newTask(fd)}, peer)
	}
}

// begin begins the Task of a connection.
func (a *acceptor) begin(w Work, peer netip.AddrPort) {
	defer a.loop.rescue(w.s.id())
	if task := a.accepted(w, peer); task != nil {
		a.loop.tasks[w.s.index] = task
	}
}

// pause takes the socket out of epoll until the deadline: epoll would report it again and again.
func (a *acceptor) pause(err error) {
	if !a.isFailed {
		a.isFailed = true
		a.failed(err)
	}
	a.backoff = min(max(2*a.backoff, minBackoff), maxBackoff)
	_ = a.loop.poller.Del(a.fd)
	a.loop.deadlines.set(a.slot, a.loop.env.Now.Add(a.backoff))
}

// Due implements Task.
func (a *acceptor) Due(Work) {
	if a.backoff > 0 {
		a.watch()
	}
}

// Cut implements Task.
func (a *acceptor) Cut(Work) { a.stop() }

// Failed implements Task. It is never called: a loop that has panicked over its listening socket is retired.
func (a *acceptor) Failed(Work) { panic("BUG: an acceptor continues after a panic") }

func (a *acceptor) stop() {
	if a.isOver {
		return
	}
	a.isOver = true
	for _, fd := range (Work{a.loop, a.slot}).Release() {
		if fd >= 0 {
			epoll.Close(fd)
		}
	}
}

// never is a deadline that is never reached.
const never = relay.Instant(1) << 62

// newTask returns a slot for a task that owns the client's descriptor.
func (l *loop) newTask(client int) slot {
	s := l.slots.acquire(client)
	l.deadlines.add(s, never)
	return s
}

// FD returns a side's descriptor; -1: the side has none.
func (w Work) FD(side relay.Side) int { return int(w.s.socket[side].fd) }

// SetBackend gives the slot the backend's descriptor.
func (w Work) SetBackend(fd int) {
	w.s.socket[relay.Backend] = socket{fd: int32(fd), interest: notWatched}
}

// SetSecureBackend gives the slot a connection to the backend over TLS, whose handshake is complete. After an error it is still the caller's.
func (w Work) SetSecureBackend(conn *tls.Conn) error {
	c, err := detach(conn)
	if err != nil {
		return err
	}
	c.closeOld()
	w.SetBackend(c.fd)
	w.l.addTLS(w.s, relay.Backend, c.tls)
	return nil
}

// CloseBackend closes the backend's descriptor, for another try.
func (w Work) CloseBackend() { w.l.close(w.s, relay.Backend) }

// Await asks for events of a side's socket, until the next Await; with unix.EPOLLONESHOT among them, for one event.
func (w Work) Await(side relay.Side, events uint32) error {
	control := w.l.poller.Mod
	socket, want := &w.s.socket[side], interestIn(events)
	if socket.interest == notWatched {
		control = w.l.poller.Add
	} else if socket.interest == want && want&oneShot == 0 {
		return nil
	}
	socket.interest = want
	return control(w.FD(side), events, w.s.id()|uint64(side)<<63)
}

// SetDeadline sets when the Task's Due is called, once; the zero time means never.
func (w Work) SetDeadline(t time.Time) {
	if t.IsZero() {
		w.l.deadlines.set(w.s, never)
		return
	}
	w.l.deadlines.set(w.s, w.l.clock.instant(t))
}

// Resume returns a function by which another goroutine goes on with the Task: it has f called on the loop. isLive is false, and w of no
// use, where the Task has ended by then; then f may be called on any goroutine.
func (w Work) Resume() func(f func(w Work, isLive bool)) {
	l, id := w.l, w.s.id()
	return func(f func(Work, bool)) {
		isTaken := l.command(func() {
			defer l.rescue(id)
			s, isLive := l.slots.find(id)
			f(Work{l, s}, isLive && l.tasks[s.index] != nil)
		})
		if !isTaken {
			f(Work{}, false)
		}
	}
}

// Release ends the Task and releases the slot. The descriptors become the caller's; -1: there is none. They are in no loop any more.
func (w Work) Release() (fds [2]int) {
	for side := range fds {
		fds[side] = int(w.s.socket[side].fd)
		if fds[side] >= 0 && w.s.socket[side].interest != notWatched {
			_ = w.l.poller.Del(fds[side])
		}
		w.l.removeTLS(w.s, relay.Side(side))
		if w.s.stream[side] != 0 {
			w.ResetStream(relay.Side(side), h2.Cancel)
		}
	}
	delete(w.l.tasks, w.s.index)
	w.l.deadlines.remove(w.s)
	w.l.slots.release(w.s)
	return fds
}

// Drop closes the Task's connections and ends it. It is cheaper than Release: epoll forgets a closed descriptor by itself.
func (w Work) Drop() {
	w.l.close(w.s, relay.Client)
	w.l.close(w.s, relay.Backend)
	w.Release()
}

// Relay ends the Task: both descriptors become those of a session, on this loop or on one that has clearly fewer sessions. A stream stays on
// the loop of its connection.
func (w Work) Relay(d *Loops, p Params) {
	isStream := w.HasStream(relay.Client) || w.HasStream(relay.Backend)
	if least := d.least(); !isStream && least.sessions.Load()+imbalance < w.l.sessions.Load() {
		p.Handle.controller = least
		conns := w.s.tlsConns()
		least.adopt(p, w.Release(), conns)
		return
	}
	p.Handle.controller = w.l
	w.l.sessions.Add(1)
	delete(w.l.tasks, w.s.index)
	w.l.start(w.s, p)
	x := w.l.session(w.s)
	w.l.startTLS(w.s, &x)
	w.l.startStreams(w.s)
	w.l.settle(w.s, &x)
}

// imbalance is by how many sessions a loop must be ahead before the next session moves to another loop.
const imbalance = 16
