package reach

import (
	"sluice/balancer"
	"sluice/proxy/route"
	"sluice/upgrade"
)

// Admit applies what a route says before anything else: which clients may use it, and what it answers by itself. It returns the route with
// the pool to which the request goes, and a rejection if the request goes to none. Identify has been called.
func (c *Client) Admit(r *route.Route, req *upgrade.Request) (*route.Route, *upgrade.Rejection) {
	if !r.Admits(c.Addr.Addr()) {
		return r, upgrade.ErrAddress
	}
	if rejection := c.ownAnswer(r, req); rejection != nil {
		return r, rejection
	}
	if rejection := c.rewritePath(r, req); rejection != nil {
		return r, rejection
	}
	return r.Choose(balancer.Request{Client: c.Addr.Addr(), Head: req}), nil
}
