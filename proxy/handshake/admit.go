package handshake

import (
	"strings"
	"time"

	"sluice/proxy/reach"
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
	if c.gateway.RedirectsHTTPS() {
		return redirection(req)
	}
	var rejection *upgrade.Rejection
	if c.Route, rejection = c.gateway.Route(req); rejection != nil {
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
	if rejection = c.gateway.Acquire(c.Client.Addr.Addr(), now); rejection != nil {
		return rejection.RetryAfter(reach.RetryAfter)
	}
	c.hasPlaces = true
	return nil
}

// redirection returns the answer that sends a client to the same address over TLS.
func redirection(r *upgrade.Request) error {
	host := string(r.Hostname())
	switch {
	case host == "":
		return upgrade.ErrNoHost // HTTP/1.0 allows requests without Host
	case strings.Contains(host, ":"):
		host = "[" + host + "]" // RFC 3986 section 3.2.2
	}
	target := "https://" + host + string(r.RawPath())
	if q := r.Query(); len(q) > 0 {
		target += "?" + string(q)
	}
	// RFC 9110 section 15.4.9: a 308 keeps the method.
	return upgrade.ErrRedirect.With(upgrade.Field{Name: "Location", Value: target})
}
