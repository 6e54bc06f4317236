// Package proxy is a session from accept to close. This is its path; each step is a file or a room:
//
//	accept      listener.go   a socket, a goroutine for its handshake
//	head        handshake.go  read into a pooled buffer, parsed in place        package upgrade
//	route       –             host and path → route → pool                package route
//	check       handshake.go  RFC 6455 section 4.2.1, Origin, limits            package upgrade
//	pick, dial  backend.go    a backend of the pool, connect, the client's own head lines
//	answer      backend.go    a 101 is checked and passed on; the next backend is tried where there was no answer
//	            answer.go     any other answer goes to the client whole
//	relay       session.go    the driver takes both connections               packages driver and relay
//	close       –             what the relay decided                          package relay
//	release     –             the pick is given back, one access line, metrics  package session
//
// This reads as one goroutine goes it. On Linux most handshakes go the same way on a loop, without a goroutine (quick_linux.go), and
// become ordinary ones where they leave the straight way (quickmove_linux.go); with TLS they do so from the pick on. Whoever has the
// handshake owns the connections until the driver does; from then on nothing of it is left: an idle session owns no goroutine and no
// buffer. A refusal is an error that carries the answer (upgrade.Rejection).
//
// A request that isn't WebSocket is package plain's; the connection comes back where a later one is (plain.go).
//
// reload.go puts a new configuration in the place of the one in use; socket.go is where its listeners accept. drain.go ends sessions
// and requests before a stop. Package limits counts what clients take. metrics.go counts what happens, inspect.go shows what there is,
// trace.go follows handshakes, and access.go says which lines log.go writes. rehearsal.go tries a configuration out before it is applied.
package proxy
