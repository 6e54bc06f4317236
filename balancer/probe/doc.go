// Package probe is one active health check of a backend: it connects, asks, and checks the answer.
//
// It does not decide when to probe or what a failure means: package balancer does. It does not dial
// either: the caller's Dial connects as the backend's sessions do.
//
// The path through it is [Config.Do] (probe.go): dial, then, by the kind of the probe, an HTTP request
// (http.go), or a WebSocket handshake, a ping, its pong and a close (websocket.go).
package probe
