// Package relay decides what may pass between the two sides of a session. It is sans I/O: the driver passes it the
// bytes that arrived, reports what happened to a socket, and passes the time; return values tell the driver what to do.
// It imports no net, os, sync, clock or logger, keeps no payload and allocates nothing.
//
// The one path through it:
//
//	Scan       bytes that a side sent: how many pass to the other side, how many do not, what to do there (session.go)
//	frame.go   the header's bits, and the faults that they can have
//	message.go fragmentation and limits
//	control.go ping, pong and close frames: read whole, answered or passed
//	AppendOwn  frames of the gateway's own, at a boundary where they may go (own.go)
//	closing.go the two directions' ends and the table of what follows from what
//	linger.go  the wait for what is still on its way to a side of which nothing more is expected
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
// Invariants, whatever arrives and however it is split:
//
//   - What passes is a prefix of what came, in order, without some whole control frames.
//   - A frame of the gateway's own never stands inside another frame.
//   - Each direction carries at most one close frame, and nothing after it.
//   - The codes 1005, 1006 and 1015 never go on the wire.
package relay
