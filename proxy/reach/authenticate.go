package reach

import (
	"sluice/auth"
	"sluice/upgrade"
)

// Authenticated notes who the client is, and returns the answer to a request that is refused, otherwise nil. Admit has been called.
func (c *Client) Authenticated(d *auth.Decision) *upgrade.Rejection {
	c.Subject, c.fields, c.own = d.Subject, d.Fields, d.Own
	c.Expires = d.Expires
	return d.Refusal
}
