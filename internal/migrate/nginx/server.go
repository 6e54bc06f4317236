package nginx

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"sluice/internal/migrate"
)

// A server is a server{}.
type server struct {
	directive *directive
	level     *level
	listens   []listen
	names     []string // in lower case, of the forms that routes have
	named     map[string]*location

	isUnprotected *directive // what keeps clients out in nginx and can't be carried over; nil: nothing
}

// addServer adds a server{}.
func (r *reader) addServer(l *level, d *directive) {
	s := &server{directive: d, level: l, named: map[string]*location{}}
	for _, listen := range l.own("listen") {
		s.listens = append(s.listens, parseListen(listen))
	}
	if len(s.listens) == 0 {
		s.listens = []listen{{host: "0.0.0.0", port: "80", options: map[string]bool{}, place: d.place}}
	}
	for _, of := range l.own("server_name") {
		for _, name := range of.args {
			s.addName(r, of, strings.ToLower(name))
		}
	}
	r.servers = append(r.servers, s)
}

// addName adds a name. "_" and the like match no host: such a server is there to be the default one.
func (s *server) addName(r *reader, d *directive, name string) {
	switch base, isBoth := strings.CutPrefix(name, "."); {
	case name == "" || name == "_":
	case isBoth && hostName.MatchString(base):
		s.names = append(s.names, base, "*."+base)
	case hostName.MatchString(strings.TrimSuffix(strings.TrimPrefix(name, "*."), ".*")) && !(strings.HasPrefix(name, "*.") && strings.HasSuffix(name, ".*")):
		s.names = append(s.names, name)
	default:
		r.skipText(d, "server_name "+name, "hosts are a name, *.NAME or NAME.*: list the names in hosts")
	}
}

var hostName = regexp.MustCompile(`^[a-z0-9_-]+(\.[a-z0-9_-]+)*$`)

// A group is the part of a server that is for some hosts at some listeners.
type group struct {
	server    *server
	hosts     []string // nil: any
	listeners []string
}

// groups returns the servers as groups, in the order in which nginx looks for the host of a request: exact names, the longest wildcard
// before a name, the longest one behind it, the default server.
func (r *reader) groups() []group {
	var groups []group
	for _, s := range r.servers {
		var named, byDefault []string
		claimed := map[string]bool{}
		for _, l := range r.listeners {
			if l.redirects || !slices.Contains(l.servers, s) {
				continue
			}
			isDefault := l.servers[0] == s
			if isDefault {
				byDefault = append(byDefault, l.name)
			}
			if !isDefault || l.hasWildcardBeside(s) {
				named = append(named, l.name)
			}
			for _, earlier := range l.servers[:slices.Index(l.servers, s)] {
				for _, name := range earlier.names {
					claimed[name] = true
				}
			}
		}
		hosts := slices.DeleteFunc(slices.Clone(s.names), func(name string) bool { return claimed[name] })
		if len(named) > 0 {
			for _, part := range s.divide(r, hosts) {
				groups = append(groups, group{s, part, named})
			}
		}
		if len(byDefault) > 0 {
			groups = append(groups, group{s, nil, byDefault})
		}
	}
	slices.SortStableFunc(groups, func(a, b group) int { return cmp.Compare(b.rank(), a.rank()) })
	return groups
}

// hasWildcardBeside reports whether another server of the listener has a wildcard, which comes before the default server.
func (l *listener) hasWildcardBeside(s *server) bool {
	return slices.ContainsFunc(l.servers, func(other *server) bool {
		return other != s && slices.ContainsFunc(other.names, isWildcardName)
	})
}

func isWildcardName(name string) bool {
	return strings.HasPrefix(name, "*.") || strings.HasSuffix(name, ".*")
}

// divide returns the hosts as one list, or as a list for each rank if wildcards of other servers may stand between them.
func (s *server) divide(r *reader, hosts []string) [][]string {
	if len(hosts) == 0 {
		return nil
	}
	for _, l := range r.listeners {
		if slices.Contains(l.servers, s) && l.hasWildcardBeside(s) {
			var parts [][]string
			for _, host := range hosts {
				at := slices.IndexFunc(parts, func(part []string) bool { return rankOf(part[0]) == rankOf(host) })
				if at < 0 {
					parts = append(parts, []string{host})
				} else {
					parts[at] = append(parts[at], host)
				}
			}
			return parts
		}
	}
	return [][]string{hosts}
}

// rank is the rank of the lowest host of a group; 0 without one.
func (g *group) rank() int {
	if len(g.hosts) == 0 {
		return 0
	}
	lowest := rankOf(g.hosts[0])
	for _, host := range g.hosts {
		lowest = min(lowest, rankOf(host))
	}
	return lowest
}

// rankOf is higher for a name that is looked for earlier.
func rankOf(name string) int {
	const longest = 1 << 16
	switch {
	case strings.HasPrefix(name, "*."):
		return longest + len(name)
	case strings.HasSuffix(name, ".*"):
		return len(name)
	}
	return 2 * longest
}

// addCases adds what a group does with requests.
func (r *reader) addCases(g group) {
	s := g.server
	if len(s.names) > 0 && len(g.hosts) == 0 {
		for _, d := range s.level.own("server_name") {
			r.skip(d, "it is the default server of its listener, which gets every host that no other server has: its routes have no host. Set host to have 404 for others")
		}
	}
	within := migrate.Match{Listeners: g.listeners, Hosts: g.hosts}
	if len(g.hosts) > 0 {
		within = within.At("host", s.level.own("server_name")[0].place)
	}
	p := phase{reader: r, server: s, level: s.level, path: "/"}
	p.run(within, s.level.block, func(within migrate.Match) {
		for _, loc := range s.locations(r) {
			r.addLocation(s, loc, within)
		}
		none := migrate.Respond(s.directive.place, 404, "")
		none.IsNone = true
		r.addCase(within, none, s.directive)
	})
}

// addCase adds what happens to requests, unless something else happens to all of them before. by is the block that says it.
func (r *reader) addCase(match migrate.Match, answer *migrate.Answer, by *directive) {
	if slices.ContainsFunc(r.cases, func(c migrate.Case) bool { return c.Covers(match) }) {
		return
	}
	if r.firstOf[by] == nil {
		r.firstOf[by] = answer
	}
	r.cases = append(r.cases, migrate.Case{Match: match, Then: answer})
}
