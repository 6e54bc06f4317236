// Package proxy is a session from accept to close. This is its path; each step is a file or a room:
//
//	accept      socket.go               a loop, or a goroutine, accepts
//	            executor_goroutine.go   PROXY header, TLS
//	head        –                       read into a pooled buffer, parsed in place        packages handshake and upgrade
//	route       –                       host and path → route → pool                      package route
//	check       admission.go            RFC 6455 section 4.2.1, Origin, limits            packages handshake and limits
//	pick, dial  –                       a backend of the pool, connect, the client's own head lines    packages handshake and reach
//	answer      –                       a 101 is checked and passed on; the next backend is tried where there was no answer
//	            executor_pass.go        any other answer goes to the client whole
//	relay       session.go              the driver takes both connections                 packages driver and relay
//	close       –                       what the relay decided                            package relay
//	release     –                       the pick is given back, one access line, metrics          package session
//
// A connection (connection.go) is a client's until the driver owns it. Its handshake is a handshake.Core, which does no I/O: an executor
// takes the steps that it names. On Linux that is an event loop (executor_loop_linux.go), where a handshake costs no goroutine; what may
// block there is lent to a goroutine for the time of a step. A goroutine (executor_goroutine.go) does what comes before the head (a PROXY
// header, TLS) and what lasts (plain requests, an answer other than 101), and all of it elsewhere. executor_move_linux.go is how a
// connection moves between the two. From the relay on nothing of the handshake is left: an idle session owns no goroutine and no buffer.
//
// A request that isn't WebSocket is package plain's; the connection comes back where a later one is (plain.go).
//
// reload.go puts a new configuration in the place of the one in use; socket.go is where its listeners accept. drain.go ends sessions
// and requests before a stop. Package limits counts what clients take. metrics.go counts what happens, inspect.go shows what there is,
// and access.go says which lines log.go writes. rehearsal.go tries a configuration out before it is applied.
package proxy
