package load

import (
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
)

// client is a session with its socket.
type client struct {
	session
	fd         int // -1: none
	slot       uint32
	generation uint32
	events     uint32        // that the poller reports
	isOpening  bool          // counted in loop.opening
	isFinished bool          // counted by run.finished
	isBlocked  bool          // the socket accepts no more output
	limit      time.Duration // when to give up; 0: never
	timerAt    time.Duration // of its timer; 0: none
}

// connecting is the event of a socket that connects: it is writable once it is connected, and the request is sent then.
const connecting = unix.EPOLLOUT

func (c *client) data() uint64 { return uint64(c.generation)<<32 | uint64(c.slot) }

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
	c.fd, c.events = fd, connecting
	if err := l.poller.Add(fd, c.events, c.data()); err != nil {
		l.fail(c, now, faultf("connect", "%v", err))
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
		l.fail(c, now, c.lost(err))
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

// opened continues after the handshake. In a storm it resets the connection and starts the next one.
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

// again makes a client of a storm connect anew.
func (l *loop) again(c *client, now time.Duration) {
	if l.stage >= stageStop {
		l.live--
		return
	}
	l.connect(c, now)
}

// flush sends all that is pending. It reports whether the client still has its socket.
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
			f := c.lost(err)
			if c.events == connecting {
				f = faultf("connect", "connect to %s: %v", l.run.target.addr, err)
			}
			l.fail(c, now, f)
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

// watch makes the poller report the events that the client waits for. It reports whether the client still has its socket.
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

// fire handles a client whose timer is due: it sends, or, without a socket, connects again.
func (l *loop) fire(c *client, now time.Duration) {
	c.timerAt = 0
	if c.fd >= 0 {
		l.flush(c, now)
	} else if l.run.o.Mode == Storm {
		l.again(c, now)
	}
}

// stop ends a client's traffic. A client that is still opening is closed at once.
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

// end closes a client that has sent and received a close. RFC 6455 section 7.1.1: the server ends the connection first.
func (l *loop) end(c *client) {
	l.close(c)
	l.live--
}

// giveUp closes a client whose messages, or the server's close, have not arrived.
func (l *loop) giveUp(c *client) {
	if n := c.traffic.missing(); n > 0 {
		l.recorder.fail(faultf("lost", "session %d: %d messages never came back", l.first+int(c.slot)*l.stride, n), n)
	} else {
		l.recorder.fail(faultf("timeout", "no close from the server"), 1)
	}
	l.finish(c)
	l.end(c)
}

// fail counts a fault and closes the client. In a storm the client connects again after a pause.
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

// close closes the client's socket, with a reset unless both closes were exchanged: with a TIME-WAIT for each handshake of a storm the
// ports would run out.
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
