// Package handover is the conversation in which one process of the gateway hands its sockets and sessions to another: messages in CBOR, with
// descriptors, over a Unix socket. It carries them; what a state means is known to the room that it is of.
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
//	messages.go    what is said
//	encoding.go    CBOR, and its bounds
//	conn_linux.go  messages and descriptors on the socket; other systems have no hand-over
//
// Both ends may be of different releases. A message of an unknown kind is skipped, and so is an unknown field; a missing field is zero. So
// the number of a field or kind never gets another meaning, and zero is always harmless or refused. Form rises where that isn't enough.
// Whatever comes is checked as if a stranger had sent it.
package handover
