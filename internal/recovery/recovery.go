// Package recovery keeps a panic from ending the process. Each loop, task, command, timer and goroutine of the gateway has an edge: the
// one function that calls all the rest of it. There the panic of a single session, request or turn is recovered, reported with its
// stack and ended, and everything else goes on.
//
// A nil Handler recovers nothing. Tests leave it nil, or have one that fails them: no panic hides.
package recovery

import "runtime/debug"

// A Handler is told of every panic that was recovered: the room of the code whose edge recovered it, the value of the panic, and the
// stack of the goroutine. Any goroutine may call it. It must not block, and a panic of its own is not recovered.
type Handler func(room string, cause any, stack []byte)

// Catch recovers the panic of the function that defers it:
//
//	defer h.Catch("handshake", h.abort)
//
// It tells h, and then calls end, which ends what the panic left half done; end may be nil. A panic of end is told too, and ends there.
// Without a panic Catch does nothing.
func (h Handler) Catch(room string, end func()) {
	if h == nil {
		return
	}
	if cause := recover(); cause != nil {
		h.Told(room, cause, end)
	}
}

// Told is Catch for an edge that calls recover itself; cause is what recover returned.
func (h Handler) Told(room string, cause any, end func()) {
	h(room, cause, debug.Stack())
	if end != nil {
		h.Guard(room, end)
	}
}

// Guard calls f, and reports whether it returned without a panic. A loop that has to survive calls Guard for each of its rounds.
func (h Handler) Guard(room string, f func()) (returned bool) {
	defer h.Catch(room, nil)
	f()
	return true
}
