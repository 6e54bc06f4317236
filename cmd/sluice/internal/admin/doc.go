// Package admin is the listener by which an operator asks a running gateway: whether it lives
// (GET /healthz), whether it takes sessions (GET /readyz), and its metrics (GET /metrics).
//
// It is not the public side: it serves no session, and it is bound to loopback unless a token
// protects it. A request passes, in this order: the Host check (loopback only), the token (all but
// /healthz and /readyz), the route. Every error is JSON: {"error": "…"}.
//
// What it tells comes from funcs and a gatherer that it is given; it knows no other room.
package admin
