// Package proxy runs a session from accept to close. This is its path; each step is a file or a room:
//
//	accept      socket.go               a loop, or a goroutine, accepts
//	            executor_goroutine.go   PROXY header, TLS
//	            mux_linux.go            HTTP/2: a connection has many streams
//	head        –                       read into a pooled buffer, parsed in place        packages handshake and upgrade
//	route       –                       conditions → route → pool                         package route
//	check       admission.go            RFC 6455 section 4.2.1, Origin, limits            packages handshake and limits
//	pick, dial  –                       a backend of the pool, connect, the client's own head lines    packages handshake and reach
//	answer      –                       a 101 is checked and passed on; the next backend is tried if there was no answer
//	            executor_pass.go        any other answer goes to the client whole
//	relay       session.go              the driver takes both connections                 packages driver and relay
//	close       –                       what the relay decided                            package relay
//	release     –                       the pick is released, one access line, metrics            package session
//
// A connection (connection.go) represents a client until the driver owns it. Its handshake is a handshake.Core, which does no I/O: an executor
// executes the steps that the Core returns. On Linux the executor is an event loop (executor_loop_linux.go), where a handshake needs no
// goroutine; a goroutine executes a step that may block. A goroutine (executor_goroutine.go) also executes what comes before the head (a PROXY
// header, TLS) and what may take long (plain requests, an answer other than 101). On other systems it executes everything.
// executor_move_linux.go moves a connection from one executor to the other.
//
// An HTTP/2 stream has a handshake like a connection (executor_stream_linux.go): its fields become the head of an HTTP/1.1 request.
// stream_conn_linux.go makes the stream a net.Conn for a goroutine. If the backends of a pool speak HTTP/2, the backend's side is a stream, too
// (executor_backend_linux.go), on one of the connections in backendconns_linux.go.
//
// When the relay starts, the handshake releases all that it held: an idle session owns no goroutine and no buffer.
//
// Package plain serves the requests that are not WebSocket. If a later request of the connection is WebSocket, the connection comes back
// (plain.go).
//
// reload.go replaces the configuration in use by a new one, and assigns sockets (socket.go) to its listeners. drain.go ends sessions and
// requests before a stop. handover.go and handover_linux.go hand sockets, pools and live sessions over to another process, and take them over
// from one. Package limits counts the places that clients occupy, and scarcity.go handles their end. metrics.go counts events, inspect.go
// shows the current state, and access.go decides which lines log.go writes. rehearsal.go tries a configuration out before it is applied.
//
// The package has more files than others for two reasons: all of them use the Proxy's listeners, routes and pools, which a reload replaces
// together, and there is one executor per driver, and some executors per system. Code that needs none of that is in a separate package.
package proxy
