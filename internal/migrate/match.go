package migrate

import (
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"time"
)

// A Match is what a route requires of a request, as its keys have it. The zero value matches every request. Lists that are nil stand for
// anything; at most one of the three paths is set.
type Match struct {
	Listeners                   []string
	Hosts                       []string // in lower case: "example.com", "*.example.com" or "app.*"
	Path, PathExact, PathRegexp string
	Original                    string // a regular expression of the paths in the original, if Path or PathExact has fewer: see asOriginal
	Methods                     []string
	Header, Query               map[string]string // by name: a value, "~" and a regular expression, or "*"
	Clients                     []string          // addresses and prefixes. No key matches them: see Answers

	Places map[string]Place // where the value of a key comes from
}

// WebSocket is the value of Header for the field Upgrade of a WebSocket handshake.
const WebSocket = "~(?i)websocket"

// An Overlap is what two matches have in common.
type Overlap int

const (
	Disjoint  Overlap = iota // no request is of both
	Both                     // requests that one route can match
	Uncertain                // requests that no single route can match
)

// And returns the match of the requests that are of both. It is of use only with Both.
func (m Match) And(other Match) (Match, Overlap) {
	both := m
	both.Places = maps.Clone(m.Places)
	take := func(key string) {
		if place, isKnown := other.Places[key]; isKnown {
			both.from(key, place)
		}
	}
	worst := Both
	add := func(o Overlap) {
		if o == Disjoint || worst == Disjoint {
			worst = Disjoint
		} else {
			worst = max(worst, o)
		}
	}

	var o Overlap
	if both.Listeners, o = andLists(m.Listeners, other.Listeners, equal); m.Listeners == nil {
		take("listener")
	}
	add(o)
	if both.Hosts, o = andLists(m.Hosts, other.Hosts, andHosts); !slices.Equal(both.Hosts, m.Hosts) {
		take("host")
	}
	add(o)
	if both.Methods, o = andLists(m.Methods, other.Methods, equal); m.Methods == nil {
		take("method")
	}
	add(o)
	if both.Clients, o = andLists(m.Clients, other.Clients, equal); m.Clients == nil {
		take("allow")
	} else if o == Disjoint {
		o = Uncertain // prefixes are not compared
	}
	add(o)
	isOther, o := both.andPath(other)
	if isOther {
		take("path")
	}
	add(o)
	if both.Header, o = andValues(m.Header, other.Header); len(m.Header) == 0 {
		take("header")
	}
	add(o)
	if both.Query, o = andValues(m.Query, other.Query); len(m.Query) == 0 {
		take("query")
	}
	add(o)
	return both, worst
}

// Uncertain reports whether no route can have the requests that are of both.
func (m Match) Uncertain(other Match) bool {
	_, overlap := m.And(other)
	return overlap == Uncertain
}

// Covers reports whether every request of the other match is one of m. False also means that it isn't known.
func (m Match) Covers(other Match) bool {
	for name := range m.Header { // most differ here or in the path: And takes longer
		if _, isSet := other.Header[name]; !isSet {
			return false
		}
	}
	if len(m.Hosts) == 1 && len(other.Hosts) == 1 && m.Hosts[0] != other.Hosts[0] && !isWildcard(m.Hosts[0]) {
		return false
	}
	if m.PathExact != other.PathExact && m.PathExact != "" || m.PathRegexp != other.PathRegexp && m.PathRegexp != "" {
		return false
	}
	m.Places, other.Places = nil, nil // And would copy them
	both, overlap := other.And(m)
	return overlap == Both && both.equal(other)
}

func (m Match) equal(other Match) bool {
	same := func(a, b []string) bool {
		return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
	}
	return same(m.Listeners, other.Listeners) && same(m.Hosts, other.Hosts) && same(m.Methods, other.Methods) && same(m.Clients, other.Clients) &&
		m.Path == other.Path && m.PathExact == other.PathExact && m.PathRegexp == other.PathRegexp &&
		maps.Equal(m.Header, other.Header) && maps.Equal(m.Query, other.Query)
}

// At notes where the value of a key comes from, and returns m.
func (m Match) At(key string, place Place) Match {
	m.Places = maps.Clone(m.Places)
	m.from(key, place)
	return m
}

func (m *Match) from(key string, place Place) {
	if m.Places == nil {
		m.Places = map[string]Place{}
	}
	m.Places[key] = place
}

// andPath makes the path of m that of both. isOther reports whether it is the other one's.
func (m *Match) andPath(other Match) (isOther bool, o Overlap) {
	switch {
	case other.isAnyPath(), m.Path == other.Path && m.PathExact == other.PathExact && m.PathRegexp == other.PathRegexp:
		return false, Both
	case m.isAnyPath():
		m.setPath(other)
		return true, Both
	case m.PathExact != "":
		return false, disjointUnless(other.HasPath(m.PathExact))
	case other.PathExact != "":
		isOf := m.HasPath(other.PathExact)
		m.setPath(other)
		return true, disjointUnless(isOf)
	case m.Path != "" && other.Path != "":
		switch {
		case hasSegments(m.Path, other.Path):
			return false, Both
		case hasSegments(other.Path, m.Path):
			m.setPath(other)
			return true, Both
		}
		return false, Disjoint
	}
	return m.andRegexp(other)
}

// andRegexp is andPath where one of the two is a regular expression, and the other one a prefix or a regular expression.
func (m *Match) andRegexp(other Match) (isOther bool, o Overlap) {
	// A regular expression's paths begin with a text, and a prefix's with that or with what is longer.
	a, b := m.Path, other.Path
	isFolded := false
	if m.PathRegexp != "" {
		a, isFolded = beginning(m.PathRegexp)
	}
	if other.PathRegexp != "" {
		var isOtherFolded bool
		b, isOtherFolded = beginning(other.PathRegexp)
		isFolded = isFolded || isOtherFolded
	}
	if isFolded {
		a, b = strings.ToLower(a), strings.ToLower(b)
	}
	switch {
	case !strings.HasPrefix(a, b) && !strings.HasPrefix(b, a):
		return false, Disjoint
	case isFolded:
	case other.PathRegexp == "" && strings.HasPrefix(a, strings.TrimRight(b, "/")+"/"):
		return false, Both
	case m.PathRegexp == "" && strings.HasPrefix(b, strings.TrimRight(a, "/")+"/"):
		m.setPath(other)
		return true, Both
	}
	return false, Uncertain
}

// beginning returns the text with which all begins that a regular expression finds in paths; "" if it isn't known. isFolded reports that case
// doesn't count in it.
func beginning(expression string) (text string, isFolded bool) {
	parsed, err := syntax.Parse(expression, syntax.Perl)
	if err != nil || parsed.Op != syntax.OpConcat || len(parsed.Sub) < 2 || parsed.Sub[0].Op != syntax.OpBeginText {
		return "", false
	}
	if literal := parsed.Sub[1]; literal.Op == syntax.OpLiteral {
		return string(literal.Rune), literal.Flags&syntax.FoldCase != 0
	}
	return "", false
}

func (m *Match) setPath(other Match) {
	m.Path, m.PathExact, m.PathRegexp, m.Original = other.Path, other.PathExact, other.PathRegexp, other.Original
}

func (m Match) isAnyPath() bool {
	return (m.Path == "" || m.Path == "/") && m.PathExact == "" && m.PathRegexp == ""
}

// HasPath reports whether a request with that path may be one of m.
func (m Match) HasPath(path string) bool {
	switch {
	case m.PathExact != "":
		return path == m.PathExact
	case m.PathRegexp != "":
		re, err := regexp.Compile(m.PathRegexp)
		return err == nil && re.MatchString(path)
	}
	return hasSegments(path, m.Path)
}

// hasSegments reports whether path begins with the whole segments of prefix.
func hasSegments(path, prefix string) bool {
	prefix = strings.TrimRight(prefix, "/")
	return strings.HasPrefix(path, prefix) && (len(path) == len(prefix) || path[len(prefix)] == '/')
}

func disjointUnless(isAny bool) Overlap {
	if isAny {
		return Both
	}
	return Disjoint
}

// andLists returns what elements of two lists have in common; nil is everything.
func andLists(a, b []string, and func(a, b string) (string, Overlap)) ([]string, Overlap) {
	if a == nil || b == nil {
		if a == nil {
			a = b
		}
		return slices.Clone(a), disjointUnless(a == nil || len(a) > 0)
	}
	var both []string
	worst := Disjoint
	for _, x := range a {
		for _, y := range b {
			common, o := and(x, y)
			if o == Both && !slices.Contains(both, common) {
				both = append(both, common)
			}
			worst = max(worst, o)
		}
	}
	return both, worst
}

func equal(a, b string) (string, Overlap) { return a, disjointUnless(a == b) }

// andHosts returns the host of the requests that are of both hosts.
func andHosts(a, b string) (string, Overlap) {
	if a == b || hostHas(b, a) {
		return a, Both
	}
	if hostHas(a, b) {
		return b, Both
	}
	if isWildcard(a) && isWildcard(b) && strings.HasPrefix(a, "*") != strings.HasPrefix(b, "*") {
		return "", Uncertain
	}
	return "", Disjoint
}

// hostHas reports whether every name of host is one of pattern.
func hostHas(pattern, host string) bool {
	switch {
	case strings.HasPrefix(pattern, "*."):
		return strings.HasSuffix(host, pattern[1:]) && !strings.HasSuffix(host, ".*")
	case strings.HasSuffix(pattern, ".*"):
		return strings.HasPrefix(host, pattern[:len(pattern)-1]) && !strings.HasPrefix(host, "*.")
	}
	return pattern == host
}

func isWildcard(host string) bool {
	return strings.HasPrefix(host, "*.") || strings.HasSuffix(host, ".*")
}

// andValues joins conditions on fields or parameters. Two different ones for one name can't be one route's, unless both are values.
func andValues(a, b map[string]string) (map[string]string, Overlap) {
	if len(a) == 0 || len(b) == 0 {
		if len(a) == 0 {
			return maps.Clone(b), Both
		}
		return maps.Clone(a), Both
	}
	both := maps.Clone(a)
	for name, value := range b {
		has, isSet := both[name]
		switch {
		case !isSet, has == "*":
			both[name] = value
		case value == "*", has == value:
		case strings.HasPrefix(has, "~"), strings.HasPrefix(value, "~"):
			return nil, Uncertain
		default:
			return nil, Disjoint
		}
	}
	return both, Both
}

// Write sets the keys of a route. Of several listeners it names the first: such a match is one route for each of them. from is where keys
// come from that have no place of their own.
func (m Match) Write(route *Section, from Place) {
	set := func(place, key string, value any) { route.Set(key, value, m.placeOf(place, from)) }
	if len(m.Listeners) > 0 {
		set("listener", "listener", m.Listeners[0])
	}
	switch {
	case len(m.Hosts) == 1:
		set("host", "host", Text(m.Hosts[0]))
	case len(m.Hosts) > 1:
		set("host", "hosts", Texts(m.Hosts))
	}
	switch {
	case m.PathExact != "":
		set("path", "path_exact", m.PathExact)
	case m.PathRegexp != "":
		set("path", "path_regexp", m.PathRegexp)
	case m.Path != "" && m.Path != "/":
		set("path", "path", m.Path)
	}
	if len(m.Methods) > 0 {
		set("method", "method", m.Methods)
	}
	if len(m.Header) > 0 {
		set("header", "header", inline(m.Header, m.placeOf("header", from)))
	}
	if len(m.Query) > 0 {
		set("query", "query", inline(m.Query, m.placeOf("query", from)))
	}
	if len(m.Clients) > 0 {
		set("allow", "allow", Texts(m.Clients))
	}
}

// Text returns a text as the value of a key: one with variables of the environment is a Template.
func Text(text string) any {
	if strings.Contains(text, "${") {
		return Template(text)
	}
	return text
}

// Texts does so with a list.
func Texts(list []string) any {
	if !slices.ContainsFunc(list, func(text string) bool { return strings.Contains(text, "${") }) {
		return list
	}
	var all []any
	for _, text := range list {
		all = append(all, Text(text))
	}
	return all
}

// LowerHost returns a host in lower case, but for the variables of the environment in it.
func LowerHost(host string) string {
	before, rest, hasVariable := strings.Cut(host, "${")
	if !hasVariable {
		return strings.ToLower(host)
	}
	variable, after, _ := strings.Cut(rest, "}")
	return strings.ToLower(before) + "${" + variable + "}" + LowerHost(after)
}

// placeOf returns where the value of a key comes from; fallback if that isn't known.
func (m Match) placeOf(key string, fallback Place) Place {
	if place, isKnown := m.Places[key]; isKnown {
		return place
	}
	return fallback
}

func inline(values map[string]string, from Place) Inline {
	table := Inline{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		table = append(table, Key{Name: name, Value: values[name], From: from})
	}
	return table
}

// Duration returns a duration as the configuration has it: the shortest text, "5m" and not "5m0s".
func Duration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Group returns a reference to a group of path_regexp, for a value in which next follows.
func Group(number, next string) string {
	if next != "" && (next[0] == '_' || '0' <= next[0] && next[0] <= '9' || 'a' <= next[0]|0x20 && next[0]|0x20 <= 'z') {
		return "${" + number + "}"
	}
	return "$" + number
}
