// Package h2test speaks HTTP/2 (RFC 9113) and WebSocket over it (RFC 8441) with a gateway, in tests.
//
// It has two clients, a server and two bridges:
//
//   - Raw: a connection whose frames the test writes and reads itself.
//   - Conn: a connection, of a client or of a server, with streams that are connections of package net.
//   - Server: what accepts such connections.
//   - Front and Back: programs that speak HTTP/1.1 on one side and HTTP/2 on the other. A test of an HTTP/1.1
//     client and an HTTP/1.1 backend becomes one of HTTP/2 by a bridge on either side of the gateway.
//
// Frames are read and written by golang.org/x/net/http2, so that nothing here shares a mistake with the gateway.
package h2test
