// Package driver moves a session's bytes: it owns the two connections after the handshake, the buffers, the queues and the
// timers, and asks package relay what may pass. It knows no routes, no backends and no HTTP.
//
// There are two drivers behind one interface (driver.go), and one suite tests both:
//
//	Loop       epoll loops, Linux; an idle session owns no buffer, no goroutine and no timer (loop.go, flow.go, slab.go, heap.go)
//	Goroutine  a pair of goroutines a session, for any net.Conn on any OS (goroutine.go, pair.go, port.go)
//
// A crypto/tls connection above a Switch (switch.go) lives on a loop, too: tls_linux.go is between the sockets, which carry records,
// and the rest, which sees plaintext.
//
// What they share:
//
//	wire.go    bytes that arrived → Scan → what goes to which side, frames of the gateway's own among it
//	queue.go   bytes that wait for a side, in chunks from a pool
//
// The loops also do two things beside: pipe.go moves the payload of large frames by splice(2), and work.go lets a handshake wait on a
// loop for its sockets, in the slot that becomes the session's; take.go is for one that began on a goroutine.
//
// Reading of a side stops while the other side's queue is over highMark and goes on under lowMark, and stops while pongs to the
// side itself wait; as a read is never larger than readBytes, a queue never holds more than MaxQueued.
package driver
