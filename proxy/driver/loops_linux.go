package driver

import (
	"context"
	"crypto/tls"
	"iter"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sluice/internal/epoll"
	"sluice/internal/recovery"
	"sluice/proxy/relay"
)

// Loops is the driver of Linux: a few epoll loops, each of which owns its sessions for their whole lives, or until they move to another
// process (loop_move_linux.go). A connection that is neither a socket nor crypto/tls above a Switch and a socket goes to a goroutine driver.
type Loops struct {
	panics recovery.Handler
	clock  clock
	pools  *pools
	loops  []atomic.Pointer[loop] // replaced under mu
	other  *Goroutine

	mu sync.Mutex

	// Guarded by mu.
	accepting  map[*accepting]struct{}
	pastTotals relay.Totals // of loops that were retired
	pastTurns  Turns
	isClosed   bool
}

// NewLoops starts the loops; workers is at least 1.
func NewLoops(workers int, panics recovery.Handler) (*Loops, error) {
	return newLoops(workers, panics, newClock())
}

func newLoops(workers int, panics recovery.Handler, c clock) (*Loops, error) {
	d := &Loops{
		panics: panics, clock: c, pools: newPools(), other: NewGoroutine(panics), accepting: map[*accepting]struct{}{},
	}
	var loops []*loop
	for range workers {
		l, err := newLoop(d.clock, d.pools, panics)
		if err != nil {
			for _, l := range loops {
				l.poller.Close()
			}
			return nil, err
		}
		loops = append(loops, l)
	}
	d.loops = make([]atomic.Pointer[loop], workers)
	for i, l := range loops {
		d.loops[i].Store(l)
		go d.runLoop(i, l)
	}
	return d, nil
}

// runLoop runs a loop, and replaces it whenever it is broken.
func (d *Loops) runLoop(i int, l *loop) {
	for l.run() {
		if l = d.replace(i, l); l == nil {
			return
		}
	}
}

// replace returns a new loop in the place of one that was retired; nil: the driver is closed. While it can't create one, all new sessions
// go to the other loops.
func (d *Loops) replace(i int, retired *loop) *loop {
	for {
		l, err := d.tryReplace(i, retired)
		if err == nil {
			return l
		}
		time.Sleep(maxBackoff)
	}
}

func (d *Loops) tryReplace(i int, retired *loop) (*loop, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isClosed {
		return nil, nil
	}
	l, err := newLoop(d.clock, d.pools, d.panics)
	if err != nil {
		return nil, err
	}
	d.pastTotals.Add(&retired.totals)
	d.pastTurns.Add(&retired.turns)
	d.loops[i].Store(l)
	for a := range d.accepting {
		a.acceptors = slices.DeleteFunc(a.acceptors, func(one *acceptor) bool { return one.loop == retired })
		if err := a.join(l); err != nil {
			a.failed(err) // the other loops still accept
		}
	}
	return l, nil
}

// Relay implements Driver.
func (d *Loops) Relay(p Params, client, backend net.Conn) {
	conns := [2]net.Conn{client, backend}
	if !isSocket(below(client)) || !isSocket(below(backend)) {
		d.other.Relay(p, client, backend)
		return
	}
	fds, err := dupBoth(conns)
	if err != nil {
		// Without a spare descriptor the session stays with package net, as it is: its client has been promised one.
		d.other.Relay(p, client, backend)
		return
	}
	var secured [2]*tls.Conn
	for side, conn := range conns {
		_ = below(conn).Close()
		if t, isTLS := conn.(*tls.Conn); isTLS {
			secured[side] = t
			switchBelow(t).conn = nil
		}
	}
	l := d.least()
	p.Handle.controller = l
	l.adopt(p, fds, secured)
}

// dupBoth duplicates the descriptors of two connections. After an error there are no duplicates.
func dupBoth(conns [2]net.Conn) (fds [2]int, err error) {
	for side, conn := range conns {
		if fds[side], err = epoll.Dup(below(conn).(syscall.Conn)); err != nil {
			if side > 0 {
				epoll.Close(fds[0])
			}
			return fds, err
		}
	}
	return fds, nil
}

// below returns the connection that a loop would take the socket from.
func below(conn net.Conn) net.Conn {
	if t, isTLS := conn.(*tls.Conn); isTLS {
		if s := switchBelow(t); s != nil {
			return s.conn
		}
	}
	return conn
}

// all goes through the loops.
func (d *Loops) all() iter.Seq[*loop] {
	return func(yield func(*loop) bool) {
		for i := range d.loops {
			if !yield(d.loops[i].Load()) {
				return
			}
		}
	}
}

// least returns the loop with the fewest sessions.
func (d *Loops) least() *loop {
	var least *loop
	for l := range d.all() {
		if least == nil || l.sessions.Load() < least.sessions.Load() {
			least = l
		}
	}
	return least
}

// isSocket reports whether a connection is a stream socket without a layer above.
func isSocket(conn net.Conn) bool {
	switch conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}

// Totals implements Driver.
func (d *Loops) Totals() relay.Totals {
	d.mu.Lock()
	defer d.mu.Unlock()
	sum := d.other.Totals()
	sum.Add(&d.pastTotals)
	for l := range d.all() {
		l.do(func() { sum.Add(&l.totals) })
	}
	return sum
}

// QueuedBytes implements Driver.
func (d *Loops) QueuedBytes() int64 {
	n := d.other.QueuedBytes()
	for l := range d.all() {
		n += l.queued.Load()
	}
	return n
}

// QueueMemory implements Driver.
func (d *Loops) QueueMemory() int64 { return d.pools.allocated.Load() + d.other.QueueMemory() }

// Close implements Driver.
func (d *Loops) Close(ctx context.Context) error {
	d.mu.Lock()
	d.isClosed = true
	d.mu.Unlock()
	for l := range d.all() {
		l.stop()
		<-l.ended // soon: a turn never blocks
	}
	return d.other.Close(ctx)
}
