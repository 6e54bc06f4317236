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
	// readBytes is the size of a loop's only read buffer. A large one helps large frames and costs idle connections nothing.
	readBytes = 256 << 10
	// acceptTurn and pushTurn bound the connections, or bytes, of one socket in a turn.
	acceptTurn = 64
	pushTurn   = 1 << 20
	// tick is the resolution of the time limits: while any socket has one, all are checked at this interval.
	tick = time.Second
	// listenerData is the data of the listener's events. That of a socket is its generation, from 1 on, and its slot.
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
	// Accepted sockets inherit it, which saves one call per connection. A Unix socket has no such option.
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
	now      time.Time // of the current turn
	buf      []byte    // input, and the answer to it

	sockets []*socket // by slot; a free slot keeps its struct
	free    []uint32  // slots
	limited int       // how many sockets have a limit

	nextTick        time.Time // zero: no socket has a limit
	isAcceptStopped bool      // no descriptor is free: no connection is accepted until the next tick
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

// listen makes the poller report connections. EPOLLEXCLUSIVE wakes one loop for each.
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
			continue // a failure of that connection; accept(2) lists them
		}
		s := l.newSocket(fd)
		if err := l.poller.Add(fd, s.events, s.data()); err != nil {
			l.close(s)
		}
	}
}

// newSocket returns a socket in a free slot.
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

// tick closes sockets that are over their limit, and tries again to accept.
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

func (l *loop) setTick() {
	if l.nextTick.IsZero() {
		l.nextTick = l.now.Add(tick)
	}
}

// closeAll closes all sockets, with a 1001 where a frame can be sent at once.
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
