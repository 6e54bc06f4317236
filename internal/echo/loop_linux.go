package echo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sluice/internal/epoll"
)

const (
	// readBytes is the one read buffer of a loop; a large one pays for large frames and costs idle connections nothing.
	readBytes = 256 << 10
	// acceptTurn and pushTurn bound what one socket gets in a turn.
	acceptTurn = 64
	pushTurn   = 1 << 20
	// tick is how exactly the time limits are kept: to a second, by a look at all sockets while any has one.
	tick = time.Second
	// listenerData is the listener's; a socket's is its generation and slot, and generations start at 1.
	listenerData = 0
)

// serve runs loops for a plain socket, goroutines for anything else (TLS, a net.Pipe).
func (s *server) serve(ctx context.Context, ln net.Listener, loops int) error {
	c, ok := ln.(syscall.Conn)
	if !ok {
		return s.serveConns(ctx, ln)
	}
	if loops <= 0 {
		loops = runtime.GOMAXPROCS(0)
	}
	fd, err := epoll.Dup(c)
	if err != nil {
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	}
	defer unix.Close(fd)
	// Accepted sockets inherit it, which saves a call each. A Unix socket has no such option.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, loops)
	var wg sync.WaitGroup
	for i := range loops {
		wg.Go(func() {
			defer cancel()
			errs[i] = s.runLoop(ctx, fd)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// loop serves its share of the connections in one goroutine, which owns all of it.
type loop struct {
	server   *server
	poller   *epoll.Poller
	listener int
	now      time.Time // of the present turn
	buf      []byte    // what is read, and the answer to it

	sockets []*socket // by slot; a free slot keeps its struct
	free    []uint32  // slots
	limited int       // how many sockets have a limit

	nextTick        time.Time // zero: nothing to look at
	isAcceptStopped bool      // we ran out of descriptors: nobody is accepted until the next tick
}

// socket is a connection of a loop.
type socket struct {
	conn
	fd         int // -1: closed
	slot       uint32
	generation uint32
	events     uint32 // what the poller reports
	queue      []byte // what could not be sent; usually nil
	limit      time.Time
	isShut     bool // our side is ended, the peer's input is discarded
	lingered   int  // how much of it was
}

func (s *server) runLoop(ctx context.Context, listener int) error {
	poller, err := epoll.New()
	if err != nil {
		return err
	}
	defer poller.Close()
	defer context.AfterFunc(ctx, poller.Wake)()
	l := &loop{server: s, poller: poller, listener: listener, buf: make([]byte, readBytes)}
	if err := l.listen(); err != nil {
		return err
	}
	defer l.closeAll()
	for ctx.Err() == nil {
		events, err := poller.Wait(l.nextTick)
		if err != nil {
			return err
		}
		l.now = time.Now()
		for i := range events {
			l.serve(&events[i])
		}
		if !l.nextTick.IsZero() && !l.now.Before(l.nextTick) {
			if err := l.tick(); err != nil {
				return err
			}
		}
	}
	return nil
}

// listen has the poller report connections; EPOLLEXCLUSIVE wakes one loop for each.
func (l *loop) listen() error {
	if err := l.poller.Add(l.listener, unix.EPOLLIN|unix.EPOLLEXCLUSIVE, listenerData); err != nil {
		return fmt.Errorf("watch the listener: %w", err)
	}
	return nil
}

func (l *loop) serve(e *epoll.Event) {
	if e.Data() == listenerData {
		l.accept()
		return
	}
	s := l.sockets[uint32(e.Data())]
	if s.fd < 0 || s.generation != uint32(e.Data()>>32) {
		return // closed earlier in this turn
	}
	if e.Events&unix.EPOLLOUT != 0 && !l.flush(s) {
		return
	}
	if e.Events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		l.read(s)
	}
}

func (l *loop) accept() {
	for range acceptTurn {
		fd, _, err := epoll.Accept(l.listener)
		switch {
		case err == unix.EAGAIN:
			return
		case err == unix.EMFILE || err == unix.ENFILE || err == unix.ENOMEM || err == unix.ENOBUFS:
			_ = l.poller.Del(l.listener)
			l.isAcceptStopped = true
			l.setTick()
			return
		case err != nil:
			continue // that connection's failure: accept(2) has a list
		}
		s := l.newSocket(fd)
		if err := l.poller.Add(fd, s.events, s.data()); err != nil {
			l.close(s)
		}
	}
}

// newSocket returns a socket in a free slot, with all but its slot new.
func (l *loop) newSocket(fd int) *socket {
	if len(l.free) == 0 {
		l.free = append(l.free, uint32(len(l.sockets)))
		l.sockets = append(l.sockets, new(socket))
	}
	slot := l.free[len(l.free)-1]
	l.free = l.free[:len(l.free)-1]
	s := l.sockets[slot]
	*s = socket{conn: conn{server: l.server}, fd: fd, slot: slot, generation: s.generation + 1, events: unix.EPOLLIN}
	l.setLimit(s, headTimeout)
	return s
}

func (s *socket) data() uint64 { return uint64(s.generation)<<32 | uint64(s.slot) }

// read takes one buffer of input; the poller reports what is left.
func (l *loop) read(s *socket) {
	if s.events&unix.EPOLLIN == 0 {
		l.close(s) // a hang-up while reading is paused: nobody will take what waits
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

// send tries at once and queues the rest.
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

// flush sends what waits and settles what happens next. It reports whether the socket is still open.
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

// pending returns what is to be sent next: a pushed frame is finished before the queue gets its turn.
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

// advance takes n bytes off what pending returned.
func (s *socket) advance(n int) {
	if s.push != nil && (s.push.boundary() > 0 || len(s.queue) == 0) {
		s.push.advance(n)
		return
	}
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil
	}
}

// watch has the poller report what the socket can do next. It reports whether the socket is still open.
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

// setLimit gives the socket so long from now; 0 takes the limit off.
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

func (l *loop) setTick() {
	if l.nextTick.IsZero() {
		l.nextTick = l.now.Add(tick)
	}
}

// tick closes what is over its limit and tries again to accept.
func (l *loop) tick() error {
	l.nextTick = time.Time{}
	for _, s := range l.sockets {
		if s.fd >= 0 && !s.limit.IsZero() && s.limit.Before(l.now) {
			l.close(s)
		}
	}
	if l.limited > 0 {
		l.setTick()
	}
	if !l.isAcceptStopped {
		return nil
	}
	l.isAcceptStopped = false
	return l.listen()
}

// close closes a socket. Events of this turn that are still to come for it have the old generation.
func (l *loop) close(s *socket) {
	l.setLimit(s, 0)
	_ = unix.Close(s.fd)
	*s = socket{fd: -1, slot: s.slot, generation: s.generation}
	l.free = append(l.free, s.slot)
}

// closeAll ends the loop: peers that can be told so are.
func (l *loop) closeAll() {
	_ = l.poller.Del(l.listener)
	for _, s := range l.sockets {
		if s.fd < 0 {
			continue
		}
		if s.phase == phaseOpen && !s.inFrame && len(s.queue) == 0 && (s.push == nil || s.push.boundary() == 0) {
			_, _ = epoll.Write(s.fd, appendClose(nil, 1001))
		}
		l.close(s)
	}
}
