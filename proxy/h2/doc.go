// Package h2 is the framing of HTTP/2 (RFC 9113) for one connection, in either role, with the extended CONNECT of RFC 8441. It does no I/O
// and has no clock: its caller passes the received bytes and sends the bytes that Conn appends.
//
//	Receive ──▶ frame head ──▶ DATA: passed on in the pieces in which it comes
//	                     └───▶ other frames: once they are whole ──▶ Event
//
// Conn keeps only incomplete frames and field blocks, and the decoder's dynamic table. It sends without a dynamic table.
//
//	api.go       the types
//	conn.go      Conn: from bytes to frames, and the end of a connection
//	frame.go     heads of frames, and the frames that concern more than fields and data
//	settings.go  settings of both sides
//	block.go     HEADERS and CONTINUATION, from the first fragment to the event
//	fields.go    which lists of fields are well-formed
//	encode.go    the fields that are sent
//	data.go      DATA, and the windows of both directions
//	stream.go    streams: their states, and how they end
//	bounds.go    the rates of frames that cost a peer nothing
package h2
