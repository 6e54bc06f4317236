package caddy

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"

	"sluice/internal/migrate"
)

// scope is what the directives of a block share.
type scope struct {
	*reader
	within    migrate.Match         // of the block
	stripped  string                // what is taken off paths before the block sees them
	rewriting *directive            // what has changed paths before the block sees them; nil: nothing
	matchers  map[string]*directive // by name, with @
	plain     []string              // the listeners of the site without TLS
	secure    []string              // and with it
}

// when returns the clauses of the matcher that a directive begins with, and the arguments behind it.
func (s *scope) when(d *directive) (clauses []migrate.Clause, rest []string, err error) {
	rest = d.arguments()
	if len(rest) == 0 {
		return []migrate.Clause{{}}, rest, nil
	}
	switch first := rest[0]; {
	case first == "*":
		return []migrate.Clause{{}}, rest[1:], nil
	case strings.HasPrefix(first, "/"):
		anyOf, err := s.paths([]string{first}, d.Place, d.text())
		return asClauses(anyOf), rest[1:], err
	case strings.HasPrefix(first, "@"):
		m := s.matchers[first]
		if m == nil {
			return nil, rest[1:], fmt.Errorf("there is no matcher %s", first)
		}
		clauses, err = s.matcher(m)
		if err != nil {
			err = fmt.Errorf("%s (line %d): %w", first, m.Line, err)
		}
		return clauses, rest[1:], err
	}
	return []migrate.Clause{{}}, rest, nil
}

func asClauses(anyOf []migrate.Match) (clauses []migrate.Clause) {
	for _, m := range anyOf {
		clauses = append(clauses, migrate.Clause{Is: m})
	}
	return clauses
}

// matcher returns the clauses of a named matcher.
func (s *scope) matcher(d *directive) ([]migrate.Clause, error) { return s.all(linesOf(d)) }

// linesOf returns the lines of a named matcher: it has one, or a block of them.
func linesOf(d *directive) []*directive {
	lines := d.block
	if len(d.words) > 1 {
		lines = append(lines[:len(lines):len(lines)], &directive{Place: d.Place, words: d.words[1:], block: d.block})
		if d.block != nil { // as @name not { … }
			lines = lines[len(lines)-1:]
		}
	}
	return lines
}

// all returns the clauses in which all of the lines hold. Lines about one field are alternatives, as those of one parameter.
func (s *scope) all(lines []*directive) ([]migrate.Clause, error) {
	clauses := []migrate.Clause{{}}
	for i, l := range lines {
		if slices.ContainsFunc(lines[:i], l.isAlternativeOf) {
			continue
		}
		var anyOf []migrate.Clause
		for _, other := range lines[i:] {
			if other != l && !other.isAlternativeOf(l) {
				continue
			}
			more, err := s.line(other)
			if err != nil {
				return nil, err
			}
			anyOf = append(anyOf, more...)
		}
		var next []migrate.Clause
		for _, clause := range clauses {
			for _, alternative := range anyOf {
				both, overlap := clause.Is.And(alternative.Is)
				switch overlap {
				case migrate.Both:
					next = append(next, migrate.Clause{Is: both, Not: slices.Concat(clause.Not, alternative.Not)})
				case migrate.Uncertain:
					return nil, fmt.Errorf("two conditions on the same part of a request can't be joined")
				}
			}
		}
		if clauses = next; len(clauses) > 200 {
			return nil, fmt.Errorf("more than 200 alternatives")
		}
	}
	return clauses, nil
}

// isAlternativeOf reports whether two lines of a matcher are about the same part of a request: one of them has to hold.
func (d *directive) isAlternativeOf(other *directive) bool {
	kind := d.words[0]
	return kind == other.words[0] && (kind == "path" || kind == "host" || kind == "method" ||
		kind == "header" && len(d.words) > 1 && len(other.words) > 1 && strings.EqualFold(d.words[1], other.words[1]))
}

// line returns the clauses of one line of a matcher.
func (s *scope) line(d *directive) ([]migrate.Clause, error) {
	arguments := d.arguments()
	at := func(m migrate.Match, key string) []migrate.Clause { return []migrate.Clause{{Is: m.At(key, d.Place)}} }
	switch d.words[0] {
	case "path":
		anyOf, err := s.paths(arguments, d.Place, d.text())
		return asClauses(anyOf), err
	case "path_regexp":
		expression := arguments[len(arguments):]
		if len(arguments) > 0 {
			expression = arguments[len(arguments)-1:]
		}
		if len(expression) == 0 || s.stripped != "" {
			return nil, fmt.Errorf("path_regexp can't be carried over here")
		}
		if _, err := regexp.Compile(expression[0]); err != nil {
			return nil, err
		}
		return at(migrate.Match{PathRegexp: expression[0]}, "path"), nil
	case "host":
		hosts, err := hostsOf(arguments)
		return at(migrate.Match{Hosts: hosts}, "host"), err
	case "method":
		return at(migrate.Match{Methods: append([]string{}, arguments...)}, "method"), nil
	case "header":
		return s.header(d)
	case "header_regexp":
		if len(arguments) < 2 {
			return nil, fmt.Errorf("header_regexp has a field and an expression")
		}
		name, expression := arguments[len(arguments)-2], arguments[len(arguments)-1]
		if _, err := regexp.Compile(expression); err != nil {
			return nil, err
		}
		return at(migrate.Match{Header: map[string]string{name: "~" + expression}}, "header"), nil
	case "query":
		var clauses []migrate.Clause
		for _, pair := range arguments {
			name, value, _ := strings.Cut(pair, "=")
			clauses = append(clauses, at(migrate.Match{Query: map[string]string{name: value}}, "query")...)
		}
		return clauses, nil
	case "protocol":
		names := s.secure
		if len(arguments) == 1 && arguments[0] == "http" {
			names = s.plain
		} else if len(arguments) != 1 || arguments[0] != "https" {
			return nil, fmt.Errorf("protocol is http or https here")
		}
		return []migrate.Clause{{Is: migrate.Match{Listeners: append([]string{}, names...)}}}, nil
	case "remote_ip", "client_ip":
		clients, err := clientsOf(arguments)
		return at(migrate.Match{Clients: clients}, "allow"), err
	case "not":
		lines := d.block
		if len(arguments) > 0 {
			lines = []*directive{{Place: d.Place, words: arguments}}
		}
		inner, err := s.all(lines)
		if err != nil {
			return nil, err
		}
		var not []migrate.Match
		for _, clause := range inner {
			if clause.Not != nil {
				return nil, fmt.Errorf("not within not can't be carried over")
			}
			not = append(not, clause.Is)
		}
		return []migrate.Clause{{Not: not}}, nil
	}
	return nil, fmt.Errorf("%s can't be a condition of a route", d.words[0])
}

// header returns the clauses of a field: a value, one with a * at its ends, any value, or none.
func (s *scope) header(d *directive) ([]migrate.Clause, error) {
	arguments := d.arguments()
	match := func(name, pattern string) migrate.Match {
		return migrate.Match{Header: map[string]string{name: pattern}}.At("header", d.Place)
	}
	switch len(arguments) {
	case 1:
		if name, isAbsent := strings.CutPrefix(arguments[0], "!"); isAbsent {
			return []migrate.Clause{{Not: []migrate.Match{match(name, "*")}}}, nil
		}
		return asClauses([]migrate.Match{match(arguments[0], "*")}), nil
	case 2:
	default:
		return nil, fmt.Errorf("header has a field and a value")
	}
	name, value := arguments[0], arguments[1]
	bare := strings.Trim(value, "*")
	isUpgrade := strings.EqualFold(name, "connection") && strings.EqualFold(bare, "upgrade") || strings.EqualFold(name, "upgrade") && strings.EqualFold(bare, "websocket")
	switch {
	case isUpgrade:
		return asClauses([]migrate.Match{match("Upgrade", migrate.WebSocket)}), nil // both fields are in each handshake, and only there
	case strings.Contains(value, "{"):
		return nil, fmt.Errorf("a value with placeholders can't be a condition of a route")
	case bare == "":
		return asClauses([]migrate.Match{match(name, "*")}), nil
	case bare == value && !strings.HasPrefix(value, "~"):
		return asClauses([]migrate.Match{match(name, value)}), nil
	}
	expression := regexp.QuoteMeta(bare)
	if !strings.HasPrefix(value, "*") {
		expression = "^" + expression
	}
	if !strings.HasSuffix(value, "*") {
		expression += "$"
	}
	return asClauses([]migrate.Match{match(name, "~"+expression)}), nil
}

// paths returns the matches of paths, each of which may have *.
func (s *scope) paths(patterns []string, at migrate.Place, text string) ([]migrate.Match, error) {
	var anyOf []migrate.Match
	add := func(m migrate.Match) { anyOf = append(anyOf, m.At("path", at)) }
	for _, pattern := range patterns {
		if strings.Contains(pattern, "{") {
			return nil, fmt.Errorf("a path with placeholders can't be a condition of a route")
		}
		begin, isPrefix := strings.CutSuffix(pattern, "*")
		switch {
		case pattern == "*", pattern == "/*":
			add(migrate.Match{})
		case !strings.Contains(pattern, "*"):
			whole := s.stripped + pattern
			add(migrate.Match{PathExact: whole, Original: "(?i)^" + regexp.QuoteMeta(whole) + "$"})
		case isPrefix && !strings.ContainsAny(begin, "*?[") && strings.HasPrefix(begin, "/") && path.Clean(begin) == strings.TrimRight(begin, "/"):
			whole := s.stripped + strings.TrimRight(begin, "/")
			if strings.HasSuffix(begin, "/") {
				s.note(at, text, fmt.Sprintf("whole segments: the route has %s too", whole))
			} else {
				s.note(at, text, fmt.Sprintf("whole segments: the route has %s and %s/1, and %sx only if it refuses clients", whole, whole, whole))
			}
			add(migrate.Match{Path: whole, Original: "(?i)^" + regexp.QuoteMeta(s.stripped+begin)})
		case s.stripped != "":
			return nil, fmt.Errorf("the path %s can't be carried over here", pattern)
		case strings.ContainsAny(pattern, "?["):
			return nil, fmt.Errorf("the path %s can't be carried over: path_regexp", pattern)
		default:
			parts := strings.Split(pattern, "*")
			for i := range parts {
				parts[i] = regexp.QuoteMeta(parts[i])
			}
			between := "[^/]*"
			if strings.HasPrefix(pattern, "*") || isPrefix {
				between = ".*" // at its ends * goes beyond a segment
			}
			expression := "^" + strings.Join(parts, between) + "$"
			expression = strings.TrimSuffix(strings.TrimPrefix(expression, "^.*"), ".*$")
			add(migrate.Match{PathRegexp: expression, Original: "(?i)" + expression})
		}
	}
	return anyOf, nil
}

// hostsOf returns hosts as routes have them.
func hostsOf(names []string) ([]string, error) {
	hosts := []string{}
	for _, name := range names {
		bare := strings.TrimPrefix(name, "*.")
		if strings.ContainsAny(strings.ReplaceAll(bare, "${", ""), "*{") || bare == "" {
			return nil, fmt.Errorf("%s can't be the host of a route", name)
		}
		hosts = append(hosts, migrate.LowerHost(name))
	}
	return hosts, nil
}

// clientsOf returns addresses and prefixes; private_ranges stands for those of private networks.
func clientsOf(names []string) ([]string, error) {
	clients := []string{}
	for _, name := range names {
		if name == "private_ranges" {
			clients = append(clients, "192.168.0.0/16", "172.16.0.0/12", "10.0.0.0/8", "127.0.0.1/8", "fd00::/8", "::1")
			continue
		}
		_, errPrefix := netip.ParsePrefix(name)
		_, errAddr := netip.ParseAddr(name)
		if errPrefix != nil && errAddr != nil {
			return nil, fmt.Errorf("%s is not an address or prefix", name)
		}
		clients = append(clients, name)
	}
	return clients, nil
}
