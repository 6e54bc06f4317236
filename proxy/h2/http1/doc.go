// Package http1 translates between a stream of HTTP/2 and HTTP/1.1, so that the rules of package upgrade apply to
// both. It does no I/O.
//
//	request.go     a client's head of HTTP/2 as a head of HTTP/1.1
//	response.go    a response of HTTP/1.1, as it is written, as that of a stream: heads, data, trailers
//	backend.go     a request for a backend as an extended CONNECT, and the answer to it as a head of HTTP/1.1
//	body.go        the data of a stream, framed as HTTP/1.1 frames it
//	lines.go       lines of a head of HTTP/1.1 as fields, and back
package http1
