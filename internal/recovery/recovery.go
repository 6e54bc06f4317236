// Package recovery keeps a panic from ending the process. Each loop, task, command, timer and goroutine of the gateway has an edge: the one
// function that calls all the rest of it. The edge recovers a panic, reports it with its stack, and ends the session, request or turn in
// which it happened. Everything else continues.
//
// A nil Handler recovers nothing. Tests leave it nil, or use one that fails the test, so that no panic stays unnoticed.
package recovery

import "runtime/debug"

// A Handler gets each recovered panic: the room whose edge recovered it, the value of the panic, and the stack of the goroutine. Any
// goroutine may call it. It must not block, and a panic of its own is not recovered.
type Handler func(room string, cause any, stack []byte)

// Catch recovers the panic of the function that defers it:
//
//	defer h.Catch("handshake", h.abort)
//
// It calls h, and then end, which ends what the panic has interrupted; end may be nil. h gets a panic of end as well, and nothing else is
// called then. Without a panic Catch does nothing.
func (h Handler) Catch(room string, end func()) {
	if h == nil {
		return
	}
	if cause := recover(); cause != nil {
		h.Told(room, cause, end)
	}
}

// Told is Catch for an edge that calls recover itself. cause is the result of recover.
func (h Handler) Told(room string, cause any, end func()) {
	h(room, cause, debug.Stack())
	if end != nil {
		h.Guard(room, end)
	}
}

// Guard calls f, and reports whether f returned without a panic. A loop that has to survive calls Guard in each iteration.
func (h Handler) Guard(room string, f func()) (returned bool) {
	defer h.Catch(room, nil)
	f()
	return true
}
