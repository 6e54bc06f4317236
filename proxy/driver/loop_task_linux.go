package driver

import (
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
	"sluice/proxy/relay"
)

// A Task has a slot of a loop before its session begins: a handshake that waits for its sockets without a goroutine. Its methods
// are called by the loop's goroutine and must not block.
type Task interface {
	// Ready tells of events (unix.EPOLLIN, …) of a side's socket, as awaited.
	Ready(w Work, side relay.Side, events uint32)
	// Due tells that the deadline has passed.
	Due(w Work)
	// Cut tells that the driver closes: the task ends with Release.
	Cut(w Work)
	// Failed tells that a method of the Task panicked: it tells its client, and ends with Release.
	Failed(w Work)
}

// Work is a Task's slot. It is good for the time of one call of the Task.
type Work struct {
	l *loop
	s slot
}

// Accept has every loop accept connections from a listening socket, which stays the caller's. Each connection is given to accepted on
// its loop with its address (none at a Unix socket), as the client of a Task without a deadline that waits for nothing yet: accepted
// returns the Task, or nil after Release.
// failed is told when accepting fails and when it works again (nil); meanwhile it pauses. stop ends it, and waits for that.
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

// accepting is a listening socket of which every loop accepts. Guarded by Loops.mu.
type accepting struct {
	ln        syscall.Conn
	accepted  func(Work, netip.AddrPort) Task
	failed    func(error)
	acceptors []*acceptor
}

// join has a loop accept too.
func (a *accepting) join(l *loop) error {
	fd, err := epoll.Dup(a.ln)
	if err != nil {
		return fmt.Errorf("accept on a loop: %w", err)
	}
	epoll.NoDelay(fd) // those that it accepts inherit it
	one := &acceptor{loop: l, fd: fd, accepted: a.accepted, failed: a.failed}
	if !l.command(one.start) {
		_ = unix.Close(fd)
		return nil // the loop is being replaced
	}
	a.acceptors = append(a.acceptors, one)
	return nil
}

// stop ends it, and waits for that.
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
	isFailed bool          // failed was told, and not yet that all who waited have been accepted
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

// watch has one loop at a time woken for a connection. EPOLLEXCLUSIVE can't be changed once it is set.
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

// pause takes the socket out of epoll for a while: it would be reported again and again.
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

// Failed implements Task. A loop that has panicked over its listening socket is retired instead.
func (a *acceptor) Failed(Work) { panic("BUG: an acceptor goes on after a panic") }

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

// never is a deadline that nobody lives to see.
const never = relay.Instant(1) << 62

// newTask returns a slot for a task that owns the client's descriptor.
func (l *loop) newTask(client int) slot {
	s := l.slots.acquire(client)
	l.deadlines.add(s, never)
	return s
}

// FD returns a side's descriptor; -1: it has none.
func (w Work) FD(side relay.Side) int { return int(w.s.socket[side].fd) }

// SetBackend makes the slot own the backend's descriptor.
func (w Work) SetBackend(fd int) {
	w.s.socket[relay.Backend] = socket{fd: int32(fd), interest: notWatched}
}

// CloseBackend closes the backend's descriptor, for another try.
func (w Work) CloseBackend() { w.s.close(relay.Backend) }

// Await asks for events of a side's socket, until it is asked for others; with unix.EPOLLONESHOT among them, for the next one.
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

// SetDeadline has the Task's Due called, once.
func (w Work) SetDeadline(t time.Time) {
	w.l.deadlines.set(w.s, w.l.clock.instant(t))
}

// Release ends the Task and gives the slot back. The descriptors become the caller's; -1: there is none. They are in no loop any more.
func (w Work) Release() (fds [2]int) {
	for side := range fds {
		fds[side] = int(w.s.socket[side].fd)
		if fds[side] >= 0 && w.s.socket[side].interest != notWatched {
			_ = w.l.poller.Del(fds[side])
		}
	}
	delete(w.l.tasks, w.s.index)
	w.l.deadlines.remove(w.s)
	w.l.slots.release(w.s)
	return fds
}

// Drop is Release of a Task that owns a client alone, which it closes: cheaper by what epoll would be told.
func (w Work) Drop() {
	w.s.close(relay.Client)
	w.s.close(relay.Backend)
	w.Release()
}

// Relay ends the Task: both descriptors become those of a session, on this loop, or on one that has clearly fewer sessions.
func (w Work) Relay(d *Loops, p Params) {
	if least := d.least(); least.sessions.Load()+imbalance < w.l.sessions.Load() {
		p.Handle.in = least
		conns := w.s.tlsConns()
		least.adopt(p, w.Release(), conns)
		return
	}
	p.Handle.in = w.l
	w.l.sessions.Add(1)
	delete(w.l.tasks, w.s.index)
	w.l.start(w.s, p)
	x := w.s.session()
	w.l.startTLS(w.s, &x)
	w.l.settle(w.s, &x)
}

// imbalance is by how many sessions a loop must be ahead for the next one to be worth moving.
const imbalance = 16
