package proxy

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"sluice/proxy/route"
	"sluice/upgrade"
)

// A request is a request in memory.
type request struct {
	method      string // of a plain request
	host        string
	path, query string // encoded
	fields      []upgrade.Field
	origin      string // "" if there is no Origin
	isPlain     bool
}

// requestFor returns the plainest request that meets the conditions of a route, and whether one is known.
func (r *rehearsal) requestFor(of *route.Route) (ask request, isKnown bool) {
	path, isKnown := of.ExamplePath()
	ask = request{method: http.MethodGet, host: r.hostFor(of), path: encodePath(path)}
	if len(of.Methods) > 0 && !slices.Contains(of.Methods, http.MethodGet) {
		ask.method, ask.isPlain = of.Methods[0], true
	}
	for i := range of.Headers {
		value, isValueKnown := of.Headers[i].Example()
		isKnown = isKnown && isValueKnown
		ask.fields = append(ask.fields, upgrade.Field{Name: of.Headers[i].Name, Value: value})
	}
	values := url.Values{}
	for i := range of.Queries {
		value, isValueKnown := of.Queries[i].Example()
		isKnown = isKnown && isValueKnown
		values.Set(of.Queries[i].Name, value)
	}
	ask.query = values.Encode()
	return ask, isKnown
}

// hostFor returns a Host that matches a route and, if the route has a wildcard, that no other route names.
func (r *rehearsal) hostFor(of *route.Route) string {
	own := of.FirstHost()
	before, after := "", ""
	switch {
	case strings.Contains(own, ":"):
		return "[" + own + "]"
	case strings.HasSuffix(own, "."):
		before = own
	case own == "" || own[0] == '.':
		after = own
	default:
		return own
	}
	for label := "a"; ; label += "a" {
		host := before + label + after
		if !slices.ContainsFunc(r.next.routes, func(other *route.Route) bool { return slices.Contains(other.Hosts, host) }) {
			return host
		}
	}
}

// keptOctets restores the octets that stay encoded when a path is matched.
var keptOctets = strings.NewReplacer("%252f", "%2f", "%252F", "%2F", "%255c", "%5c", "%255C", "%5C")

// encodePath returns a path as a client sends it.
func encodePath(path string) string { return keptOctets.Replace((&url.URL{Path: path}).EscapedPath()) }

func (q request) target() string {
	if q.query == "" {
		return q.path
	}
	return q.path + "?" + q.query
}

func (q request) String() string {
	s := q.method + " " + q.target() + ", Host: " + q.host
	if q.origin != "" {
		s += ", Origin: " + q.origin
	}
	return s
}

// head returns the request as a client sends it.
func (q request) head() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", q.method, q.target(), q.host)
	if q.origin != "" {
		fmt.Fprintf(&b, "Origin: %s\r\n", q.origin)
	}
	for _, f := range q.fields {
		fmt.Fprintf(&b, "%s: %s\r\n", f.Name, f.Value)
	}
	if !q.isPlain {
		b.WriteString("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n")
	}
	b.WriteString("\r\n")
	return []byte(b.String())
}
