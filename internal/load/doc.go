// Package load puts load on a WebSocket server or gateway and measures what comes of it: `sluice bench`.
//
// It is light enough to be no bottleneck before a gateway on as many cores: over ws:// on Linux epoll loops without a goroutine a
// connection, over wss:// and elsewhere two goroutines a connection.
//
// Modes:
//
//	echo   messages go out and must come back whole. Closed loop: -window of them on their way on each connection. Open loop
//	       (-rate): messages are due at fixed instants, and a latency counts from the instant at which the message was due, not from
//	       the one at which it could be sent: else a server that stalls would stall its own measurement (coordinated omission)
//	push   the server streams (GET /push?size=N of package echo) and we read
//	idle   sessions are opened, each echoes one message, then they are held
//	storm  connect, shake hands, reset, again: handshakes a second
//	soak   random sizes, fragments, pings and pauses from a seed; each byte that comes back is compared with what was sent
//
// The path through it: Run (run.go) resolves the URL, has a driver open the sessions, lets them begin together, takes two snapshots
// of all counters at the ends of the measured time, lets what is on its way arrive, and makes the Report. A driver (loop_linux.go,
// stream.go) owns sockets; a session (session.go) is the protocol without them; a traffic is what a mode sends and expects.
//
// Departures from RFC 6455: frames of echo, idle and push share one masking key a run (section 5.3 wants a fresh one a frame, against
// scripts in browsers), so that a client costs little.
package load
