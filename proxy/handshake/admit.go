package handshake

import (
	"time"

	"sluice/upgrade"
)

// admitted picks a backend for a request that is admitted, and refuses any other request.
func (c *Core) admitted(now time.Time) Step {
	c.gateway.Identify(&c.Client, &c.Memory.Request, c.ID)
	if t := c.gateway.Tracer(); t != nil {
		c.follow(t)
		c.trace.step("accept", nil, now)
	}
	err := c.admit(now)
	c.trace.step("route", err, now)
	if err != nil {
		return c.refuse(err)
	}
	return c.pickFirst(now)
}

// admit finds the route and checks the request. No backend notices a request that is refused here.
func (c *Core) admit(now time.Time) error {
	req := &c.Memory.Request
	client := c.Client.Addr.Addr()
	if rejection := c.gateway.Counted(client, now); rejection != nil {
		return rejection
	}
	if redirection := c.gateway.Redirection(req); redirection != nil {
		return redirection
	}
	var rejection *upgrade.Rejection
	if c.Route, rejection = c.gateway.Route(&c.Client, req); rejection != nil {
		return rejection
	}
	if c.Route, rejection = c.Client.Admit(c.Route, req); rejection != nil {
		return rejection
	}
	if err := req.CheckUpgrade(); err != nil {
		return err
	}
	switch {
	case !c.Route.AllowsOrigin(req.Origin(), req.Host()):
		return upgrade.ErrOrigin
	case c.gateway.Refuses():
		return upgrade.ErrDraining
	}
	if rejection = c.gateway.Acquire(client); rejection != nil {
		return rejection
	}
	c.hasPlace = true
	return nil
}
