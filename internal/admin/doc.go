// Package admin is the listener by which an operator asks a running gateway: whether it lives
// (GET /healthz), whether it takes sessions (GET /readyz), its metrics (GET /metrics), what its
// listeners, routes, pools and sessions do, and to change that (/api/v1/, openapi.json describes it).
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
