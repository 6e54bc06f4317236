// Package driver moves a session's bytes. It owns the two connections after the handshake, the buffers, the queues and the timers, and
// asks package relay what may pass. It knows no routes, no backends and no HTTP.
//
// Open engine.go first: it is the part that all drivers share, and the path of the bytes. A read is given to receive, which asks Scan
// what passes (scan.go) and collects it in a batch for each side. settle sends the batches, queues what a side doesn't accept
// (pending.go, queue.go), and does what the core asks for, until nothing is left to do.
//
// There are two drivers with one interface (driver.go), and one suite tests both:
//
//	Loops      epoll loops, Linux. An idle session owns no buffer, no goroutine and no timer of the runtime.
//	Goroutine  two goroutines for each session, for any net.Conn on any OS: goroutine.go, goroutine_session.go, goroutine_conn.go
//
// A third driver, scripted in script_session_test.go, has transports in memory and a clock that the test sets. The scripts and the model
// of package relay's rules run on it, and so on the same engine.
//
// Each side of a session is a transport (engine.go). What differs between the drivers is how a transport waits:
//
//	plainSocket    a socket of a loop, which never blocks                       loop_socket_linux.go
//	secureSocket   TLS above a socket of a loop                                 loop_secure_linux.go
//	               by package record, for sessions over TLS 1.3                 loop_records_linux.go
//	               by crypto/tls, for the rest; switch.go is between            loop_tls_linux.go
//	stream         a stream of an HTTP/2 connection, a Mux                      mux_stream_linux.go
//	goroutineConn  any net.Conn; a goroutine blocks in it                        goroutine_conn.go
//
// The files of the loops:
//
//	loops_linux.go            the driver: it spreads sessions over its loops, and replaces a loop that is broken
//	loop_linux.go             one loop: its turns, its commands, and how each handling of a session ends
//	loop_flow_linux.go        reading and writing
//	loop_splice_linux.go      the payload of large frames, moved by splice(2) between plain sockets
//	loop_slots_linux.go       the slots that hold the state of sessions
//	loop_deadlines_linux.go   timers
//	loop_task_linux.go        a handshake in the slot that becomes its session's
//	loop_handover_linux.go    a handshake that began on a goroutine
//	loop_move_linux.go        sessions that move to another process; move.go has the form of their state
//	mux_linux.go              HTTP/2 connections, whose streams are sides of sessions
//	mux_conn_linux.go         a stream that a goroutine owns for some time
//	loop_recovery_linux.go    what a panic ends; goroutine_recovery.go is its counterpart
//
// The files stay in one package because a transport, the engine and a loop share a session's state, which only one goroutine at a time
// may use; separate packages would make that state public.
//
// The driver does not read a side while more than highMark bytes wait for the other side, and reads it again below lowMark. It also does not
// read a side while pongs to that side wait. A read is never larger than readBytes, so at most MaxQueued bytes wait for a side.
package driver
