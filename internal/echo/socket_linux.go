package echo

import (
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
)

// socket is a connection of a loop.
type socket struct {
	conn
	fd         int // -1: closed
	slot       uint32
	generation uint32
	events     uint32 // that the poller reports
	queue      []byte // output that could not be sent; usually nil
	limit      time.Time
	isShut     bool // this side is ended, and the peer's input is discarded
	lingered   int  // how many bytes were discarded
}

func (s *socket) data() uint64 { return uint64(s.generation)<<32 | uint64(s.slot) }

// read handles one buffer of input. The poller reports further input.
func (l *loop) read(s *socket) {
	if s.events&unix.EPOLLIN == 0 {
		l.close(s) // a hang-up while reading is paused: the queue can't be sent
		return
	}
	carried := copy(l.buf, s.carry)
	n, err := epoll.Read(s.fd, l.buf[carried:])
	switch {
	case err == unix.EAGAIN:
		return
	case err != nil:
		l.close(s)
		return
	case s.isShut:
		if s.lingered += n; s.lingered > maxLingerBytes {
			l.close(s)
		}
		return
	}
	s.carry = nil
	wasHead := s.phase == phaseHead
	answer := s.receive(l.buf[:carried+n])
	if wasHead && s.phase != phaseHead {
		l.setLimit(s, 0)
	}
	l.send(s, answer)
}

// send sends at once and queues the rest.
func (l *loop) send(s *socket, answer []byte) {
	if len(answer) > 0 && len(s.queue) == 0 && (s.push == nil || s.push.boundary() == 0) {
		n, err := epoll.Write(s.fd, answer)
		if err != nil && err != unix.EAGAIN {
			l.close(s)
			return
		}
		answer = answer[n:]
	}
	s.queue = append(s.queue, answer...)
	if len(s.queue) > 0 || s.push != nil || s.phase >= phaseEnded {
		l.flush(s)
	}
}

// flush sends the queue and the stream of /push, and ends the socket if that was all. It reports whether the socket is still open.
func (l *loop) flush(s *socket) bool {
	for sent := 0; sent < pushTurn; {
		p := s.pending()
		if len(p) == 0 {
			break
		}
		n, err := epoll.Write(s.fd, p)
		if err == unix.EAGAIN {
			break
		}
		if err != nil {
			l.close(s)
			return false
		}
		s.advance(n)
		sent += n
	}
	if s.phase >= phaseEnded && len(s.pending()) == 0 && !s.isShut {
		if s.phase == phaseCut || unix.Shutdown(s.fd, unix.SHUT_WR) != nil {
			l.close(s)
			return false
		}
		s.isShut = true
		l.setLimit(s, lingerTimeout)
	}
	return l.watch(s)
}

// watch makes the poller report what the socket can do next. It reports whether the socket is still open.
func (l *loop) watch(s *socket) bool {
	var events uint32
	if len(s.queue) <= maxQueue {
		events |= unix.EPOLLIN
	}
	if len(s.queue) > 0 || s.push != nil && !s.isShut {
		events |= unix.EPOLLOUT
	}
	if events == s.events {
		return true
	}
	s.events = events
	if err := l.poller.Mod(s.fd, events, s.data()); err != nil {
		l.close(s)
		return false
	}
	return true
}

// setLimit sets the socket's time limit from now; 0 removes it.
func (l *loop) setLimit(s *socket, d time.Duration) {
	if !s.limit.IsZero() {
		l.limited--
	}
	s.limit = time.Time{}
	if d > 0 {
		s.limit = l.now.Add(d)
		l.limited++
		l.setTick()
	}
}

// close closes a socket. Later events of this turn for it have the old generation.
func (l *loop) close(s *socket) {
	l.setLimit(s, 0)
	_ = unix.Close(s.fd)
	*s = socket{fd: -1, slot: s.slot, generation: s.generation}
	l.free = append(l.free, s.slot)
}

// pending returns the bytes to send next. A pushed frame is finished before the queue is sent.
func (s *socket) pending() []byte {
	if s.push == nil {
		return s.queue
	}
	if n := s.push.boundary(); n > 0 && (len(s.queue) > 0 || s.phase >= phaseEnded) {
		p := s.push.next()
		return p[:min(n, int64(len(p)))]
	}
	if len(s.queue) == 0 && s.phase == phaseOpen {
		if !s.push.isDone() {
			return s.push.next()
		}
		s.queue = s.end(nil, 1000)
	}
	return s.queue
}

// advance removes n bytes from the start of what pending returned.
func (s *socket) advance(n int) {
	if s.push != nil && (s.push.boundary() > 0 || len(s.queue) == 0) {
		s.push.advance(n)
		return
	}
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil
	}
}
