package handshake

import (
	"context"
	"time"

	"sluice/auth"
	"sluice/upgrade"
)

// admitted authenticates the client of a request that is admitted, and refuses any other request.
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
	return c.authenticate(now)
}

// authenticate decides who the client is, if the route has to know it. If that takes long, the executor has to wait for the decision.
func (c *Core) authenticate(now time.Time) Step {
	a := c.Route.Auth
	if a == nil {
		return c.pickFirst(now)
	}
	c.credentials = a.Read(&c.Memory.Request)
	d, isKnown := a.TryDecide(&c.credentials, now)
	if !isKnown {
		c.Deadline = time.Time{} // the decision has a limit of its own
		return c.step(Authenticate)
	}
	return c.Decided(d, now)
}

// Decider returns the function that decides for Authenticate. It may block until ctx ends, and doesn't use the Core.
func (c *Core) Decider() func(ctx context.Context) auth.Decision {
	a, credentials := c.Route.Auth, c.credentials
	return func(ctx context.Context) auth.Decision { return a.Decide(ctx, &credentials) }
}

// Decided notes the decision about the client.
func (c *Core) Decided(d auth.Decision, now time.Time) Step {
	c.credentials = auth.Credentials{}
	c.gateway.Decided(c.Route, &d)
	if rejection := c.Client.Authenticated(&d); rejection != nil {
		c.denied = d.Cause
		c.trace.step("authenticate", rejection, now)
		return c.refuse(rejection)
	}
	c.trace.step("authenticate", nil, now)
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
