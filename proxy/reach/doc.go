// Package reach is how a backend is reached, the same way for WebSocket handshakes and for plain requests. Each rule stands here once:
//
//	client.go       whose request it is, and which proxies are believed; the fields with which it goes on
//	dialer.go       connect, the PROXY header, TLS
//	proxyheader.go  the PROXY header that a backend is sent
//	outcome.go      what a failure says about the backend, and what the client is told
//
// It knows neither listeners nor sessions, and chooses no backend: that is package balancer's.
package reach
