package driver

import (
	"crypto/tls"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
	"sluice/internal/recovery"
	"sluice/proxy/relay"
)

// A loop owns an epoll instance and the sessions whose sockets are in it. All but its commands belongs to its goroutine.
// A turn handles the events that are there (at most 256, each one read at most), the timers that are due, then the commands; it
// never blocks.
type loop struct {
	engine
	panics    recovery.Handler
	clock     clock
	poller    *epoll.Poller
	slots     slots
	deadlines deadlines
	tasks     map[uint32]Task // by slot
	pipes     []*pipe         // empty ones
	totals    relay.Totals
	turns     Turns
	began     relay.Instant // when the turn did
	tls       *tlsMemory    // nil: no session had TLS yet
	lends     bool          // to crypto/tls, whose buffers are where they are known to be
	buf       []byte        // what is read, for the time of one event

	sessions atomic.Int64 // counted by adopt, so that a burst spreads over the loops
	queued   atomic.Int64 // bytes that wait; written by the loop alone

	ended chan struct{} // closed at the end of run

	mu sync.Mutex

	commands []func() // guarded by mu
	isClosed bool     // guarded by mu: commands are refused
}

func newLoop(c clock, ps *pools, panics recovery.Handler) (*loop, error) {
	poller, err := epoll.New()
	if err != nil {
		return nil, err
	}
	l := &loop{panics: panics, clock: c, poller: poller, buf: make([]byte, readBytes), tasks: map[uint32]Task{}, ended: make(chan struct{}),
		lends: theTLSBuffers.isKnown}
	l.engine = newEngine(ps, &l.queued)
	l.env.Totals = &l.totals
	l.deadlines.slots = &l.slots
	return l, nil
}

// run is the loop, until stop, or until its own state is broken: then it has been retired.
func (l *loop) run() (isBroken bool) {
	defer close(l.ended)
	defer l.poller.Close()
	defer l.closePipes()
	if isBroken = l.takeTurns(); isBroken {
		l.retire()
	}
	return isBroken
}

// takeTurns is run up to the end.
func (l *loop) takeTurns() (isBroken bool) {
	defer func() {
		if l.panics == nil {
			return
		}
		if cause := recover(); cause != nil {
			if cause != errBroken {
				l.panics(room, cause, debug.Stack())
			}
			isBroken = true
		}
	}()
	for l.runCommands() {
		l.turn()
	}
	return false
}

// turn waits until something is to be done, and does it.
func (l *loop) turn() {
	var deadline time.Time
	if at := l.deadlines.next(); at != 0 {
		deadline = l.clock.at(at)
	}
	events, err := l.poller.Wait(deadline)
	if err != nil {
		panic("BUG: " + err.Error()) // the descriptors are the loop's own
	}
	l.began = l.clock.now()
	l.env.Now = l.began
	for i := range events {
		l.serve(&events[i])
	}
	l.expire()
}

// runCommands does what other goroutines asked for; false: that was the end.
func (l *loop) runCommands() bool {
	l.mu.Lock()
	commands, isClosed := l.commands, l.isClosed
	l.commands = nil
	l.mu.Unlock()
	l.env.Now = l.clock.now()
	for _, c := range commands {
		l.runCommand(c)
	}
	if l.began > 0 { // else it is the first call
		now := l.env.Now
		if len(commands) > 0 {
			now = l.clock.now()
		}
		l.turns.observe(time.Duration(now - l.began))
	}
	return !isClosed
}

// runCommand does what another goroutine asked for. A command that is about one session or task has that one's rescue besides.
func (l *loop) runCommand(f func()) {
	defer l.rescue(noID)
	f()
}

// command has f called by the loop, soon and in order; false: the loop takes none any more.
func (l *loop) command(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isClosed {
		return false
	}
	l.commands = append(l.commands, f)
	l.poller.Wake()
	return true
}

// do has f called by the loop, or here after the loop's end, and waits for it.
func (l *loop) do(f func()) {
	done := make(chan struct{})
	if l.command(func() { defer close(done); f() }) {
		<-done
		return
	}
	<-l.ended
	f()
}

// stop cuts the sessions and ends the loop.
func (l *loop) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.isClosed {
		return
	}
	l.isClosed = true
	l.commands = append(l.commands, l.cutAll)
	l.poller.Wake()
}

func (l *loop) cutAll() {
	for i := range uint32(len(l.slots.hots) * slabSize) {
		l.cut(l.slots.at(i))
	}
}

// cut ends the session or task of a slot, if it is one's.
func (l *loop) cut(s slot) {
	defer l.rescue(s.id())
	if task := l.tasks[s.index]; task != nil {
		task.Cut(Work{l, s})
	} else if s.owner != nil {
		l.env.Config = s.config
		s.core.Lost(&l.env, relay.Client)
		s.core.Lost(&l.env, relay.Backend)
		x := s.session()
		l.settle(s, &x)
	}
}

// adopt makes the loop own a session, or cuts it if the loop has ended.
func (l *loop) adopt(p Params, fds [2]int, conns [2]*tls.Conn) {
	for side, early := range p.Early {
		p.Early[side] = append([]byte(nil), early...)
	}
	l.sessions.Add(1)
	if l.command(func() { l.begin(p, fds, conns) }) {
		return
	}
	l.sessions.Add(-1)
	for _, fd := range fds {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	p.Owner.SessionEnded(Result{})
}

// begin is adopt in the loop.
func (l *loop) begin(p Params, fds [2]int, conns [2]*tls.Conn) {
	s := l.newTask(fds[relay.Client])
	defer l.rescue(s.id())
	s.socket[relay.Backend].fd = int32(fds[relay.Backend])
	for side, conn := range conns {
		if conn != nil {
			l.addTLS(s, relay.Side(side), conn)
		}
	}
	l.start(s, p)
	for side := relay.Client; side <= relay.Backend; side++ {
		if s.socket[side].fd < 0 {
			s.core.Lost(&l.env, side)
		}
	}
	x := s.session()
	l.startTLS(s, &x)
	l.settle(s, &x)
}

// start makes a session of a slot that has its descriptors. settle has to follow.
func (l *loop) start(s slot, p Params) {
	s.config, s.owner = p.Config, p.Owner
	p.Handle.id = s.id()
	l.env.Config = p.Config
	s.core.Begin(&l.env, p.HasDeflate)
	l.deadlines.set(s, s.core.Deadline(&l.env))
	for side, early := range p.Early {
		if len(early) > 0 {
			x := s.session()
			l.receive(&x, relay.Side(side), early)
		}
	}
}

// closeBoth implements controller.
func (l *loop) closeBoth(h *Handle, code uint16, reason relay.Reason) {
	l.command(func() {
		defer l.rescue(h.id)
		if s, isLive := l.slots.session(h.id); isLive {
			l.env.Config = s.config
			s.core.CloseBoth(&l.env, code, reason)
			x := s.session()
			l.settle(s, &x)
		}
	})
}

// stats implements controller.
func (l *loop) stats(h *Handle) (st Stats, isLive bool) {
	l.do(func() {
		var s slot
		if s, isLive = l.slots.session(h.id); isLive {
			st = statsOf(&s.core, s.pending, l.env.Now)
		}
	})
	return st, isLive
}

// serve handles one event.
func (l *loop) serve(e *epoll.Event) {
	data := e.Data()
	side, id := relay.Side(data>>63), data&^(1<<63)
	defer l.rescue(id)
	s, isLive := l.slots.find(id)
	if !isLive || s.socket[side].fd < 0 {
		return
	}
	if s.owner == nil {
		if task := l.tasks[s.index]; task != nil {
			task.Ready(Work{l, s}, side, e.Events)
		}
		return
	}
	l.env.Config = s.config
	x := s.session()
	if e.Events&unix.EPOLLOUT != 0 {
		l.write(s, &x, side)
	}
	if e.Events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		l.read(s, &x, side, e.Events&(unix.EPOLLHUP|unix.EPOLLERR) != 0)
	}
	l.settle(s, &x)
}

// settle ends every handling of a session: the engine sends what is to be sent, the core's wishes are fulfilled, and epoll and the
// deadline are set to what the session waits for.
func (l *loop) settle(s slot, x *session) {
	if acts := l.engine.settle(x); acts != 0 {
		l.finish(s, x, acts)
	}
	if s.core.IsOver() {
		l.forget(s)
		return
	}
	for side := relay.Client; side <= relay.Backend; side++ {
		if err := l.watch(s, side); err != nil {
			// The kernel has no memory for it, or the user's share of watches is used up.
			s.core.Lost(&l.env, side)
			l.settle(s, x)
			return
		}
	}
}

// finish does to a session's sockets and deadline what its core asked for.
func (l *loop) finish(s slot, x *session, acts relay.Acts) {
	x.finish(acts)
	for side := relay.Client; side <= relay.Backend; side++ {
		if acts.Close(side) || acts.Reset(side) {
			s.secure[side] = nil
			x.transport[side] = s.transport(side) // a closed one
			l.discardPipe(s, side)
		}
	}
	l.releasePending(x)
	if acts&relay.ActTimer != 0 {
		l.deadlines.set(s, s.core.Deadline(&l.env))
	}
}

// watch asks epoll for the events that a side waits for.
func (l *loop) watch(s slot, side relay.Side) error {
	socket := &s.socket[side]
	if socket.fd < 0 {
		return nil
	}
	var want interest
	if s.core.Reads(side) {
		want = unix.EPOLLIN
	}
	if s.pending.waiting(side) > 0 {
		want |= unix.EPOLLOUT
	}
	isWatched := socket.interest != notWatched
	if want == socket.interest || !isWatched && want == 0 {
		return nil
	}
	control := l.poller.Mod
	if !isWatched {
		control = l.poller.Add
	}
	socket.interest = want
	return control(int(socket.fd), uint32(want), s.id()|uint64(side)<<63)
}

// forget ends a session whose sockets are closed.
func (l *loop) forget(s slot) {
	owner, result := s.owner, resultOf(&s.core)
	l.deadlines.remove(s)
	l.slots.release(s)
	l.sessions.Add(-1)
	owner.SessionEnded(result)
}

// expire lets the sessions that are due look at their clocks.
func (l *loop) expire() {
	for at := l.deadlines.next(); at != 0 && at <= l.env.Now; at = l.deadlines.next() {
		l.due(l.slots.at(l.deadlines.entries[0].index))
	}
}

// due lets a session or task look at its clocks.
func (l *loop) due(s slot) {
	defer l.rescue(s.id())
	if s.owner == nil {
		l.deadlines.set(s, never)
		l.tasks[s.index].Due(Work{l, s})
		return
	}
	l.env.Config = s.config
	s.core.Advance(&l.env)
	x := s.session()
	l.settle(s, &x)
	if s.owner != nil {
		l.deadlines.set(s, max(s.core.Deadline(&l.env), l.env.Now+1))
	}
}
