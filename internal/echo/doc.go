// Package echo is a WebSocket backend to try a gateway with: it sends back what it gets, or pushes as much as is taken.
//
// It is no library for servers: no messages are handed out, nothing can be plugged in. What it is for is to be correct (RFC 6455
// sections 4 to 7 without extensions; invalid UTF-8 in a text message is a fault), and so light that a gateway in front of it is
// what a measurement measures.
//
//	GET /push?size=N&count=M   binary messages of N bytes as fast as they are read, M of them and a close, or without end
//	GET any path               echo: frames come back unmasked, fragments as they came, control frames answered
//	GET without Upgrade        200 and a line of text: a health check
//
// The path through it: Serve chooses an engine for the listener, which is loops (Linux, plain sockets) or a goroutine a
// connection; either hands what it reads to conn.receive, which turns it into the answer in the same buffer, and sends that.
// A frame is never collected: it is echoed as it arrives. So a connection that waits holds no buffer, and one whose peer doesn't
// read holds at most maxQueue bytes and one read.
package echo
