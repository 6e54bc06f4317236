package driver

import (
	"bytes"
	"errors"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
	"sluice/proxy/h2"
	"sluice/proxy/relay"
)

// A Mux is an HTTP/2 connection on a loop. Its streams are sides of slots: of Tasks, then of sessions (mux_stream_linux.go), or are lent to
// goroutines (mux_conn_linux.go). Its socket is the client's side of a slot of its own, whichever end of the connection it is. Its loop's
// goroutine owns it, but for GoAway.
//
//	socket → muxMemory.in → h2.Conn → a stream's Task or session
//	a stream's side → Mux.out → at the end of the turn: flush → the slot's queue, or the socket
type Mux struct {
	loop   *loop
	slot   slot
	params *MuxParams
	h2     h2.Conn
	out    queue                      // frames that wait for flush
	full   []*h2.Stream               // streams that wait for room in out, or for the window of the connection: each once, in turn
	lent   map[*h2.Stream]*StreamConn // streams that goroutines have; nil: none yet

	sent    uint64        // bytes of DATA
	active  int           // streams that have an owner
	due     relay.Instant // when the slot's deadline is
	began   relay.Instant
	inside  relay.Instant // since when a frame or field block is there in part; 0: none is
	stalled relay.Instant // since when the socket accepts nothing; 0: it does
	idle    relay.Instant // since when there is no stream; 0: there is one
	heard   relay.Instant // when something came of the peer
	pinged  relay.Instant // since when an answer to our PING is waited for; 0: it isn't
	ending  relay.Instant // since when nothing is waited for but that the peer has read all; 0: it isn't
	resets  resets
	cause   error // of its end
	isDirty bool  // out has frames, and the mux is in muxMemory.dirty
	isGoing bool  // no new streams: a GOAWAY was sent or came
	isShut  bool  // the end of the stream was sent
	isOver  bool  // Ended was called
}

// MuxParams describe a Mux.
type MuxParams struct {
	Config *h2.Config
	Owner  MuxOwner
	Input  []byte // what has been read of the connection already

	HeadTimeout  time.Duration // for the preface, a field block, the peer's settings, and the answer to a PING, which is sent after twice as long a silence
	IdleTimeout  time.Duration // without a stream; 0: no limit
	WriteTimeout time.Duration // for which the peer may accept nothing
}

// A MuxOwner learns of what happens to a Mux. The loop's goroutine calls its methods, which must not block.
type MuxOwner interface {
	// Opened reports that the peer has opened a stream (Server). It is the client's side of w, which has no deadline. Opened returns the slot's
	// Task, or nil after Release or Drop. Nothing is owned by w before.
	Opened(w Work, m *Mux, head *h2.Head, isEnd bool) StreamTask
	// Changed reports that the peer's settings have come, or others than before, that no further streams are possible, or that the connection is
	// going to end.
	Changed(m *Mux)
	// Ended reports the end of the connection, once, after that of its streams. err is why, or nil.
	Ended(m *Mux, err error)
}

// A StreamTask is a Task one of whose sides is a stream. Ready tells of sockets only.
type StreamTask interface {
	Task
	// Head reports a response, an interim one, or trailers.
	Head(w Work, side relay.Side, head *h2.Head, isEnd bool)
	// Data reports bytes, valid during the call, and whether the stream ends. The peer may send as many more as Taken gives back.
	Data(w Work, side relay.Side, p []byte, isEnd bool)
	// Reset reports that the stream is gone: reset by the peer with code (err is nil), reset for an error of the peer (a *h2.StreamFault), or lost
	// with its connection.
	Reset(w Work, side relay.Side, code h2.Code, err error)
}

const (
	muxRead   = 64 << 10  // one read of a Mux, with what TLS keeps of records
	muxHigh   = 64 << 10  // above it, streams put no more into out
	muxLow    = 16 << 10  // below it, they do again
	muxMost   = 256 << 10 // above it, the peer isn't read: it takes nothing of what its frames cause
	muxLinger = time.Second
)

// muxMemory is what a loop has for HTTP/2, nil before its first Mux.
type muxMemory struct {
	in      [muxRead]byte // for reading
	scratch []byte        // frames that package h2 makes
	joined  []byte        // the part of a WebSocket frame, and what came after it
	dirty   []*Mux
	woken   []*h2.Stream
	streams []*[slabSize]stream
	free    []uint32
}

// A Host is a loop, for what isn't about one Task. Comparable.
type Host struct{ l *loop }

// Host returns the loop of the Task.
func (w Work) Host() Host { return Host{w.l} }

// Command has the loop call f soon. It returns false if the loop has ended.
func (h Host) Command(f func()) bool {
	return h.l.command(func() {
		defer h.l.rescue(noID)
		f()
	})
}

// Mux ends the Task: its client's connection becomes a Mux.
func (w Work) Mux(p MuxParams) *Mux {
	w.SetDeadline(time.Time{})
	return w.l.newMux(w.s, &p)
}

// TakeMux makes a Mux of a connection on the loop with the fewest sessions, as Take does. begun is called on the loop.
func (d *Loops) TakeMux(conn net.Conn, p MuxParams, begun func(*Mux)) bool {
	c, err := detach(conn)
	if err != nil {
		return false
	}
	l := d.least()
	if !l.command(func() { begun(l.takeMux(&c, &p)) }) {
		c.giveBack()
		return false
	}
	c.closeOld()
	return true
}

// NewMux makes a Mux of a connection. It is called on the loop. After an error the connection is the caller's.
func (h Host) NewMux(conn net.Conn, p MuxParams) (*Mux, error) {
	c, err := detach(conn)
	if err != nil {
		return nil, err
	}
	c.closeOld()
	return h.l.takeMux(&c, &p), nil
}

// takeMux makes a Mux of a detached connection.
func (l *loop) takeMux(c *detached, p *MuxParams) *Mux {
	s := l.newTask(c.fd)
	if c.tls != nil {
		l.addTLS(s, relay.Client, c.tls)
	}
	return l.newMux(s, p)
}

// newMux makes the slot of a Task, whose client's side is a socket, that of a Mux.
func (l *loop) newMux(s slot, p *MuxParams) *Mux {
	if l.mux == nil {
		l.mux = &muxMemory{}
	}
	m := &Mux{loop: l, slot: s, params: p, began: l.env.Now, idle: l.env.Now, heard: l.env.Now, due: never}
	l.tasks[s.index] = muxTask{m}
	defer l.rescue(s.id())
	m.append(m.h2.Begin(p.Config, m.scratch()))
	m.receiveFirst()
	m.settle()
	return m
}

// receiveFirst receives what was read of the connection before it was a Mux.
func (m *Mux) receiveFirst() {
	input := m.params.Input
	m.params.Input = nil
	for len(input) > 0 && m.ending == 0 {
		n := copy(m.loop.mux.in[:], input)
		input = input[n:]
		m.receive(m.loop.mux.in[:n])
	}
	if m.slot.secured[relay.Client] == 0 || m.ending != 0 {
		return
	}
	n, err := leftover{m.loop.secure(m.slot, relay.Client)}.read(m.loop.mux.in[:])
	m.received(n, err)
}

// Host returns the loop of the Mux.
func (m *Mux) Host() Host { return Host{m.loop} }

// GoAway tells the peer that no stream is accepted or opened any more. The connection ends after its last stream. Any goroutine may call it.
func (m *Mux) GoAway() {
	m.command(func() {
		if m.ending == 0 && !m.isGoing {
			m.goAway(h2.NoError, "")
			m.settle()
		}
	})
}

// command has the loop call f soon. It returns false if the loop has ended.
func (m *Mux) command(f func()) bool {
	return m.loop.command(func() {
		defer m.loop.rescue(m.slot.id())
		f()
	})
}

func (m *Mux) goAway(code h2.Code, text string) {
	m.isGoing = true
	m.append(m.h2.AppendGoAway(m.scratch(), code, text))
}

// Cut ends the connection at once, after a GOAWAY with the code. It is called on the loop.
func (m *Mux) Cut(code h2.Code, text string) {
	if m.ending == 0 {
		m.end(&h2.Fault{Code: code, Text: text})
		m.goAway(code, text)
		m.settle()
	}
}

// Streams returns how many streams are open, without those that nobody has any more. It is called on the loop.
func (m *Mux) Streams() int { return m.active }

// Room returns how many streams may be opened (Client). It is called on the loop.
func (m *Mux) Room() int {
	if m.IsGoingAway() {
		return 0
	}
	return m.h2.Room()
}

// IsGoingAway reports whether no more streams are opened or accepted. It is called on the loop.
func (m *Mux) IsGoingAway() bool { return m.isGoing || m.ending != 0 }

// Err returns why the connection ends; nil if there is no reason, or it doesn't end. It is called on the loop.
func (m *Mux) Err() error { return m.cause }

// CanConnect reports whether the peer accepts WebSocket over HTTP/2. It is called on the loop.
func (m *Mux) CanConnect() bool { return m.h2.CanConnect() }

// IsReady reports whether the peer's settings have come. It is called on the loop.
func (m *Mux) IsReady() bool { return m.h2.IsReady() }

// scratch returns the memory, empty, in which package h2 makes frames; append takes them.
func (m *Mux) scratch() []byte { return m.loop.mux.scratch[:0] }

// append has frames that were made in scratch sent at the end of the turn.
func (m *Mux) append(frames []byte) {
	m.loop.mux.scratch = frames[:0]
	m.put(frames)
}

// put has bytes sent at the end of the turn.
func (m *Mux) put(p []byte) {
	if len(p) == 0 || m.isShut {
		return
	}
	m.out.append(m.loop.pools, p)
	m.loop.queued.Add(int64(len(p)))
	if !m.isDirty {
		m.isDirty = true
		m.loop.mux.dirty = append(m.loop.mux.dirty, m)
	}
}

// waiting returns how many bytes wait for the peer.
func (m *Mux) waiting() int { return m.out.n + m.slot.pending.waiting(relay.Client) }

// A muxTask is a Mux as the Task of its slot.
type muxTask struct{ *Mux }

// Ready implements Task.
func (m muxTask) Ready(_ Work, _ relay.Side, events uint32) {
	if events&unix.EPOLLOUT != 0 {
		m.drain()
	}
	if events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 && !m.isOver {
		m.read(events&(unix.EPOLLHUP|unix.EPOLLERR) != 0)
	}
	m.settle()
}

// read reads what has come.
func (m *Mux) read(isHungUp bool) {
	if !m.reads() {
		if isHungUp {
			m.lost(io.ErrUnexpectedEOF)
		}
		return
	}
	in := m.loop.mux.in[:]
	if m.ending != 0 {
		if _, err := epoll.Read(int(m.slot.socket[relay.Client].fd), in); err != nil && err != unix.EAGAIN {
			m.lost(nil)
		}
		return
	}
	var r reader = &m.slot.socket[relay.Client]
	if m.slot.secured[relay.Client] != 0 {
		r = m.loop.secure(m.slot, relay.Client)
	}
	m.received(r.read(in))
}

// reads reports whether the peer is read.
func (m *Mux) reads() bool { return m.waiting() <= muxMost }

// received receives n bytes that lie at the start of the memory for reading, and then the error of the read.
func (m *Mux) received(n int, err error) {
	if l := m.loop; l.out[relay.Client].due > 0 {
		m.flush() // crypto/tls has something to say: it is in memory that the sessions' need
	}
	if n > 0 {
		m.heard, m.pinged = m.loop.env.Now, 0
		m.receive(m.loop.mux.in[:n])
	}
	switch {
	case m.ending != 0, err == nil, err == errAgain, err == unix.EAGAIN:
	case err == io.EOF && m.active == 0:
		m.lost(nil)
	case err == io.EOF:
		m.lost(io.ErrUnexpectedEOF)
	case err == errKeyUpdates:
		m.Cut(h2.EnhanceYourCalm, "too many KeyUpdates")
	default:
		m.lost(err)
	}
}

// receive passes what has come to the streams.
func (m *Mux) receive(p []byte) {
	for m.ending == 0 {
		e, n, frames, err := m.h2.Receive(p, time.Duration(m.loop.env.Now), m.scratch())
		if err != nil {
			frames = bytes.Clone(frames)
			m.end(err) // the streams are told first
			m.append(frames)
			return
		}
		m.append(frames)
		p = p[n:]
		if e.Kind == h2.None {
			return
		}
		m.happened(&e)
	}
}

// happened handles an event.
func (m *Mux) happened(e *h2.Event) {
	switch e.Kind {
	case h2.Opened:
		m.opened(e)
	case h2.Headers, h2.Data, h2.Reset:
		m.deliver(e.Stream, e, nil)
	case h2.Window:
		// What waits is sent by settle, so that many small updates at once make no small frames, which would come back as small updates.
		if e.Stream != nil {
			m.await(e.Stream)
		}
	case h2.Settings:
		m.wakeAll() // windows may have grown
		m.params.Owner.Changed(m)
	case h2.GoingAway:
		m.isGoing = true
		m.params.Owner.Changed(m)
	}
}

// wakeAll has every stream send what it can.
func (m *Mux) wakeAll() {
	all := m.loop.mux.woken[:0]
	m.h2.Streams(func(s *h2.Stream) { all = append(all, s) })
	for _, s := range all {
		m.writable(s)
	}
	clear(all)
	m.loop.mux.woken = all[:0]
}

// hasRoom reports whether streams may put DATA into out.
func (m *Mux) hasRoom() bool { return m.waiting() < muxHigh && m.h2.HasWindow() }

// await has a stream wait until there is room.
func (m *Mux) await(of *h2.Stream) {
	if !of.IsWaiting {
		of.IsWaiting = true
		m.full = append(m.full, of)
	}
}

// wakeFull has streams that wait for room send what they can, each once at most, in turn, until there is none.
func (m *Mux) wakeFull() {
	for n := len(m.full); n > 0 && m.hasRoom(); n-- {
		of := m.full[0]
		m.full[0] = nil
		m.full = m.full[1:]
		of.IsWaiting = false
		m.writable(of)
	}
	if len(m.full) == 0 {
		m.full = nil
	}
}

// flush sends what the turn has made.
func (m *Mux) flush() {
	l, s := m.loop, m.slot
	b, side := &l.out[relay.Client], relay.Client
	for !m.isOver && (s.pending.waiting(side) == 0 && m.out.n > 0 || b.due > 0) { // what is due doesn't stay: b is that of all
		l.slices = l.slices[:0]
		isFree, n := s.pending.waiting(side) == 0, 0
		if isFree {
			l.slices = m.out.slices(l.slices, drainSlices)
		}
		for _, p := range l.slices {
			b.pass(p)
			n += len(p)
		}
		x := session{pending: &s.pending}
		t := l.transport(s, side)
		err := t.seal(b, true)
		spans := b.spans
		if err == nil && isFree {
			spans, _, err = t.tryWrite(spans)
		}
		if err == nil {
			for _, p := range spans {
				l.acquirePending(&x).queue[side].append(l.pools, p)
				l.queued.Add(int64(len(p)))
			}
		}
		b.reset()
		clear(l.slices)
		m.out.drop(l.pools, n)
		l.queued.Add(-int64(n))
		if err != nil {
			m.lost(err)
			return
		}
	}
	if s.pending.waiting(side) > 0 && m.stalled == 0 {
		m.stalled = l.env.Now
	}
}

// drain sends what the socket hasn't accepted before, and then more.
func (m *Mux) drain() {
	l, s := m.loop, m.slot
	p := s.pending
	if p == nil {
		return
	}
	q := &p.queue[relay.Client]
	for q.n > 0 {
		n, err := epoll.Write(int(s.socket[relay.Client].fd), q.slices(nil, 1)[0])
		if err == unix.EAGAIN {
			return
		}
		if err != nil {
			m.lost(err)
			return
		}
		q.drop(l.pools, n)
		l.queued.Add(-int64(n))
		m.stalled = l.env.Now
	}
	m.stalled = 0
	l.releasePending(&session{pending: &s.pending})
	m.flush()
}

// settle ends every handling of the Mux: it sets epoll and the deadline to what it waits for, lets streams go on that waited for room, and
// ends the connection when its time has come.
func (m *Mux) settle() {
	if m.isOver {
		return
	}
	l, now := m.loop, m.loop.env.Now
	for len(m.full) > 0 && m.waiting() < muxLow && m.hasRoom() {
		m.wakeFull()
		m.flush()
	}
	if m.active > 0 {
		m.idle = 0
	} else if m.idle == 0 {
		m.idle = now
	}
	if m.ending == 0 && m.isGoing && m.active == 0 {
		m.end(nil)
	}
	if m.ending != 0 && !m.isShut && m.waiting() == 0 {
		m.isShut = true
		l.transport(m.slot, relay.Client).shut()
	}
	if m.isOver {
		return
	}
	if m.inside == 0 && m.h2.IsInside() {
		m.inside = now
	} else if !m.h2.IsInside() {
		m.inside = 0
	}
	var want uint32
	if m.reads() {
		want = unix.EPOLLIN
	}
	if m.slot.pending.waiting(relay.Client) > 0 {
		want |= unix.EPOLLOUT
	}
	w := Work{l, m.slot}
	if err := w.Await(relay.Client, want); err != nil {
		m.lost(err)
		return
	}
	if at, _ := m.next(); at < m.due {
		m.due = at
		l.deadlines.set(m.slot, at)
	}
}

// A muxDue is what a Mux waits for.
type muxDue uint8

const (
	dueNothing  muxDue = iota
	dueStalled         // the peer accepts nothing
	dueLinger          // the peer doesn't end its direction
	dueSettings        // no SETTINGS have come
	dueLife            // no answer to a PING
	dueResets          // streams may be reset again
	dueInside          // a frame or field block isn't complete
	dueIdle            // there is no stream
)

// next returns when something is due, and what.
func (m *Mux) next() (at relay.Instant, due muxDue) {
	p := m.params
	at = never
	earliest := func(since relay.Instant, d time.Duration, what muxDue) {
		if t := since.Add(d); since != 0 && t < at {
			at, due = t, what
		}
	}
	earliest(m.stalled, p.WriteTimeout, dueStalled)
	if m.ending != 0 {
		if m.waiting() == 0 {
			earliest(m.ending, muxLinger, dueLinger)
		}
		return at, due
	}
	if !m.h2.IsReady() {
		earliest(m.began, p.HeadTimeout, dueSettings)
	}
	earliest(m.pinged, p.HeadTimeout, dueLife)
	if len(m.resets.late) > 0 {
		earliest(m.resets.since, time.Second, dueResets)
	}
	earliest(m.inside, p.HeadTimeout, dueInside)
	if p.IdleTimeout > 0 {
		earliest(m.idle, p.IdleTimeout, dueIdle)
	}
	return at, due
}

// checkLife pings a peer on whose connection a stream has been opened after a long silence: one that has vanished without a word would get all
// further streams, too.
func (m *Mux) checkLife() {
	if now := m.loop.env.Now; m.pinged == 0 && now >= m.heard.Add(2*m.params.HeadTimeout) {
		m.pinged = now
		m.append(m.h2.AppendPing(m.scratch()))
	}
}

// unanswered has the connection get no further streams. Those that it has are judged by their sessions.
func (m *Mux) unanswered() {
	m.pinged = 0
	if !m.isGoing {
		m.goAway(h2.NoError, "")
		m.params.Owner.Changed(m)
	}
}

var errStalled = errors.New("the peer accepts nothing")

// Due implements Task.
func (m muxTask) Due(Work) {
	m.due = never
	if at, due := m.next(); at <= m.loop.env.Now {
		m.expire(due)
	}
	m.settle()
}

// expire handles what is due.
func (m *Mux) expire(due muxDue) {
	switch due {
	case dueStalled:
		m.lost(errStalled)
	case dueLinger:
		m.lost(nil)
	case dueSettings:
		m.Cut(h2.SettingsTimeout, "no SETTINGS")
	case dueLife:
		m.unanswered()
	case dueResets:
		m.sendResets()
	case dueInside:
		m.Cut(h2.ProtocolError, "a frame or field block that isn't complete")
	case dueIdle:
		m.goAway(h2.NoError, "")
	}
}

// Cut implements Task.
func (t muxTask) Cut(Work) {
	t.flush()
	t.lost(net.ErrClosed)
}

// Failed implements Task: the connection's own state may be wrong.
func (t muxTask) Failed(Work) { t.lost(errFailed) }

var errFailed = errors.New("an error of the gateway")

// end ends all streams. The connection is closed when the peer has read what waits for it.
func (m *Mux) end(err error) {
	if m.ending != 0 {
		return
	}
	m.ending, m.cause = m.loop.env.Now, err
	if err == nil {
		err = net.ErrClosed
	}
	m.endStreams(err)
	m.params.Owner.Changed(m)
}

// endStreams ends the streams with their connection.
func (m *Mux) endStreams(err error) {
	var all []*h2.Stream
	m.h2.Streams(func(s *h2.Stream) { all = append(all, s) })
	for _, s := range all {
		m.deliver(s, &h2.Event{Kind: h2.Reset, Stream: s}, err)
	}
}

// lost ends the connection at once.
func (m *Mux) lost(err error) {
	if m.isOver {
		return
	}
	m.end(err)
	if m.isOver {
		return
	}
	m.isOver = true
	l, s := m.loop, m.slot
	l.queued.Add(-int64(m.out.n))
	m.out.drop(l.pools, m.out.n)
	x := session{pending: &s.pending}
	l.discard(&x, relay.Client)
	l.releasePending(&x)
	Work{l, s}.Drop()
	m.params.Owner.Ended(m, m.cause)
}

// flushMuxes sends what the turn has made for HTTP/2 connections.
func (l *loop) flushMuxes() {
	if l.mux == nil {
		return
	}
	for i := 0; i < len(l.mux.dirty); i++ { // a flush may make others dirty
		m := l.mux.dirty[i]
		m.isDirty = false
		l.flushMux(m)
	}
	clear(l.mux.dirty)
	l.mux.dirty = l.mux.dirty[:0]
}

func (l *loop) flushMux(m *Mux) {
	if m.isOver {
		return
	}
	defer l.rescue(m.slot.id())
	m.flush()
	m.settle()
}
