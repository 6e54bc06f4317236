// Package handshake is the handshake of a client's connection, from the first byte until a session is relayed or an answer ends it. It does
// no I/O and has no clock: an executor tells the Core what has happened, and the Core returns the next Step.
//
//	                  ┌─────────── ReadClient ◀────────────┐ more bytes are needed
//	Begin ──▶ ReadClient ──▶ Challenge, Plain ─────────────┘ the connection's next request
//	              │
//	              ▼ the request is admitted
//	            Pick ──▶ Dial ──▶ WriteBackend ──▶ ReadBackend ──▶ WriteClient ──▶ Relay
//	              ▲        │           │               │ ▲ │
//	              └────────┴───────────┴───────────────┘ └─┘ more bytes are needed
//	        Account: another backend is tried          │
//	                                                   ▼
//	from each step: Refuse, Drop                     Pass (an answer other than 101)
//
// Package proxy has two executors: one on an event loop, one on a goroutine. Admission, picks, attempts, retries, timeouts, the checks of the
// answer and the accounting are here, once for both. A Step that may block (Pick, Dial of a name or over TLS, Account, Challenge) needs a goroutine.
// The Core keeps its state meanwhile, so that nothing starts over.
//
//	core.go      the steps, and the client's head
//	admit.go     from the head to a route: what is refused
//	attempt.go   backends: pick, dial, answer, retry
//	outcome.go   how it ended
//	trace.go     the steps as a tracer sees them
package handshake
