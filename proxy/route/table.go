package route

import (
	"bytes"
	"strings"

	"sluice/upgrade"
)

// A Table finds the route of a request. Immutable.
type Table struct {
	// Routes are all routes, in the order in which they are tried. Of a route with several pools it is the first one.
	Routes []*Route

	groups []group // by priority, the highest one first
}

// mostMatchedBytes bounds what the expressions of all routes are given for one request. An expression takes about 0.1 µs a byte at worst, and
// keeps the sessions of its event loop waiting.
const mostMatchedBytes = 256 << 10

// Match returns the route of a request; nil if there is none. It may be refused with either: also because its backend could read the path as
// one of another route, or because the gateway is its own backend.
func (t Table) Match(listener string, req *upgrade.Request) (*Route, *upgrade.Rejection) {
	a := newAsk(listener, req)
	found := t.find(&a, req.Path())
	switch {
	case a.isOver():
		return nil, upgrade.ErrMatchCost
	case found == nil:
		return nil, upgrade.ErrNoRoute
	case req.IsLoop():
		return found, upgrade.ErrLoop
	case req.IsEncodedSlash() && found.Config.EncodedSlashes == "refuse":
		return found, upgrade.ErrEncodedSlash
	}
	for path, rejection := range req.Ambiguities(found.Config.EncodedSlashes == "auto", found.Config.PathParameters == "auto") {
		switch other := t.find(&a, path); {
		case a.isOver():
			return found, upgrade.ErrMatchCost
		case other != found:
			return found, rejection
		}
	}
	return found, nil
}

// Find returns the first route that matches a request with that path, which is in the form of upgrade.Request.Path, or nil. It allocates
// only for an IPv6 address, and for a regular expression of an encoded parameter. Expressions match nothing after mostMatchedBytes.
func (t Table) Find(listener string, req *upgrade.Request, path []byte) *Route {
	a := newAsk(listener, req)
	return t.find(&a, path)
}

func (t Table) find(a *ask, path []byte) *Route {
	a.path = path
	for i := range t.groups {
		if r := t.groups[i].find(a.host, a); r != nil {
			return r
		}
	}
	return nil
}

// A group has the routes of one priority.
type group struct {
	priority int
	exact    map[string]*hostRoutes
	below    map[string]*hostRoutes // by ".example.com"
	under    map[string]*hostRoutes // by "app."
	any      *hostRoutes

	longestBelow, longestUnder int // bytes of the keys
}

// find returns the first route of the group that matches. A route of a wildcard is tried if none of the more exact ones matches.
func (g *group) find(host []byte, a *ask) *Route {
	if r := g.exact[string(host)].find(a); r != nil {
		return r
	}
	for i := max(1, len(host)-g.longestBelow); i < len(host) && g.longestBelow > 0; i++ {
		if host[i] == '.' {
			if r := g.below[string(host[i:])].find(a); r != nil {
				return r
			}
		}
	}
	for i := min(len(host)-1, g.longestUnder); i > 0; i-- {
		if host[i-1] == '.' {
			if r := g.under[string(host[:i])].find(a); r != nil {
				return r
			}
		}
	}
	return g.any.find(a)
}

// hostRoutes are the routes of a host. nil has none. Lists are in the order in which they are tried.
type hostRoutes struct {
	exact   map[string][]*Route // by the whole path
	prefix  segment             // the root: of "/"
	regexps []*Route
}

// A segment is the end of a prefix: a node in the tree of all prefixes.
type segment struct {
	parent   *segment
	children map[string]*segment
	routes   []*Route
}

// find returns the first route of the host that matches.
func (h *hostRoutes) find(a *ask) *Route {
	if h == nil {
		return nil
	}
	if len(h.exact) > 0 {
		if r := a.first(h.exact[string(a.path)]); r != nil {
			return r
		}
	}
	for s := h.prefix.deepest(a.path); s != nil; s = s.parent {
		if r := a.first(s.routes); r != nil {
			return r
		}
	}
	for _, r := range h.regexps {
		if a.meetsPath(&r.Conditions) && r.matchesRest(a) {
			return r
		}
	}
	return nil
}

// first returns the first of the routes whose conditions beside host and path are met.
func (a *ask) first(routes []*Route) *Route {
	for _, r := range routes {
		if r.matchesRest(a) {
			return r
		}
	}
	return nil
}

// deepest returns the end of the longest prefix of a path.
func (s *segment) deepest(path []byte) *segment {
	for len(path) > 0 && len(s.children) > 0 {
		path = path[1:] // the slash
		n := bytes.IndexByte(path, '/')
		if n < 0 {
			n = len(path)
		}
		child := s.children[string(path[:n])]
		if child == nil {
			break
		}
		s, path = child, path[n:]
	}
	return s
}

// NewTable returns the table of those routes.
func NewTable(all []*Route) Table {
	var t Table
	isListed := map[*Route]bool{}
	for _, p := range newPlaces(all) {
		if !isListed[p.route] {
			isListed[p.route] = true
			t.Routes = append(t.Routes, p.route)
		}
		if n := len(t.groups); n == 0 || t.groups[n-1].priority != p.route.Priority {
			t.groups = append(t.groups, newGroup(p.route.Priority))
		}
		t.groups[len(t.groups)-1].of(p.host).add(p.route)
	}
	return t
}

func newGroup(priority int) group {
	return group{priority: priority, exact: map[string]*hostRoutes{}, below: map[string]*hostRoutes{}, under: map[string]*hostRoutes{}, any: new(hostRoutes)}
}

// of returns the routes of a host, which is in the form of Conditions, or "" for any.
func (g *group) of(host string) *hostRoutes {
	var hosts map[string]*hostRoutes
	switch kindOfHost(host) {
	case anyHostName:
		return g.any
	case exactHostName:
		hosts = g.exact
	case wildcardBefore:
		hosts = g.below
		g.longestBelow = max(g.longestBelow, len(host))
	case wildcardAfter:
		hosts = g.under
		g.longestUnder = max(g.longestUnder, len(host))
	default:
		panic("BUG: unknown kind of a host")
	}
	if hosts[host] == nil {
		hosts[host] = new(hostRoutes)
	}
	return hosts[host]
}

// add adds a route that is tried after those that are there.
func (h *hostRoutes) add(r *Route) {
	switch r.PathKind {
	case ExactPath:
		if h.exact == nil {
			h.exact = map[string][]*Route{}
		}
		h.exact[r.Path] = append(h.exact[r.Path], r)
	case RegexpPath:
		h.regexps = append(h.regexps, r)
	case PrefixPath:
		s := &h.prefix
		for name := range strings.SplitSeq(strings.Trim(r.Path, "/"), "/") {
			if name != "" {
				s = s.child(name)
			}
		}
		s.routes = append(s.routes, r)
	default:
		panic("BUG: unknown kind of a path")
	}
}

// child returns the node of the next segment.
func (s *segment) child(name string) *segment {
	if s.children == nil {
		s.children = map[string]*segment{}
	}
	if s.children[name] == nil {
		s.children[name] = &segment{parent: s}
	}
	return s.children[name]
}
