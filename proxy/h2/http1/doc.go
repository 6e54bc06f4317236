// Package http1 writes what a stream of HTTP/2 carries as HTTP/1.1, and back, so that one set of rules holds for both: that of package
// upgrade. It does no I/O.
//
//	request.go     a client's head of HTTP/2 as a head of HTTP/1.1
//	response.go    a response of HTTP/1.1, as it is written, as that of a stream: heads, data, trailers
//	backend.go     a request for a backend as an extended CONNECT, and the answer to it as a head of HTTP/1.1
//	body.go        the data of a stream, framed as HTTP/1.1 frames it
//	lines.go       lines of a head of HTTP/1.1 as fields, and back
package http1
