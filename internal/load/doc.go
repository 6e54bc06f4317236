// Package load puts load on a WebSocket server or gateway and measures the result: `sluice bench`.
//
// It needs less CPU than a gateway on the same number of cores, so that it is not the bottleneck: over ws:// on Linux it runs epoll
// loops, over wss://, HTTP/2 and on other systems two goroutines per session. It is not a client library, and does not judge a result.
//
// Modes:
//
//	echo   messages are sent and must come back whole. Closed loop: -window of them are in flight on each connection. Open loop
//	       (-rate): messages are due at fixed instants, and a latency counts from the instant at which the message was due, not from
//	       the one at which it could be sent: else a server that stalls would stall its own measurement (coordinated omission)
//	push   the server streams (GET /push?size=N of package echo) and the clients read
//	idle   sessions are opened, each echoes one message, then they are held
//	storm  connect, handshake, reset, again: handshakes per second
//	soak   random sizes, fragments, pings and pauses from a seed; each byte that comes back is compared with the one that was sent
//
// The path through it: Run (run.go, open it first) resolves the URL, makes a driver open the sessions, starts them together, takes two
// snapshots of all counters at the ends of the measured time (measure.go), waits for the messages in flight, and makes the Report
// (report.go). A driver (loop_linux.go, stream.go and, for HTTP/2, http2.go) owns sockets. A session (session.go, frame.go) is the protocol without sockets. A
// traffic (echo.go, push.go, soak.go) is the messages that a mode sends and expects.
//
// Departure from RFC 6455: frames of echo, idle and push share one masking key per run, so that a client costs little. Section 5.3
// requires a fresh key per frame, to protect against scripts in browsers.
//
// It has more files than other packages since sockets, protocol and modes are separate, and sockets exist once per system.
package load
