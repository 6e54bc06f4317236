// Package reach connects to backends, in the same way for WebSocket handshakes and for plain requests:
//
//	client.go       what is known about a client, and what changes in its request and in the answer
//	admit.go        the rules of a route that apply before a backend is chosen
//	ownanswer.go    the answer of a route without a pool
//	expansion.go    the values of placeholders
//	returnway.go    the addresses of a backend, as the client knows them
//	trust.go        which proxies are trusted to describe the client
//	dialer.go       connect, the PROXY header, TLS
//	proxyheader.go  the PROXY header that a backend is sent
//	outcome.go      what a failure means for the backend, and the answer to the client
//	cause.go        the failure as text for an operator
//
// It knows neither listeners nor sessions. Package balancer chooses the backend.
package reach
