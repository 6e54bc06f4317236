// Package handshake is a client's connection from its first byte up to the relay of a session, or to an answer that ends it. It does no
// I/O and has no clock: an executor tells the Core what happened, and the Core answers with the next Step.
//
//	                  ┌─────────── ReadClient ◀────────────┐ more bytes are needed
//	Begin ──▶ ReadClient ──▶ Challenge, Plain ─────────────┘ the connection's next request
//	              │
//	              ▼ the request is admitted
//	            Pick ──▶ Dial ──▶ WriteBackend ──▶ ReadBackend ──▶ WriteClient ──▶ Relay
//	              ▲        │           │               │ ▲ │
//	              └────────┴───────────┴───────────────┘ └─┘ more bytes are needed
//	               another backend is tried            │
//	                                                   ▼
//	from each step: Refuse, Drop                     Pass (an answer other than 101)
//
// Two executors run it: one on an event loop, one on a goroutine (package proxy). Admission, picks, attempts, retries, time-outs, the checks
// of the answer and the accounting stand here, once. A Step that may block (Pick, Dial of a name or over TLS, Challenge) is for a goroutine;
// the Core waits meanwhile, and nothing starts over.
//
//	core.go      the steps, and the client's head
//	admit.go     from the head to a route: what is refused
//	attempt.go   backends: pick, dial, answer, retry
//	outcome.go   how it ended
//	trace.go     what a tracer is told
package handshake
