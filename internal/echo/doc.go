// Package echo is a WebSocket backend for tests of a gateway: it sends back what it receives, or pushes as fast as the client reads.
//
// It is not a library for servers: it has no callbacks and delivers no messages. It is correct (RFC 6455 sections 4 to 7 without
// extensions; invalid UTF-8 in a text message is a fault), and so light that a measurement through a gateway measures the gateway.
//
//	GET /push?size=N&count=M   binary messages of N bytes as fast as they are read; M of them and a close, or endless
//	GET any path               echo: frames come back unmasked, fragments as they came, control frames answered
//	GET without Upgrade        200 and a line of text: a health check
//
// The path through it: Serve chooses an engine for the listener, which is loops (Linux, plain sockets) or one goroutine per
// connection. The engine passes what it reads to conn.receive, which turns it into the answer in the same buffer, and sends that.
// A frame is not collected but echoed as it arrives. So an idle connection holds no buffer, and one whose peer does not read holds
// at most maxQueue bytes and one read.
//
// Open echo.go first, then conn.go: the protocol without sockets. loop_linux.go and socket_linux.go are one engine, goroutine.go the
// other.
package echo
