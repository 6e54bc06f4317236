// Package admin is the listener of a running gateway for operators. It reports whether the gateway is alive
// (GET /healthz) and accepts sessions (GET /readyz), and its metrics (GET /metrics). Its API shows listeners, routes,
// pools and sessions, and changes them (/api/v1/, which openapi.json describes).
// GET / is the dashboard, which gets everything from the API.
//
// It is not the public side: it serves no session, and it is bound to loopback unless a token
// protects it. A request passes, in this order: the Host and Origin checks (loopback only), the token
// (all but the dashboard's page, /healthz and /readyz), the bound of its body, the route. Every error is JSON:
// {"error": "…"}.
//
//	server.go    the listener        guard.go, router.go    what a request passes
//	api.go       /api/v1/            sessions.go            of it, what concerns sessions
//
// It returns the views of package proxy, unchanged.
package admin
