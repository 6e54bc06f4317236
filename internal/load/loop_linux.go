package load

import (
	"errors"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
)

const (
	// readBytes is the one read buffer of a loop.
	readBytes = 256 << 10
	// sweepPause is how exactly limits of sessions are kept.
	sweepPause = time.Second
)

// newDriver returns loops for ws, goroutines for wss.
func newDriver(r *run) (driver, error) {
	if r.target.tls != nil {
		return newStreams(r), nil
	}
	count := r.o.Loops
	if count == 0 {
		count = runtime.GOMAXPROCS(0)
	}
	d := loops{run: r}
	for i := range min(count, r.o.Connections) {
		poller, err := epoll.New()
		if err != nil {
			for _, l := range d.loops {
				l.poller.Close()
			}
			return nil, err
		}
		rec := newRecorder()
		r.recorders = append(r.recorders, rec)
		d.loops = append(d.loops, &loop{run: r, recorder: rec, poller: poller, buf: make([]byte, readBytes), first: i})
	}
	for _, l := range d.loops {
		l.stride = len(d.loops)
		d.running.Go(func() {
			defer l.poller.Close()
			l.err = l.serve()
		})
	}
	return &d, nil
}

// loops is the driver of epoll loops.
type loops struct {
	run     *run
	loops   []*loop
	asked   int // sessions
	running sync.WaitGroup
}

func (d *loops) open(count int) {
	d.asked += count
	for _, l := range d.loops {
		// Session i is loop i%stride's.
		l.target.Store(int64((d.asked - l.first + l.stride - 1) / l.stride))
		l.poller.Wake()
	}
}

func (d *loops) enter() {
	for _, l := range d.loops {
		l.poller.Wake()
	}
}

func (d *loops) wait() error {
	d.running.Wait()
	var errs []error
	for _, l := range d.loops {
		errs = append(errs, l.err)
	}
	return errors.Join(errs...)
}

// loop drives its share of the sessions in one goroutine, which owns all of it but target.
type loop struct {
	run           *run
	recorder      *recorder
	poller        *epoll.Poller
	first, stride int   // the numbers of its sessions: first, first+stride, …
	err           error // of serve, once that has returned

	target atomic.Int64 // sessions that are to be opened

	stage   stage // the last one that was entered
	clients []*client
	opening int // clients that are connecting or shaking hands
	live    int // clients with a socket, or, in a storm, that will get one again
	timers  timers
	sweepAt time.Duration
	source  source
	buf     []byte
}

// client is a session with its socket.
type client struct {
	session
	fd         int // -1: none
	slot       uint32
	generation uint32
	events     uint32        // what the poller reports
	isOpening  bool          // counted in loop.opening
	isFinished bool          // counted by run.finished
	isBlocked  bool          // the socket takes no more
	limit      time.Duration // when to give up; 0: never
	timerAt    time.Duration // of its timer; 0: none
}

func (c *client) data() uint64 { return uint64(c.generation)<<32 | uint64(c.slot) }

func (l *loop) serve() error {
	for l.stage < stageStop || l.live > 0 {
		events, err := l.poller.Wait(l.deadline())
		if err != nil {
			return err
		}
		l.turn(events)
	}
	return nil
}

// deadline is when the loop has something to do that no event tells of.
func (l *loop) deadline() time.Time {
	at := l.sweepAt
	if len(l.timers) > 0 {
		at = min(at, l.timers[0].at)
	}
	return l.run.startedAt.Add(at)
}

func (l *loop) turn(events []epoll.Event) {
	l.recorder.mu.Lock()
	defer l.recorder.mu.Unlock()
	for i := range events {
		e := &events[i]
		if c := l.clients[uint32(e.Data())]; c.fd >= 0 && c.generation == uint32(e.Data()>>32) {
			l.handle(c, e.Events)
		}
	}
	now := l.run.now()
	for len(l.timers) > 0 && l.timers[0].at <= now {
		l.fire(l.clients[l.timers.pop().slot], now)
	}
	if s := l.run.current(); s > l.stage {
		l.enter(s, now)
	}
	for l.stage < stageStop && (l.opening < maxOpening || l.run.o.Mode == Storm) && int64(len(l.clients)) < l.target.Load() {
		l.add(now)
	}
	if now >= l.sweepAt {
		l.sweep(now)
	}
}

func (l *loop) handle(c *client, events uint32) {
	if events&unix.EPOLLOUT != 0 {
		c.isBlocked = false
		if !l.flush(c, l.run.now()) {
			return
		}
	}
	if events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		l.read(c)
	}
}

// add makes the next client.
func (l *loop) add(now time.Duration) {
	c := &client{fd: -1, slot: uint32(len(l.clients))}
	l.clients = append(l.clients, c)
	l.live++
	l.connect(c, now)
}

// connect gives a client a new socket and session.
func (l *loop) connect(c *client, now time.Duration) {
	if l.run.o.Mode == Storm && l.run.tickets.Add(-1) < 0 {
		l.finish(c)
		l.live--
		return
	}
	id := l.first + int(c.slot)*l.stride
	c.session = newSession(l.run.target, l.run.newTraffic(l.recorder, id), l.recorder, now)
	c.generation++
	c.isBlocked, c.limit = false, now+openLimit
	c.isOpening = true
	l.opening++
	fd, err := l.source.dial(l.run.target.addr)
	if err != nil {
		l.fail(c, now, faultf("connect", "%v", err))
		return
	}
	// Writable is connected: the request goes then.
	c.fd, c.events = fd, unix.EPOLLOUT
	if err := l.poller.Add(fd, c.events, c.data()); err != nil {
		l.fail(c, now, faultf("connect", "%v", err))
	}
}

func (l *loop) read(c *client) {
	carried := copy(l.buf, c.carry)
	n, err := epoll.Read(c.fd, l.buf[carried:])
	now := l.run.now()
	switch {
	case err == unix.EAGAIN:
		return
	case err != nil && c.state == stateOver:
		l.end(c)
		return
	case err != nil:
		l.fail(c, now, lost(err, &c.session))
		return
	}
	if f := c.receive(now, l.buf[:carried+n]); f != nil {
		l.fail(c, now, f)
		return
	}
	if c.isOpening && c.state != stateHead {
		l.opened(c, now)
	}
	if c.fd >= 0 {
		l.flush(c, now)
	}
}

// opened goes on once the handshake is made: a storm has all it wants.
func (l *loop) opened(c *client, now time.Duration) {
	l.endOpening(c)
	c.limit = 0
	if l.run.o.Mode == Storm {
		l.close(c)
		l.again(c, now)
		return
	}
	if l.stage >= stageBegin {
		c.traffic.begin(now)
	}
}

// again has a storm's client connect anew.
func (l *loop) again(c *client, now time.Duration) {
	if l.stage >= stageStop {
		l.live--
		return
	}
	l.connect(c, now)
}

// flush sends what there is to send. It reports whether the client still has its socket.
func (l *loop) flush(c *client, now time.Duration) bool {
	if l.stage >= stageStop && c.state == stateOpen && c.traffic.isDone() {
		c.close()
		c.limit = now + closeLimit
	}
	for !c.isBlocked {
		p := c.pending(now)
		if len(p) == 0 {
			break
		}
		n, err := epoll.Write(c.fd, p)
		if err != nil && err != unix.EAGAIN {
			l.fail(c, now, lost(err, &c.session))
			return false
		}
		c.advance(now, n)
		c.isBlocked = n < len(p)
	}
	if c.state == stateOpen && c.traffic.isDone() {
		l.finish(c)
	}
	if c.state == stateOpen && !c.isBlocked {
		if at := c.traffic.due(); at > 0 && (c.timerAt == 0 || at < c.timerAt) {
			c.timerAt = at
			l.timers.push(timer{at, c.slot})
		}
	}
	return l.watch(c, now)
}

// watch has the poller report what the client waits for.
func (l *loop) watch(c *client, now time.Duration) bool {
	events := uint32(unix.EPOLLIN)
	if c.isBlocked {
		events |= unix.EPOLLOUT
	}
	if events == c.events {
		return true
	}
	c.events = events
	if err := l.poller.Mod(c.fd, events, c.data()); err != nil {
		l.fail(c, now, faultf("connect", "%v", err))
		return false
	}
	return true
}

// fire looks at a client whose timer is due: it has something to send, or, without a socket, connects again.
func (l *loop) fire(c *client, now time.Duration) {
	c.timerAt = 0
	if c.fd >= 0 {
		l.flush(c, now)
	} else if l.run.o.Mode == Storm {
		l.again(c, now)
	}
}

// enter tells all clients of a new stage.
func (l *loop) enter(s stage, now time.Duration) {
	from := l.stage
	l.stage = s
	for _, c := range l.clients {
		if c.fd < 0 {
			continue
		}
		if from < stageBegin && c.traffic != nil && c.state != stateHead {
			c.traffic.begin(now)
		}
		if s >= stageStop {
			l.stop(c, now)
		}
		if c.fd >= 0 {
			l.flush(c, now)
		}
	}
}

// stop ends a client's traffic; one that is still opening is not waited for.
func (l *loop) stop(c *client, now time.Duration) {
	if c.state == stateHead {
		l.endOpening(c)
		l.end(c)
		return
	}
	c.traffic.stop(now)
	if l.stage == stageEnd && c.state == stateOver {
		l.end(c)
	} else if l.stage == stageEnd {
		l.giveUp(c)
	}
}

// end closes a client on which both closes are there. RFC 6455 section 7.1.1: the server ends the connection first.
func (l *loop) end(c *client) {
	l.close(c)
	l.live--
}

// giveUp closes a client on which messages are missing, or the server's close.
func (l *loop) giveUp(c *client) {
	if n := c.traffic.missing(); n > 0 {
		l.recorder.fail(faultf("lost", "session %d: %d messages never came back", l.first+int(c.slot)*l.stride, n), n)
	} else {
		l.recorder.fail(faultf("timeout", "no close from the server"), 1)
	}
	l.finish(c)
	l.end(c)
}

// sweep ends clients that are over their limit.
func (l *loop) sweep(now time.Duration) {
	l.sweepAt = now + sweepPause
	for _, c := range l.clients {
		if c.fd < 0 || c.limit == 0 || now < c.limit {
			continue
		}
		switch c.state {
		case stateHead:
			l.fail(c, now, faultf("timeout", "no answer to the handshake in %v", openLimit))
		case stateClosing:
			l.fail(c, now, faultf("timeout", "no close from the server in %v", closeLimit))
		case stateOver:
			l.end(c)
		default:
			panic("BUG: an open session has a limit")
		}
	}
}

// fail counts a fault and drops the client, in a storm for a pause only.
func (l *loop) fail(c *client, now time.Duration, f *fault) {
	l.recorder.fail(f, 1)
	l.endOpening(c)
	l.close(c)
	if l.run.o.Mode == Storm && l.stage < stageStop {
		c.timerAt = now + retryPause
		l.timers.push(timer{c.timerAt, c.slot})
		return
	}
	l.finish(c)
	l.live--
}

func (l *loop) endOpening(c *client) {
	if !c.isOpening {
		return
	}
	c.isOpening = false
	l.opening--
	if l.run.o.Mode != Storm {
		l.run.opened()
	}
}

func (l *loop) finish(c *client) {
	if !c.isFinished {
		c.isFinished = true
		l.run.finished()
	}
}

// close closes the client's socket, by a reset where the closes are not there: with a time-wait for each handshake of a storm we
// would run out of ports.
func (l *loop) close(c *client) {
	if c.fd < 0 {
		return
	}
	if c.state != stateOver {
		_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	_ = unix.Close(c.fd)
	c.fd = -1
}

// lost is the fault of a connection that ends by itself.
func lost(err error, s *session) *fault {
	switch {
	case err == io.EOF && s.state == stateHead:
		return faultf("handshake", "the server ends the connection without an answer")
	case err == io.EOF:
		return faultf("eof", "the server ends the connection without a close")
	default:
		return faultf("reset", "%v", err)
	}
}
