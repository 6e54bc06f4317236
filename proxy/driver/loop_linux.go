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
	"sluice/tls/record"
)

// A loop owns an epoll instance and the sessions whose sockets are in it. Its goroutine owns everything but the commands.
// A turn handles the events that have come (at most 256, with one read each at most), then the timers that are due, then the commands.
// It never blocks.
type loop struct {
	engine
	panics    recovery.Handler
	clock     clock
	poller    *epoll.Poller
	slots     slots
	deadlines deadlines
	tasks     map[uint32]Task          // by slot
	frozen    map[uint32]*closeRequest // by slot: the sessions that may be about to move, each with the first close asked for; nil: none was
	pipes     []*pipe                  // empty ones
	pipeCount int                      // those that sessions hold included
	totals    relay.Totals
	turns     Turns
	began     relay.Instant // when the turn began
	tls       *tlsMemory    // nil before the first session with TLS
	mux       *muxMemory    // nil before the first HTTP/2 connection
	lends     bool          // the loop lends buffers to crypto/tls (theTLSBuffers.isKnown)

	takesRecords bool // of TLS 1.3 (record.Works)

	buf []byte // for reading, valid during one event

	sessions atomic.Int64 // adopt counts them, before their begin, so that a burst spreads over the loops
	queued   atomic.Int64 // bytes that wait; written by the loop alone

	ended chan struct{} // closed at the end of run

	late sync.Mutex // held by do's f after the end

	mu sync.Mutex

	commands []func() // guarded by mu
	isClosed bool     // guarded by mu: commands are refused
}

func newLoop(c clock, ps *pools, panics recovery.Handler) (*loop, error) {
	poller, err := epoll.New()
	if err != nil {
		return nil, err
	}
	l := &loop{panics: panics, clock: c, poller: poller, buf: make([]byte, readBytes), tasks: map[uint32]Task{},
		frozen: map[uint32]*closeRequest{}, ended: make(chan struct{}),
		lends: theTLSBuffers.isKnown, takesRecords: record.Works() == nil}
	l.engine = newEngine(ps, &l.queued)
	l.env.Totals = &l.totals
	l.deadlines.slots = &l.slots
	return l, nil
}

// run runs the loop until stop, or until its own state is broken: then it has retired the loop.
func (l *loop) run() (isBroken bool) {
	defer close(l.ended)
	defer l.poller.Close()
	defer l.closePipes()
	if isBroken = l.takeTurns(); isBroken {
		l.retire()
	}
	return isBroken
}

// takeTurns runs turns until stop, or until one of them breaks the loop's own state.
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

// turn waits for events or the next deadline, and handles them.
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
	l.flushMuxes()
}

// runCommands runs what other goroutines asked for. It returns false if the loop has ended.
func (l *loop) runCommands() bool {
	l.mu.Lock()
	commands, isClosed := l.commands, l.isClosed
	l.commands = nil
	l.mu.Unlock()
	l.env.Now = l.clock.now()
	l.runAll(commands)
	l.flushMuxes()
	if l.began > 0 { // else it is the first call
		now := l.env.Now
		if len(commands) > 0 {
			now = l.clock.now()
		}
		l.turns.observe(time.Duration(now - l.began))
	}
	return !isClosed
}

// runAll runs commands. Those after one that breaks the loop go back, for retire.
func (l *loop) runAll(commands []func()) {
	done := 0
	defer func() {
		if done < len(commands) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.commands = append(commands[done:], l.commands...)
		}
	}()
	for done < len(commands) {
		c := commands[done]
		done++
		l.runCommand(c)
	}
}

// runCommand runs what another goroutine asked for. A command about one session or task defers the rescue of that one, too.
func (l *loop) runCommand(f func()) {
	defer l.rescue(noID)
	f()
}

// command makes the loop call f soon, in the order of the commands. It returns false if the loop accepts no more commands.
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

// do makes the loop call f and waits for that. After the loop's end it calls f itself.
func (l *loop) do(f func()) {
	done := make(chan struct{})
	if l.command(func() { defer close(done); f() }) {
		<-done
		return
	}
	<-l.ended
	l.late.Lock()
	defer l.late.Unlock()
	f()
}

// stop cuts the sessions but those that are frozen, and ends the loop.
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
	for _, isMux := range []bool{false, true} { // streams before their connections
		for i := range uint32(len(l.slots.hots) * slabSize) {
			if _, is := l.tasks[i].(muxTask); is != isMux {
				continue
			}
			if s := l.slots.at(i); !l.isFrozen(s) {
				l.cut(s)
			}
		}
	}
}

// cut ends the session or task of a slot, if there is one.
func (l *loop) cut(s slot) {
	defer l.rescue(s.id())
	if task := l.tasks[s.index]; task != nil {
		task.Cut(Work{l, s})
	} else if s.owner != nil {
		l.env.Config = s.config
		x := l.session(s)
		s.core.Leave(&l.env)
		if l.settle(s, &x); s.owner == nil {
			return // it is over
		}
		l.lose(s, &x)
	}
}

// lose cuts both connections of a session.
func (l *loop) lose(s slot, x *session) {
	s.core.Lost(&l.env, relay.Client)
	s.core.Lost(&l.env, relay.Backend)
	l.settle(s, x)
}

// adopt gives the loop a session, or cuts the session if the loop has ended.
func (l *loop) adopt(p Params, fds [2]int, conns [2]*tls.Conn) {
	for side, early := range p.Early {
		p.Early[side] = append([]byte(nil), early...)
	}
	l.take(p.Owner, fds, func() { l.begin(p, fds, conns) })
}

// take has the loop begin a session, or cuts the session if the loop has ended.
func (l *loop) take(owner Owner, fds [2]int, begin func()) {
	l.sessions.Add(1)
	if l.command(begin) {
		return
	}
	l.sessions.Add(-1)
	for _, fd := range fds {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	owner.SessionEnded(Result{})
}

// begin is the part of adopt that the loop runs.
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
	x := l.session(s)
	l.startTLS(s, &x)
	l.settle(s, &x)
}

// start begins a session in a slot that holds its descriptors. The caller calls settle afterwards.
func (l *loop) start(s slot, p Params) {
	s.config, s.owner = p.Config, p.Owner
	p.Handle.id = s.id()
	l.env.Config = p.Config
	s.core.Begin(&l.env, p.HasDeflate)
	l.deadlines.set(s, s.core.Deadline(&l.env))
	for side, early := range p.Early {
		if len(early) > 0 {
			x := l.session(s)
			l.receive(&x, relay.Side(side), early)
		}
	}
}

// closeBoth implements controller.
func (l *loop) closeBoth(h *Handle, code uint16, reason relay.Reason) {
	l.command(func() {
		defer l.rescue(h.id)
		if s, isLive := l.slots.session(h.id); isLive {
			l.requestClose(s, closeRequest{code, reason})
		}
	})
}

// requestClose closes both sides of a session, or notes that for the time after Thaw.
func (l *loop) requestClose(s slot, r closeRequest) {
	if first, isFrozen := l.frozen[s.index]; isFrozen {
		if first == nil {
			l.frozen[s.index] = &r
		}
		return
	}
	l.env.Config = s.config
	s.core.CloseBoth(&l.env, r.code, r.reason)
	x := l.session(s)
	l.settle(s, &x)
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
	x := l.session(s)
	if e.Events&unix.EPOLLOUT != 0 {
		s.widen(side)
		l.write(s, &x, side)
	}
	if e.Events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		l.read(s, &x, side, e.Events&(unix.EPOLLHUP|unix.EPOLLERR) != 0)
	}
	l.settle(s, &x)
}

// settle ends every handling of a session: it has the engine settle the session, and sets epoll and the deadline to what the session
// waits for.
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
			// The kernel is out of memory, or the user's limit of watches is reached.
			s.core.Lost(&l.env, side)
			l.settle(s, x)
			return
		}
	}
}

// finish does to a session's sockets and deadline what its core asks for.
func (l *loop) finish(s slot, x *session, acts relay.Acts) {
	x.finish(acts)
	for side := relay.Client; side <= relay.Backend; side++ {
		if acts.Close(side) || acts.Reset(side) {
			l.removeTLS(s, side)
			l.removeStream(s, side, noOwner)
			x.transport[side] = l.transport(s, side) // a closed one
			l.discardPipe(s, side)
		}
	}
	l.releasePending(x)
	if acts&relay.ActTimer != 0 {
		l.deadlines.set(s, s.core.Deadline(&l.env))
	}
}

// watch asks epoll for the events that a side needs. A stream's peer gets its window back instead.
func (l *loop) watch(s slot, side relay.Side) error {
	if s.stream[side] != 0 {
		l.giveBack(s, side)
		return nil
	}
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
	l.vacate(s)
	owner.SessionEnded(result)
}

// vacate frees the slot of a session whose sockets are closed.
func (l *loop) vacate(s slot) {
	l.removeTLS(s, relay.Client)
	l.removeTLS(s, relay.Backend)
	l.removeStream(s, relay.Client, noOwner)
	l.removeStream(s, relay.Backend, noOwner)
	l.deadlines.remove(s)
	delete(l.frozen, s.index)
	l.slots.release(s)
	l.sessions.Add(-1)
}

// expire handles the deadlines that have passed.
func (l *loop) expire() {
	for at := l.deadlines.next(); at != 0 && at <= l.env.Now; at = l.deadlines.next() {
		l.due(l.slots.at(l.deadlines.entries[0].index))
	}
}

// due handles the deadline of a session or task.
func (l *loop) due(s slot) {
	defer l.rescue(s.id())
	if s.owner == nil {
		l.deadlines.set(s, never)
		l.tasks[s.index].Due(Work{l, s})
		return
	}
	l.env.Config = s.config
	s.core.Advance(&l.env)
	x := l.session(s)
	l.settle(s, &x)
	if s.owner != nil {
		l.deadlines.set(s, max(s.core.Deadline(&l.env), l.env.Now+1))
	}
}
