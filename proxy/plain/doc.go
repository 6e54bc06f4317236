// Package plain serves HTTP requests that are not WebSocket. net/http does the work; this package makes sure that nothing passes that
// the gateway has not read itself:
//
//	server.go     net/http's server, and what it needs of the gateway
//	conn.go       a client's connection: lets one head pass at a time, each after package upgrade has read it
//	upload.go     the body of a request: how much, how fast, who broke it off
//	listener.go   hands connections to the server
//	idle.go       connections that wait for their next request
//	request.go    one request, from its head to the end of its answer
//	handler.go    passes requests on to the backends of a pool
//	transport.go  picks a backend, connects, tries another one
//	backend.go    a connection to a backend: its end, and what the head of an answer says
//	private.go    connections to backends that serve one client alone: NTLM, Negotiate
//	writer.go     counts what the client is sent
//
// A connection may be a stream of a client that speaks HTTP/2, as a connection of HTTP/1.1 that carries one request: then no other head is
// waited for, and what the client still sends after the answer is not read.
//
// It knows no handshake: a head that isn't for it goes back to the caller of Conn.Wait, together with the connection. Which requests
// are for it, whose they are, and what is noted of them is given to it once, as functions of Config.
package plain
