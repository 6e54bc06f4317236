// Package handover is the protocol by which one process of the gateway hands its sockets and sessions to another: messages in CBOR, with
// descriptors, over a Unix socket. It transports each state as bytes; the package that owns the state defines its meaning.
//
//	old process                      new process
//	Hello, listening sockets      →
//	                              ←  Ready or Failed
//	PoolsAndKeys                  →
//	                              ←  Started
//	Sessions, their descriptors   →                       as often as there are batches
//	                              ←  Ack
//	Done                          →
//	                              ←  Bye
//	Remaining                     →                       once a second, until the old process ends
//
//	messages.go    the messages
//	encoding.go    CBOR, and its limits
//	conn_linux.go  messages and descriptors on the socket; other systems have no hand-over
//
// The two processes may be different releases. A message of an unknown kind and an unknown field are skipped; a missing field is zero. So
// the number of a field or kind never gets another meaning, and zero is always harmless or refused. A change that needs more increases Form.
// All received data is checked like data from an untrusted peer.
package handover
