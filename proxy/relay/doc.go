// Package relay decides what may pass between the two sides of a session. It does no I/O: the driver passes it the
// bytes that arrived, reports what happened to a socket, and passes the time; return values tell the driver what to do.
// It imports no net, os, sync, clock or logger, keeps no payload and allocates nothing.
//
// The one path through it:
//
//	Scan       bytes that a side sent: how many pass to the other side, how many do not, what to do there (session.go)
//	frame.go   the header's bits, and their possible errors
//	message.go fragmentation and limits
//	control.go ping, pong and close frames: read whole, answered or passed
//	AppendOwn  the gateway's own frames, at a boundary where they are allowed (own.go)
//	closing.go the ends of the two directions, and the table of transitions
//	linger.go  the wait for data in flight to a side that sends no more data
//	keepalive.go, timer.go  clocks: ping and pong, idle, stalled writes and frames, the closing handshake
//	TakeActs   what the driver must do to the sockets now (acts.go)
//
// A driver (package driver) owns the sockets, the bytes that wait and the timer, and calls in here from one goroutine
// at a time: proxy/driver/engine.go and proxy/driver/scan.go show how. The tests of what passes are in that package, too
// (proxy/driver/script_*_test.go): they run on the engine that all drivers share. The rules are those of RFC 6455; where the RFC
// leaves a choice, the comment at the rule gives the reason.
//
// The files stay in one package because each rule may end the session, and the end depends on the state of both directions.
//
// Invariants, for any input and any split of it:
//
//   - What passes is a prefix of what came, in order, without some whole control frames.
//   - The gateway never puts a frame of its own inside another frame.
//   - Each direction carries at most one close frame, and nothing after it.
//   - The codes 1005, 1006 and 1015 are never sent.
package relay
