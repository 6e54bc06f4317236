// Package reach connects to backends, in the same way for WebSocket handshakes and for plain requests:
//
//	client.go       who the client is, which proxies are believed, and the fields that the backend gets
//	dialer.go       connect, the PROXY header, TLS
//	proxyheader.go  the PROXY header that a backend is sent
//	outcome.go      what a failure means for the backend, and the answer to the client
//
// It knows neither listeners nor sessions. Package balancer chooses the backend.
package reach
