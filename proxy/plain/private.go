package plain

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"sluice/balancer"
	"sluice/proxy/route"
)

// Some backends authenticate a connection, where HTTP authenticates each request: they take the next request on it for one of the same user.
// So a connection that has seen such credentials serves its client's connection alone, and so does every new one to a pool whose backends
// ask for them. A client's connection that authenticates stays with its backend.

// connectionSchemes are the schemes of Authorization and WWW-Authenticate that authenticate a connection: RFC 4559, section 6.
var connectionSchemes = []string{"negotiate", "ntlm"}

// isConnectionScheme reports whether the credentials or challenges of a field are of such a scheme. A field may list several challenges.
// Any white space may follow a scheme, as lenient backends read it.
func isConnectionScheme(value string) bool {
	return slices.ContainsFunc(strings.Split(value, ","), func(element string) bool {
		words := strings.Fields(element)
		return len(words) > 0 && slices.Contains(connectionSchemes, strings.ToLower(words[0]))
	})
}

// isAuthenticating reports whether a request has credentials that authenticate its connection, in any of its fields: backends differ in
// which of several they go by.
func (r *Request) isAuthenticating() bool {
	for value := range r.Backward("Authorization") {
		if isConnectionScheme(string(value)) {
			return true
		}
	}
	return false
}

// asksToAuthenticate reports whether an answer asks its client to authenticate the connection.
func asksToAuthenticate(resp *http.Response) bool {
	return resp.StatusCode == http.StatusUnauthorized && slices.ContainsFunc(resp.Header["Www-Authenticate"], isConnectionScheme)
}

// isPrivate reports whether the request has to go on a connection of its client alone. It notes a request that authenticates.
func (t *Transport) isPrivate(r *Request) bool {
	if t.isHTTP2 {
		return false // a connection of HTTP/2 is never of one client
	}
	c := r.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isAuthenticating = c.isAuthenticating || r.isAuthenticating()
	return c.isAuthenticating || t.isPerClient.Load()
}

// pick picks the backend for the first attempt of a request.
func (t *Transport) pick(ctx context.Context, r *Request, want *balancer.Request) (balancer.Pick, error) {
	if b := r.conn.backendIn(r.Route.Pool); b != nil {
		if pick, isPicked := r.Route.Pool.PickAgain(b); isPicked {
			return pick, nil
		}
	}
	return r.Route.Pool.Pick(ctx, want, nil)
}

// noteAnswer notes which backend has answered a request, and whether it authenticates connections.
func (t *Transport) noteAnswer(r *Request, b *balancer.Backend, resp *http.Response) {
	if asksToAuthenticate(resp) {
		t.isPerClient.Store(true)
	}
	r.conn.stayWith(b, r.Route.Pool)
}

// stayWith has later requests to that pool go to the same backend, if the connection authenticates.
func (c *Conn) stayWith(b *balancer.Backend, pool *balancer.Pool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.isAuthenticating {
		return
	}
	if c.backends == nil {
		c.backends = map[*balancer.Pool]*balancer.Backend{}
	}
	c.backends[pool] = b
}

// variantToStay returns the variant of a route to whose pool the connection has authenticated, or the route itself. The caller holds mu.
func (c *Conn) variantToStay(of *route.Route) *route.Route {
	if len(c.backends) == 0 {
		return of
	}
	for _, r := range of.Variants() {
		if c.backends[r.Pool] != nil {
			return r
		}
	}
	return of
}

// backendIn returns the backend of a pool with which the connection stays, or nil.
func (c *Conn) backendIn(pool *balancer.Pool) *balancer.Backend {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.backends[pool]
}

// adopt makes the connection the owner of one to a backend, which ends with it. It returns false if it has ended already.
func (c *Conn) adopt(b *backendConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isEnded() {
		return false
	}
	if c.owned == nil {
		c.owned = map[*backendConn]bool{}
	}
	c.owned[b] = true
	return true
}

// release forgets a connection that has been closed.
func (c *Conn) release(b *backendConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.owned, b)
}

// closeOwned closes the connections to backends that are of use to this connection alone.
func (c *Conn) closeOwned() {
	c.mu.Lock()
	owned := c.owned
	c.owned = nil
	c.mu.Unlock()
	for b := range owned {
		_ = b.Close()
	}
}
