package driver

import (
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"

	"sluice/proxy/relay"
)

// A panic in a loop ends only the session or handshake on which the loop was working: it is aborted; if that panics too, it is cut. Then
// the loop checks its own bookkeeping. If that is inconsistent, or the panic came from outside any session, the loop is retired: its
// sessions are closed with 1011 where that is possible and cut, and a new loop takes its place (loops_linux.go). Those that are frozen are left
// to Thaw and Forget.

// errBroken ends a loop's turn, and the loop: it is to be retired. The panic that caused it has been reported.
var errBroken = errors.New("the loop's own state is broken")

// rescue is deferred by what a loop does for one session or task. It ends that session or task after a panic.
func (l *loop) rescue(id uint64) {
	if l.panics == nil {
		return
	}
	switch cause := recover(); cause {
	case nil:
	case errBroken:
		panic(cause)
	default:
		l.panics(room, cause, debug.Stack())
		l.endFaulty(id)
	}
}

// endFaulty ends the session or task of an id, and makes sure that the loop can continue.
func (l *loop) endFaulty(id uint64) {
	s, isLive := l.slots.find(id)
	if isLive {
		if _, isAcceptor := l.tasks[s.index].(*acceptor); isAcceptor {
			panic(errBroken) // nothing accepts any more
		}
		isTorn := l.dropBatches()
		isEnded := l.panics.Guard(room, func() { l.abort(s, isTorn) })
		if !isEnded {
			l.dropBatches()
			isEnded = l.panics.Guard(room, func() { l.kill(s) })
		}
		if !isEnded {
			panic(errBroken)
		}
	}
	l.dropBatches()
	if !l.panics.Guard(room, l.audit) {
		panic(errBroken)
	}
}

// dropBatches empties what a panic left in the memory that sessions share, and reports for each side whether bytes were lost.
func (l *loop) dropBatches() (isTorn [2]bool) {
	isTorn = l.engine.dropBatches()
	if l.tls != nil {
		for side := range l.tls.feed {
			feed := &l.tls.feed[side]
			isTorn[side] = isTorn[side] || len(feed.out) > 0
			feed.in, feed.out = nil, feed.out[:0]
		}
	}
	return isTorn
}

// abort ends the session or task of a slot with a close, or an answer, to each side that can still receive one.
func (l *loop) abort(s slot, isTorn [2]bool) {
	switch task := l.tasks[s.index]; {
	case s.owner != nil && s.core.IsAborted():
		l.kill(s)
	case s.owner != nil:
		l.env.Config = s.config
		s.core.Abort(&l.env, isTorn)
		x := l.session(s)
		l.settle(s, &x)
	case task != nil:
		task.Failed(Work{l, s})
	default:
		Work{l, s}.Drop() // the panic came before there was a task
	}
}

// kill ends the session or task of a slot without a word, and without trusting its state.
func (l *loop) kill(s slot) {
	x := l.session(s)
	for side := relay.Client; side <= relay.Backend; side++ {
		l.discardPipe(s, side)
		l.discard(&x, side)
		if s.stream[side] != 0 {
			l.stream(s, side).cut()
			l.removeStream(s, side, noOwner)
		} else if s.core.IsLingering(side) {
			s.socket[side].close()
		} else {
			s.socket[side].cut()
		}
	}
	if s.owner == nil {
		Work{l, s}.Release()
		return
	}
	s.core.Kill()
	l.forget(s)
}

// audit panics if the loop's bookkeeping is inconsistent: each slot is free, or holds a task or a session with one deadline.
func (l *loop) audit() {
	count := uint32(len(l.slots.hots) * slabSize)
	isFree := make([]bool, count)
	for _, index := range l.slots.free {
		if index >= count || isFree[index] {
			panic(fmt.Sprintf("BUG: slot %d is free twice, or is none", index))
		}
		isFree[index] = true
	}
	for i, e := range l.deadlines.entries {
		switch {
		case e.index >= count || isFree[e.index] || int(l.slots.at(e.index).timer) != i:
			panic(fmt.Sprintf("BUG: deadline %d is not that of slot %d", i, e.index))
		case i > 0 && l.deadlines.entries[(i-1)/2].at > e.at:
			panic(fmt.Sprintf("BUG: deadline %d comes before its parent", i))
		}
	}
	if used := len(l.deadlines.entries); used+len(l.slots.free) != int(count) {
		panic(fmt.Sprintf("BUG: %d slots, of which %d are free and %d have deadlines", count, len(l.slots.free), used))
	}
	var states, streams []uint32 // of TLS, of HTTP/2
	for index, free := range isFree {
		s := l.slots.at(uint32(index))
		states, streams = append(states, s.secured[:]...), append(streams, s.stream[:]...)
		_, isTask := l.tasks[uint32(index)]
		isSession := l.slots.at(uint32(index)).owner != nil
		if isTask && isSession || free == (isTask || isSession) {
			panic(fmt.Sprintf("BUG: slot %d: free %t, a task's %t, a session's %t", index, free, isTask, isSession))
		}
	}
	for index := range l.frozen {
		if index >= count || l.slots.at(index).owner == nil {
			panic(fmt.Sprintf("BUG: slot %d is frozen without a session", index))
		}
	}
	if m := l.tls; m != nil {
		auditStates("TLS", states, m.free, len(m.secureds))
	}
	if m := l.mux; m != nil {
		auditStates("HTTP/2", streams, m.free, len(m.streams))
	}
}

// auditStates panics unless each state of so many slabs either has one user or is free. Users have 1 + the index of a state, or 0.
func auditStates(of string, used, free []uint32, slabs int) {
	all := append(slices.DeleteFunc(used, func(at uint32) bool { return at == 0 }), free...)
	slices.Sort(all)
	for i, at := range all {
		if int(at) != i+1 {
			panic(fmt.Sprintf("BUG: the state %d of %s has two users, or that before it none", at, of))
		}
	}
	if most := slabs * slabSize; len(all) != most {
		panic(fmt.Sprintf("BUG: %d states of %s are in use or free, of %d", len(all), of, most))
	}
}

// retire ends all sessions and tasks of a loop whose own state is broken.
func (l *loop) retire() {
	l.sessions.Store(math.MaxInt64 / 2) // so that no new session comes here
	l.mu.Lock()
	commands := l.commands
	l.commands, l.isClosed = nil, true
	l.mu.Unlock()
	l.rebuild()
	for _, c := range commands {
		l.panics.Guard(room, c) // sessions that were to begin among them
	}
	for index := range uint32(len(l.slots.hots) * slabSize) {
		s := l.slots.at(index)
		if s.owner == nil && l.tasks[index] == nil || l.isFrozen(s) {
			continue
		}
		id := s.id()
		l.panics.Guard(room, func() {
			if a, isAcceptor := l.tasks[index].(*acceptor); isAcceptor {
				a.stop()
			} else {
				l.abort(s, l.dropBatches())
			}
		})
		if _, isLive := l.slots.find(id); isLive {
			l.dropBatches()
			l.panics.Guard(room, func() { l.kill(s) })
		}
	}
}

// rebuild creates the bookkeeping anew from the slots.
func (l *loop) rebuild() {
	l.deadlines.entries, l.slots.free = nil, nil
	if l.tls != nil {
		l.tls.free = nil // the sessions that are to begin have states of a new slab
	}
	if l.mux != nil {
		l.mux.free = nil
	}
	for index := range uint32(len(l.slots.hots) * slabSize) {
		if s := l.slots.at(index); s.owner != nil || l.tasks[index] != nil {
			l.deadlines.add(s, never)
		} else {
			l.slots.free = append(l.slots.free, index)
		}
	}
}
