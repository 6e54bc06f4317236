// Package upgrade is the opening handshake of RFC 6455 section 4, both sides, on
// raw bytes: the client's request, the request for the backend, the backend's
// answer, the answer for the client, and every refusal on the way.
//
// It has no sockets, no clocks and no log, and does not decide where a request
// goes. The caller reads into a Buffer and passes all bytes so far; the package
// keeps offsets into them, never copies a head, and returns what to write. The
// path through it:
//
//	Request.Parse          the client's head, each line checked as its LF arrives
//	Request.IsWebSocket    false: the bytes belong to the plain HTTP path
//	Request.Path, Hostname, Header, Cookie, QueryValue    what routes and policies use
//	Request.CheckUpgrade   RFC 6455 section 4.2.1
//	Request.AppendForward  the head for the backend: the client's own lines and the gateway's
//	Answer.Parse           the backend's head, after its interim answers
//	Answer.Check           RFC 6455 section 4.1, against the request
//	Answer.AppendForward   the head for the client
//	Answer.Body            the end of the body of an answer that is not 101
//	AppendRejection        instead of any of these: the whole response
//
// A head is refused where two parsers could read it differently. The remaining
// reading is that of net/http, which the fuzz targets verify. What is legal but
// unusual (several Connection lines, lists, TABs, any case) is accepted.
//
// All errors of the handshake are *Rejection: the error is the answer. Those of
// an Answer have status 502. Bytes after a head are not read.
//
// gobwas/httphead provides the octet classes. Its list scanners are not used:
// they read some malformed lists as something else (`foo bar;x` as an option
// "bar") and refuse legal TABs, so a check before them would already be the
// parser. gobwas/ws is a peer in the tests; its own handshake has no limits and
// loses bytes after the head.
//
// Open request.go first. The files, one noun each:
//
//	request.go target.go check.go fields.go plain.go    the client's head
//	answer.go                                           the backend's head
//	line.go kind.go list.go octets.go                   lines, names, lists and octets of both
//	forward.go rejection.go                             the heads that are written
//	body.go buffer.go                                   the bytes after a head; memory
package upgrade
