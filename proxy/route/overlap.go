package route

import (
	"slices"
	"strings"
)

// An Overlap is a route whose requests go, or may go, to another one. Both are indexes of sections.
type Overlap struct {
	Route, Other int
	IsHidden     bool // each request of Route goes to Other; otherwise the order in the file decides about some of them
}

// mostComparisons bounds the work of Overlaps: what it returns are hints. A route with a long example counts more than once.
const mostComparisons = 1 << 20

// Overlaps returns the routes that are never reached because another one is tried first and takes all their requests, and those that have the
// same rank as an earlier one and may match the same request. Of each route it returns one Overlap at most. The sections have no problem, and
// no two of them have the same key.
func Overlaps(sections []Config) (all []Overlap) {
	routes := make([]*Route, len(sections))
	index := map[*Route]int{}
	s := overlapSearch{
		byHost: map[string][]place{}, examples: map[*Route]string{}, left: mostComparisons,
		hidden: map[*Route]*Route{}, isSeen: map[*Route]bool{}, equal: map[*Route]*Route{},
	}
	for i := range sections {
		routes[i] = &Route{Conditions: newConditions(&sections[i]), Priority: sections[i].Priority}
		index[routes[i]] = i
		if path, isKnown := routes[i].ExamplePath(); isKnown {
			s.examples[routes[i]] = path
		}
	}
	for _, p := range newPlaces(routes) {
		s.add(p)
	}
	for i, r := range routes {
		if other := s.hidden[r]; other != nil {
			all = append(all, Overlap{i, index[other], true})
		} else if other := s.equal[r]; other != nil {
			all = append(all, Overlap{i, index[other], false})
		}
	}
	return all
}

// An overlapSearch compares places with those before them.
type overlapSearch struct {
	byHost   map[string][]place // the places so far
	examples map[*Route]string  // a path of each route; "": none is known
	left     int                // comparisons

	hidden map[*Route]*Route // by which all places of a route so far are hidden; nil if one is not
	isSeen map[*Route]bool
	equal  map[*Route]*Route // an earlier one of the same rank
}

// add compares the next place in order with those before it.
func (s *overlapSearch) add(p place) {
	var hider *Route
	cost := 1 + len(s.examples[p.route])/64
	for _, host := range hostsAround(p.host) {
		for _, earlier := range s.byHost[host] {
			if s.left -= cost; s.left < 0 || hider != nil && s.equal[p.route] != nil {
				break
			}
			if hider == nil && earlier.route.covers(&p.route.Conditions) {
				hider = earlier.route
			}
			if s.equal[p.route] == nil && host == p.host && comparePlaces(earlier, p) == 0 && s.mayMeet(earlier.route, p.route) {
				s.equal[p.route] = earlier.route
			}
		}
	}
	if !s.isSeen[p.route] || hider == nil {
		s.hidden[p.route] = hider
	}
	s.isSeen[p.route] = true
	s.byHost[p.host] = append(s.byHost[p.host], p)
}

// mayMeet reports whether a request may meet the conditions of both routes, hosts aside. Paths of expressions are compared by an example of
// each.
func (s *overlapSearch) mayMeet(a, b *Route) bool {
	if a.Listener != b.Listener && a.Listener != "" && b.Listener != "" {
		return false
	}
	if len(a.Methods) > 0 && len(b.Methods) > 0 && !slices.ContainsFunc(a.Methods, func(m string) bool { return slices.Contains(b.Methods, m) }) {
		return false
	}
	isShared := a.PathKind == b.PathKind && a.Path == b.Path || s.isExampleOf(a, b) || s.isExampleOf(b, a)
	return isShared && !isContradiction(a.Headers, b.Headers) && !isContradiction(a.Queries, b.Queries)
}

// isExampleOf reports whether the example of one route is a path of the other.
func (s *overlapSearch) isExampleOf(one, other *Route) bool {
	path := s.examples[one]
	return path != "" && other.MatchesPath([]byte(path))
}

// hostsAround returns the hosts of routes that match all that a host of a route matches: itself first, then wildcards, and "".
func hostsAround(host string) []string {
	around := []string{host}
	for i := 1; i < len(host); i++ {
		if host[i] == '.' && host[len(host)-1] != '.' {
			around = append(around, host[i:])
		}
		if host[i] == '.' && i+1 < len(host) && host[0] != '.' {
			around = append(around, host[:i+1])
		}
	}
	if host != "" {
		around = append(around, "")
	}
	return around
}

// covers reports whether every request that meets the other conditions meets these, hosts aside. false may also mean that it is not known.
func (c *Conditions) covers(other *Conditions) bool {
	return (c.Listener == "" || c.Listener == other.Listener) &&
		c.coversPath(other) &&
		(len(c.Methods) == 0 || len(other.Methods) > 0 && isSubset(other.Methods, c.Methods)) &&
		coversList(c.Headers, other.Headers) &&
		coversList(c.Queries, other.Queries)
}

func isSubset(of, all []string) bool {
	return !slices.ContainsFunc(of, func(s string) bool { return !slices.Contains(all, s) })
}

// coversPath reports whether every path that matches the other conditions matches these.
func (c *Conditions) coversPath(other *Conditions) bool {
	switch {
	case c.PathKind == PrefixPath && c.Path == "/", c.PathKind == other.PathKind && c.Path == other.Path:
		return true
	case other.PathKind == ExactPath:
		return c.MatchesPath([]byte(other.Path))
	case c.PathKind == PrefixPath && other.PathKind == PrefixPath:
		return HasSegments(other.Path, c.Path)
	case c.PathKind == PrefixPath && other.PathKind == RegexpPath:
		return strings.HasPrefix(other.literal, c.Path+"/")
	default:
		return false
	}
}

// coversList reports whether every request that meets the other list meets this one.
func coversList(list, other []Condition) bool {
	return !slices.ContainsFunc(list, func(c Condition) bool {
		return !slices.ContainsFunc(other, func(o Condition) bool {
			return o.Name == c.Name && (c.Value == o.Value || c.Value == anyValue || !o.isRegexp() && o.Value != anyValue && c.isMetBy([]byte(o.Value)))
		})
	})
}

// isContradiction reports whether no request meets both lists. A field that is sent twice, with a value for each, is disregarded.
func isContradiction(a, b []Condition) bool {
	return slices.ContainsFunc(a, func(x Condition) bool {
		return slices.ContainsFunc(b, func(y Condition) bool { return x.Name == y.Name && (x.excludes(&y) || y.excludes(&x)) })
	})
}

// excludes reports whether the condition is a value that doesn't meet the other one.
func (c *Condition) excludes(other *Condition) bool {
	return !c.isRegexp() && c.Value != anyValue && !other.isMetBy([]byte(c.Value))
}

// ExamplePath returns a path that matches, and whether one is known.
func (c *Conditions) ExamplePath() (path string, isKnown bool) {
	if c.PathKind != RegexpPath {
		return c.Path, true
	}
	path, isKnown = example(c.PathRegexp, "/")
	return path, isKnown && IsReachable(path) && !strings.ContainsAny(path, `\;`+"\x00")
}

// Example returns a value that meets the condition, and whether one is known.
func (c *Condition) Example() (value string, isKnown bool) {
	switch {
	case c.isRegexp():
		return example(c.regexp, "")
	case c.Value == anyValue:
		return "a", true
	default:
		return c.Value, true
	}
}
