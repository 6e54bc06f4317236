package driver

import (
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
	"sluice/proxy/relay"
	"sluice/tls/record"
)

// Sessions move to the loops of another process: Freeze, there Adopt, then Forget here; or Thaw, if the other process doesn't take it.
// A frozen session stays in its slot, with a deadline that is never reached. It is in no epoll, nothing of it is in a pipe, and no byte of
// it is read or written. No event of it is left either: a loop handles all events of a turn before the commands. If its loop ends, the
// session stays frozen: another process may own it already.
//
// Counts of a session move with it. Totals don't: those of a driver are what that driver has relayed.

// byLoop returns which of the handles are a loop's, by loop.
func byLoop(handles []*Handle) map[*loop][]int {
	places := map[*loop][]int{}
	for i, h := range handles {
		if l, isLoop := h.controller.(*loop); isLoop {
			places[l] = append(places[l], i)
		}
	}
	return places
}

// Freeze stops sessions for a move, and returns the state of each in the order of their handles, none of which is frozen already. A session
// that can't move goes on. It waits for a turn of each loop. Until Thaw or Forget, which has to follow, nothing happens in a
// frozen session: CloseBoth waits, and the end of the driver does, too.
func (d *Loops) Freeze(handles []*Handle) []Frozen {
	frozen := make([]Frozen, len(handles))
	for i := range frozen {
		frozen[i].Why = WhyGoroutine
	}
	for l, places := range byLoop(handles) {
		for _, i := range places {
			frozen[i].Why = WhyClosing
		}
		l.do(func() {
			for _, i := range places {
				frozen[i] = l.freeze(handles[i].id)
			}
		})
	}
	return frozen
}

// Thaw lets frozen sessions go on, and does what was asked of them meanwhile. It waits for a turn of each loop. A session whose loop has ended
// is cut.
func (d *Loops) Thaw(handles []*Handle) {
	for l, places := range byLoop(handles) {
		l.do(func() {
			for _, i := range places {
				l.thaw(handles[i].id)
			}
		})
	}
}

// Forget ends frozen sessions that another process goes on with: it closes the descriptors by close(2) alone, so that the peers notice
// nothing, and doesn't call SessionEnded. What was asked of a session meanwhile doesn't happen. It waits for a turn of each loop.
func (d *Loops) Forget(handles []*Handle) {
	for l, places := range byLoop(handles) {
		l.do(func() {
			for _, i := range places {
				l.forgetMoved(handles[i].id)
			}
		})
	}
}

// A closeRequest is a CloseBoth that waits.
type closeRequest struct {
	code   uint16
	reason relay.Reason
}

// freeze is Freeze for one session.
func (l *loop) freeze(id uint64) (f Frozen) {
	f.Why = WhyClosing
	defer l.rescue(id)
	s, isLive := l.slots.session(id)
	if !isLive || l.isFrozen(s) {
		return f
	}
	st := &State{}
	var isMovable bool
	if st.Relay, isMovable = s.core.State(); !isMovable {
		return f
	}
	for side := range s.socket {
		if s.stream[side] != 0 {
			return Frozen{Why: WhyHTTP2}
		}
		if s.conn[side] != nil {
			return Frozen{Why: WhyTLS12}
		}
		if s.socket[side].fd < 0 {
			return f
		}
	}
	for side := relay.Client; side <= relay.Backend; side++ {
		l.emptyPipe(s, side)
		l.sideState(s, side, &st.Sides[side])
		f.FDs[side] = int(s.socket[side].fd)
	}
	for side := range s.socket {
		if socket := &s.socket[side]; socket.interest != notWatched {
			_ = l.poller.Del(int(socket.fd))
			socket.interest = notWatched
		}
	}
	l.deadlines.set(s, never)
	l.frozen[s.index] = nil
	f.State, f.Why = st, ""
	return f
}

// isFrozen reports whether a session is frozen.
func (l *loop) isFrozen(s slot) bool {
	_, is := l.frozen[s.index]
	return is
}

// emptyPipe moves what is in the pipe for a side to the front of its queue.
func (l *loop) emptyPipe(s slot, to relay.Side) {
	if s.pending == nil || s.pending.pipe[to] == nil {
		return
	}
	p, behind := s.pending.pipe[to], s.pending.queue[to]
	var q queue
	for q.n < p.n {
		n, err := unix.Read(p.read, l.buf[:min(p.n-q.n, len(l.buf))])
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			panic(fmt.Sprintf("BUG: %d bytes are in a pipe of %d: %v", q.n, p.n, err))
		}
		q.append(l.pools, l.buf[:n])
	}
	for behind.n > 0 {
		next := behind.slices(nil, 1)[0]
		q.append(l.pools, next)
		behind.drop(l.pools, len(next))
	}
	s.pending.pipe[to], s.pending.queue[to] = nil, q
	l.releasePipe(p)
}

// sideState fills in what the loop keeps of a side, whose pipe is empty.
func (l *loop) sideState(s slot, side relay.Side, st *SideState) {
	st.IsWide = s.socket[side].isWide
	p := s.pending
	if p != nil {
		if q := &p.queue[side]; q.n > 0 {
			st.Queue = make([]byte, 0, q.n)
			for _, chunk := range q.slices(nil, len(q.chunks)) {
				st.Queue = append(st.Queue, chunk...)
			}
		}
		st.Held = append(st.Held, p.held[side]...)
		st.Carry = append(st.Carry, p.carry[side].b[:p.carry[side].n]...)
	}
	if s.secured[side] == 0 {
		return
	}
	c := l.secure(s, side)
	of := c.records.State()
	st.TLS = &of
	st.KeysDueAt, st.KeysEarned = int64(c.keys.dueAt), c.keys.earned
	if c.partSize > 0 {
		st.Part = append(st.Part, p.part[side][:c.partSize]...)
	}
}

// thaw is Thaw for one session.
func (l *loop) thaw(id uint64) {
	defer l.rescue(id)
	s, isLive := l.slots.session(id)
	if !isLive || !l.isFrozen(s) {
		return
	}
	request := l.frozen[s.index]
	delete(l.frozen, s.index)
	l.env.Config = s.config
	select {
	case <-l.ended:
		l.env.Now = l.clock.now()
		x := l.session(s)
		l.lose(s, &x)
		return
	default:
	}
	l.goOn(s)
	if s.owner != nil && request != nil {
		l.requestClose(s, *request)
	}
}

// goOn begins with a session that was frozen: what has come meanwhile is read before a timer can find that it hasn't.
func (l *loop) goOn(s slot) {
	for side := relay.Client; side <= relay.Backend; side++ {
		if s.socket[side].fd < 0 {
			continue
		}
		x := l.session(s)
		l.write(s, &x, side)
		l.read(s, &x, side, false)
		if l.settle(s, &x); s.owner == nil {
			return
		}
	}
	l.deadlines.set(s, s.core.Deadline(&l.env))
}

// forgetMoved is Forget for one session.
func (l *loop) forgetMoved(id uint64) {
	defer l.rescue(id)
	s, isLive := l.slots.session(id)
	if !isLive || !l.isFrozen(s) {
		return
	}
	x := l.session(s)
	for side := relay.Client; side <= relay.Backend; side++ {
		l.discard(&x, side)
		s.socket[side].close()
	}
	l.vacate(s)
}

// A moved session waits for its start on a loop.
type moved struct {
	driver  *Loops
	params  Params
	state   *State
	core    relay.Session
	records [2]record.Conn
	fds     [2]int
}

// maxMovedQueue is the most bytes that a side's queue may come with: what a pipe held is in it.
const maxMovedQueue = MaxQueued + moveMax

// Adopt checks a session's state, from whatever source, and prepares to go on with it. It reads and writes nothing, and doesn't block.
// Unless it returns an error, it becomes the owner of both descriptors and of the state. Of p it uses Config, Owner and Handle, which is filled
// in by start and not to be used before. Either start is called, once, which doesn't block, or cancel, which closes the descriptors by
// close(2) alone. If the driver closes before start, the session is cut by start.
func (d *Loops) Adopt(p Params, st *State, fds [2]int) (start, cancel func(), err error) {
	m := &moved{driver: d, params: p, state: st, fds: fds}
	if err := m.check(); err != nil {
		return nil, nil, err
	}
	return m.start, m.cancel, nil
}

// check restores what can be restored without a loop.
func (m *moved) check() (err error) {
	var kept relay.Kept
	for side := relay.Client; side <= relay.Backend; side++ {
		st := &m.state.Sides[side]
		kept.Queued[side], kept.Held[side], kept.Carried[side] = len(st.Queue), len(st.Held), len(st.Carry)
		if err := m.checkSide(side, st); err != nil {
			return fmt.Errorf("the %s: %w", side, err)
		}
	}
	if m.fds[relay.Client] == m.fds[relay.Backend] {
		return errors.New("both sides have one socket")
	}
	m.core, err = relay.Restore(&m.state.Relay, &kept, m.driver.clock.now())
	return err
}

func (m *moved) checkSide(side relay.Side, st *SideState) (err error) {
	switch {
	case len(st.Queue) > maxMovedQueue || len(st.Held) > MaxQueued:
		return fmt.Errorf("%d bytes wait, and %d of pongs", len(st.Queue), len(st.Held))
	case len(st.Carry) > relay.MaxCarry:
		return fmt.Errorf("%d bytes of a control frame", len(st.Carry))
	case st.KeysDueAt < 0 || st.KeysEarned > mostEarned:
		return errors.New("impossible changes of keys")
	case st.TLS == nil && len(st.Part) > 0:
		return errors.New("a record without TLS")
	}
	if st.TLS != nil {
		if st.TLS.HasEnded {
			return errors.New("TLS has ended")
		}
		if m.records[side], err = record.Restore(st.TLS); err != nil {
			return fmt.Errorf("TLS: %w", err)
		}
		size, err := record.Size(st.Part)
		if err != nil || len(st.Part) > record.MaxBytes || size > 0 && size <= len(st.Part) {
			return fmt.Errorf("%d bytes are not the beginning of a record", len(st.Part))
		}
	}
	return checkStream(m.fds[side])
}

// checkStream returns an error unless a descriptor is a stream's, and makes it non-blocking.
func checkStream(fd int) error {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return fmt.Errorf("the descriptor is no socket: %w", err)
	}
	isListening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil || kind != unix.SOCK_STREAM || isListening != 0 {
		return errors.New("the socket is no stream")
	}
	return unix.SetNonblock(fd, true)
}

func (m *moved) start() {
	l := m.driver.least()
	m.params.Handle.controller = l
	l.take(m.params.Owner, m.fds, func() { l.beginMoved(m) })
}

func (m *moved) cancel() {
	for _, fd := range m.fds {
		epoll.Close(fd)
	}
}

// beginMoved is the part of start that the loop runs.
func (l *loop) beginMoved(m *moved) {
	s := l.newTask(m.fds[relay.Client])
	defer l.rescue(s.id())
	s.socket[relay.Backend].fd = int32(m.fds[relay.Backend])
	s.config, s.owner = m.params.Config, m.params.Owner
	m.params.Handle.id = s.id()
	l.env.Config = s.config
	x := l.session(s)
	s.core.Kill() // a panic before all is there leaves nothing that a close could be put behind
	for side := relay.Client; side <= relay.Backend; side++ {
		l.restoreSide(s, &x, side, m)
	}
	s.core = m.core
	l.goOn(s)
}

// restoreSide gives a slot what the loop is to keep of a side.
func (l *loop) restoreSide(s slot, x *session, side relay.Side, m *moved) {
	st := &m.state.Sides[side]
	s.socket[side].isWide = st.IsWide
	if len(st.Queue)+len(st.Held)+len(st.Carry) > 0 {
		p := l.acquirePending(x)
		p.queue[side].append(l.pools, st.Queue)
		l.queued.Add(int64(len(st.Queue)))
		p.held[side] = st.Held
		p.carry[side].set(st.Carry)
	}
	if st.TLS == nil {
		return
	}
	l.addSecured(s, side)
	c := l.secure(s, side)
	c.records = m.records[side]
	latest := l.env.Now.Add(keyChangeBurst * keyChangeInterval)
	c.keys = keyChanges{dueAt: min(relay.Instant(st.KeysDueAt), latest), earned: st.KeysEarned}
	c.setPart(st.Part)
}

// Clock returns when the driver's clock began, by CLOCK_MONOTONIC, in nanoseconds: for NewAt, in a process that is to adopt sessions of
// this one.
func (d *Loops) Clock() int64 {
	now, at := monotonic()
	return at - int64(now.Sub(d.clock.start))
}

// clockSince returns a clock that began when CLOCK_MONOTONIC said at, in nanoseconds.
func clockSince(at int64) (clock, error) {
	now, present := monotonic()
	if at < 0 || at > present {
		return clock{}, fmt.Errorf("a clock that began at %d ns, when the system's says %d", at, present)
	}
	return clock{now.Add(-time.Duration(present - at))}, nil
}

// monotonic returns the time, and what CLOCK_MONOTONIC says then, in nanoseconds. Of a few tries it takes the one that was disturbed least.
func monotonic() (now time.Time, at int64) {
	least := int64(math.MaxInt64)
	for range 5 {
		before := readMonotonic()
		t := time.Now()
		if took := readMonotonic() - before; took < least {
			least, now, at = took, t, before+took/2
		}
	}
	return now, at
}

func readMonotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic("BUG: " + err.Error()) // every Linux has this clock
	}
	return t.Nano()
}
