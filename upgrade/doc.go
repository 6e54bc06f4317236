// Package upgrade is section 4 of RFC 6455, both sides, on raw bytes: what a
// client asks, what the gateway sends on to a backend, what the backend
// answers, what the gateway passes back, and every refusal on the way.
//
// It has no sockets, no clocks and no log. The caller reads into a Buffer and
// shows what it has; the package keeps offsets, never copies a head, and says
// what may be written:
//
//	Request.Parse          the client's head, each line checked as its LF arrives
//	Request.IsWebSocket    no: the bytes belong to the plain HTTP path
//	Request.Path, Hostname, Header, Cookie, QueryValue    what routes and policies ask for
//	Request.CheckUpgrade   RFC 6455 section 4.2.1
//	Request.AppendForward  the head for the backend: the client's own lines and ours
//	Answer.Parse           the backend's head, interim answers swallowed
//	Answer.Check           RFC 6455 section 4.1, against the request
//	Answer.AppendForward   the head for the client
//	Answer.Body            of an answer that is not 101: where its body ends
//	AppendRejection        instead of any of these: the whole response
//
// A head is refused where two parsers could read it differently; the reading
// that is left is net/http's, which the fuzz targets hold it to. What is legal
// but unusual (several Connection lines, lists, TABs, any case) is not refused.
//
// All errors of the handshake are *Rejection: the answer is the error. Of an
// Answer they have status 502. Bytes behind a head are not looked at.
//
// gobwas/httphead gives the octet classes. Its list scanners are not used: they
// read some malformed lists as something else (`foo bar;x` as an option "bar")
// and refuse legal TABs, so that a check in front of them is already the parser.
// gobwas/ws is a peer in the tests; its own handshake has no limits and loses
// bytes behind the head.
package upgrade
