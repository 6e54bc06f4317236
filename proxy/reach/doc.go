// Package reach connects to backends, in the same way for WebSocket handshakes and for plain requests:
//
//	client.go       what is known of a client, and the fields that the backend gets
//	trust.go        which proxies are believed about it
//	dialer.go       connect, the PROXY header, TLS
//	proxyheader.go  the PROXY header that a backend is sent
//	outcome.go      what a failure means for the backend, and the answer to the client
//	cause.go        the failure in words for an operator
//
// It knows neither listeners nor sessions. Package balancer chooses the backend.
package reach
