package reach

import (
	"slices"

	"sluice/proxy/route"
	"sluice/upgrade"
)

// Reasons of a route's own answers.
const (
	reasonRedirect = "redirect"
	reasonRespond  = "respond"
)

// errNoSession refuses WebSocket over HTTP/2 where the route's own answer is a 2xx, which would open a session (RFC 8441 section 5).
var errNoSession = &upgrade.Rejection{Status: 400, Reason: reasonRespond, Text: "this address does not speak WebSocket"}

// ownAnswer returns the answer of a route that redirects or responds, or nil.
func (c *Client) ownAnswer(r *route.Route, req *upgrade.Request) *upgrade.Rejection {
	if r.Redirect == nil && r.Respond == nil {
		return nil
	}
	e := expansion{client: c, route: r, request: req}
	answer := &upgrade.Rejection{Form: upgrade.Whole}
	switch {
	case r.Redirect != nil:
		if len(req.Host()) == 0 && r.Redirect.Has(route.ValueHost, route.ValueHostPort) {
			return upgrade.ErrNoHost // HTTP/1.0 allows requests without Host
		}
		answer.Status, answer.Reason = r.RedirectStatus, reasonRedirect
		answer.Header = []upgrade.Field{{Name: "Location", Value: e.url(r.Redirect)}}
	case c.IsHTTP2 && req.IsWebSocket() && r.RespondStatus < 300:
		return errNoSession
	default:
		answer.Status, answer.Reason, answer.Text = r.RespondStatus, reasonRespond, e.body(r.Respond)
		if upgrade.HasBody(answer.Status) {
			answer.Header = []upgrade.Field{{Name: "Content-Type", Value: "text/plain; charset=utf-8"}, {Name: "X-Content-Type-Options", Value: "nosniff"}}
		}
	}
	if string(req.Method()) == "HEAD" {
		answer.Form = upgrade.LengthOnly
	}
	change := c.answerFields(r, req, nil)
	kept := slices.DeleteFunc(answer.Header, func(f upgrade.Field) bool { return change.Replaces(f.Name) })
	answer.Header = append(kept, change.SetHeaders...)
	return answer
}
