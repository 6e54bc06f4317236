package nginx

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"sluice/internal/migrate"
)

// A location is a location{}.
type location struct {
	directive *directive
	level     *level
	kind      locationKind
	path      string // with locationRegexp the expression, as RE2
	isNested  bool   // in another one
	isWider   bool   // path finds more than the location's expression, which RE2 lacks
}

type locationKind int

const (
	locationPrefix locationKind = iota
	locationExact               // =
	locationFirst               // ^~: a prefix that comes before regular expressions
	locationRegexp              // ~ and ~*
)

// locations returns the locations of a server in the order in which nginx tries them: exact ones, prefixes with ^~, regular expressions as
// they stand, the longest prefix.
func (s *server) locations(r *reader) []*location {
	all := s.collect(r, s.level, "/", false)
	isUnder := func(loc *location) bool { // a longer prefix keeps its place before one with ^~
		return slices.ContainsFunc(all, func(other *location) bool {
			return other.kind == locationFirst && len(other.path) < len(loc.path) && strings.HasPrefix(loc.path, other.path)
		})
	}
	rank := func(loc *location) int {
		switch {
		case loc.kind == locationExact:
			return 0
		case loc.kind == locationFirst, loc.kind == locationPrefix && isUnder(loc):
			return 1
		case loc.kind == locationRegexp && loc.isNested:
			return 2
		case loc.kind == locationRegexp:
			return 3
		}
		return 4
	}
	slices.SortStableFunc(all, func(a, b *location) int {
		if byRank := cmp.Compare(rank(a), rank(b)); byRank != 0 || a.kind == locationRegexp {
			return byRank
		}
		return cmp.Compare(s.lengthOf(b), s.lengthOf(a))
	})
	return all
}

// lengthOf is higher for a prefix that is tried earlier. Beside "/a/", "/a" is for that path alone, which a route for "/a/" has too.
func (s *server) lengthOf(loc *location) int {
	if s.hasPrefix(loc.level.outer, loc.path+"/") {
		return len(loc.path) + 2
	}
	return len(loc.path)
}

// collect returns the locations of a level, those within each other too. prefix is that of the location around them.
func (s *server) collect(r *reader, l *level, prefix string, isNested bool) []*location {
	var all []*location
	for _, d := range l.block {
		if d.name != "location" || len(d.args) == 0 {
			continue
		}
		d.isRead = true
		loc := &location{directive: d, level: &level{outer: l, block: d.block}, isNested: isNested}
		modifier, path := d.arg(0), d.arg(1)
		if len(d.args) == 1 {
			modifier, path = cutModifier(d.arg(0))
		}
		switch modifier {
		case "@":
			s.named[path] = loc
			continue
		case "=":
			loc.kind, loc.path = locationExact, path
		case "^~":
			loc.kind, loc.path = locationFirst, path
		case "~", "~*":
			loc.kind, loc.path = locationRegexp, path
			if modifier == "~*" {
				loc.path = "(?i)" + path
			}
			wide, isWider, err := migrate.Widen(loc.path)
			switch isRefusing := loc.isProtected(r) || loc.refuses(); {
			case isRefusing && err != nil:
				r.refusal(d, err.Error()+". The requests that it refuses take the other routes")
				markAll(d.block)
				continue
			case isRefusing && isWider:
				r.skip(d, "RE2 has no lookahead and no references to groups: the route refuses all paths that the rest of the expression finds")
				loc.path, loc.isWider = wide, true
			case isWider:
				r.skip(d, "RE2 has no lookahead and no references to groups: write a route with path_regexp. Until then its requests take the other routes")
				markAll(d.block)
				continue
			}
			if isNested && !strings.HasPrefix(path, "^") {
				loc.path = "^" + regexp.QuoteMeta(prefix) + ".*(?:" + loc.path + ")"
			}
		default:
			loc.path = path
		}
		if loc.kind != locationRegexp && (!strings.HasPrefix(path, "/") || strings.Contains(path, "//") || strings.ContainsAny(path, "?#")) {
			r.skip(d, "no request has such a path")
			markAll(d.block)
			continue
		}
		all = append(all, loc)
		if loc.kind != locationRegexp {
			all = append(all, s.collect(r, loc.level, loc.path, true)...)
		}
	}
	return all
}

// cutModifier cuts a modifier that stands at the path without a space.
func cutModifier(arg string) (modifier, path string) {
	for _, modifier := range []string{"=", "^~", "~*", "~", "@"} {
		if path, isThis := strings.CutPrefix(arg, modifier); isThis {
			return modifier, path
		}
	}
	return "", arg
}

// addLocation adds the cases of a location.
func (r *reader) addLocation(s *server, loc *location, within migrate.Match) {
	within = within.At("path", loc.directive.place)
	switch loc.kind {
	case locationExact:
		within.PathExact = loc.path
	case locationRegexp:
		within.PathRegexp = loc.path
	default:
		within.Path = strings.TrimSuffix(loc.path, "/")
		characters := "^" + regexp.QuoteMeta(loc.path)
		if s.hasPrefix(loc.level.outer, loc.path+"/") {
			within.Path, within.PathExact, within.Original = "", loc.path, characters+"([^/]|$)"
		} else if !strings.HasSuffix(loc.path, "/") {
			within.Original = characters
			r.segments[loc.directive.place] = "of whole segments; in nginx of characters: it has " + loc.path + "x too"
		}
	}
	p := phase{reader: r, server: s, level: loc.level, path: loc.path, isRegex: loc.kind == locationRegexp}
	p.content = func(match migrate.Match, l *level, by *directive) { r.addContent(s, loc, l, match, by) }
	if loc.kind == locationExact || loc.kind == locationRegexp {
		p.path = "/"
	}
	if loc.isWider {
		markAll(loc.directive.block)
		r.addCase(within, migrate.Respond(loc.directive.place, 403, ""), loc.directive)
		return
	}
	if inside := first(loc.level.own("internal")); inside != nil {
		answer := migrate.Respond(inside.place, 404, "")
		answer.Keys[0].Note = "requests from outside"
		r.addCase(within, answer, loc.directive)
		return
	}
	if methods := loc.limited(); methods != nil {
		defer r.addCase(within, migrate.Respond(methods.place, 403, ""), loc.directive)
		all := methods.args
		if slices.Contains(all, "GET") && !slices.Contains(all, "HEAD") {
			all = append(slices.Clone(all), "HEAD")
		}
		within.Methods = all
		within = within.At("method", methods.place)
		methods.isRead = true
		markAll(methods.block)
	}
	p.run(within, loc.directive.block, func(match migrate.Match) {
		r.addSlash(s, loc, match)
		r.addContent(s, loc, loc.level, match, loc.directive)
	})
}

// hasPrefix reports whether a level has a prefix location of a path.
func (s *server) hasPrefix(l *level, path string) bool {
	return slices.ContainsFunc(l.block, func(d *directive) bool {
		return d.name == "location" && (len(d.args) == 1 && d.arg(0) == path || len(d.args) == 2 && d.arg(0) == "^~" && d.arg(1) == path)
	})
}

// isProtected reports whether a location keeps some clients out.
func (loc *location) isProtected(r *reader) bool {
	return len(loc.level.all("allow", "deny")) > 0 || loc.level.auth() != nil || loc.limited() != nil || r.closedIf(loc.level) != nil
}

// refuses reports whether a location answers with a status of 400 or more, or is for requests from within alone.
func (loc *location) refuses() bool {
	answer := loc.level.last("return")
	return len(loc.level.own("internal")) > 0 || answer != nil && isRefusal(answer)
}

// limited returns the limit_except of a location that refuses other methods, or nil.
func (loc *location) limited() *directive {
	for _, d := range loc.level.block {
		inner := &level{block: d.block}
		if d.name == "limit_except" && (len(inner.own("deny")) > 0 || inner.auth() != nil) {
			return d
		}
	}
	return nil
}

// addSlash adds the case of a path that lacks only the slash of the location: nginx redirects it to the one with the slash.
func (r *reader) addSlash(s *server, loc *location, match migrate.Match) {
	bare := strings.TrimSuffix(loc.path, "/")
	isPrefix := loc.kind == locationPrefix || loc.kind == locationFirst
	if !isPrefix || bare == loc.path || bare == "" || match.Path != bare || len(loc.level.own("proxy_pass")) == 0 {
		return
	}
	isTaken := slices.ContainsFunc(loc.level.outer.block, func(d *directive) bool {
		return d.name == "location" && (d.arg(0) == "=" && d.arg(1) == bare || d.arg(0) == "="+bare || d.arg(0) == bare || d.arg(0) == "^~" && d.arg(1) == bare)
	})
	if isTaken {
		return
	}
	match.Path, match.PathExact = "", bare
	answer := migrate.Redirect(loc.directive.place, bare+"/?{query}", 301)
	answer.Keys[0].Note = "as nginx, which sends a client to the path of the location"
	r.addResponseFields(answer, loc.level, &expander{level: loc.level, name: s.firstName()})
	r.addCase(match, answer, loc.level.own("proxy_pass")[0])
}
