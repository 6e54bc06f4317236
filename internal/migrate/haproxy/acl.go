package haproxy

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"sluice/internal/migrate"
)

// conditions knows the acl lines of a proxy, and what its conditions require of a request.
type conditions struct {
	reader        *reader
	acls          map[string][]*line
	plain, secure []string // the names of its listeners without and with TLS

	// Of the condition that is read: whether it refuses requests, and begins with unless; and whether the ACL may find more than it says.
	isRefusing, isUnless, mayWiden bool
}

// A term is one ACL: any of its matches.
type term struct {
	anyOf   []migrate.Match
	isNot   bool
	unknown error // why a part of it, or all, can't be expressed; nil: nothing
}

// mostClauses bounds what the alternatives of a condition may grow to.
const mostClauses = 200

// parse returns the clauses of the condition that the words end with, as "if a !b or c" and "unless a"; without one it is all requests.
// Its error says what can't be expressed.
func (c *conditions) parse(words []string, at *line) (clauses []migrate.Clause, rest []string, err error) {
	i := slices.IndexFunc(words, func(w string) bool { return w == "if" || w == "unless" })
	if i < 0 {
		return []migrate.Clause{{}}, words, nil
	}
	alternatives, err := c.condition(words[i:], at)
	if err != nil {
		return nil, words[:i], err
	}
	for _, terms := range alternatives {
		for _, t := range terms {
			if t.unknown != nil {
				return nil, words[:i], t.unknown
			}
		}
		made, err := c.clausesOf(terms)
		if err != nil {
			return nil, words[:i], err
		}
		if clauses = append(clauses, made...); len(clauses) > mostClauses {
			return nil, words[:i], fmt.Errorf("the condition has more than %d alternatives", mostClauses)
		}
	}
	return clauses, words[:i], nil
}

// condition returns the alternatives of words that begin with if or unless.
func (c *conditions) condition(words []string, at *line) ([][]term, error) {
	alternatives, err := c.alternatives(words[1:], at)
	if err == nil && words[0] == "unless" {
		return negate(alternatives)
	}
	return alternatives, err
}

// alternatives returns the terms of a condition: any of the lists holds if all of its terms do.
func (c *conditions) alternatives(words []string, at *line) ([][]term, error) {
	alternatives := [][]term{nil}
	isNot := false
	for i := 0; i < len(words); i++ {
		word := words[i]
		for strings.HasPrefix(word, "!") {
			isNot = !isNot
			word = word[1:]
		}
		last := len(alternatives) - 1
		c.mayWiden = c.isRefusing && isNot == c.isUnless
		var anyOf []migrate.Match
		var err error
		switch {
		case word == "":
			continue
		case word == "or" || word == "||":
			alternatives = append(alternatives, nil)
			continue
		case word == "{":
			end := slices.Index(words[i:], "}")
			if end < 0 {
				return nil, fmt.Errorf("a { that isn't closed")
			}
			anyOf, err = c.match(words[i+1:i+end], at)
			i += end
		default:
			anyOf, err = c.named(word)
		}
		alternatives[last] = append(alternatives[last], term{anyOf, isNot, err})
		isNot = false
	}
	return alternatives, nil
}

// negate returns the alternatives of "unless".
func negate(alternatives [][]term) ([][]term, error) {
	negated := [][]term{nil}
	for _, terms := range alternatives {
		var next [][]term
		for _, so := range negated {
			for _, t := range terms {
				next = append(next, append(slices.Clone(so), term{t.anyOf, !t.isNot, t.unknown}))
			}
		}
		if negated = next; len(negated) > mostClauses {
			return nil, fmt.Errorf("the condition has more than %d alternatives", mostClauses)
		}
	}
	return negated, nil
}

// clausesOf returns the clauses in which all of the terms hold.
func (c *conditions) clausesOf(terms []term) ([]migrate.Clause, error) {
	clauses := []migrate.Clause{{}}
	for _, t := range terms {
		var next []migrate.Clause
		for _, clause := range clauses {
			if t.isNot && !isListeners(t.anyOf) {
				clause.Not = append(slices.Clone(clause.Not), t.anyOf...)
				next = append(next, clause)
				continue
			}
			anyOf := t.anyOf
			if t.isNot {
				anyOf = []migrate.Match{{Listeners: c.otherListeners(t.anyOf[0].Listeners), Places: t.anyOf[0].Places}}
			}
			for _, m := range anyOf {
				both, overlap := clause.Is.And(m)
				switch overlap {
				case migrate.Both:
					next = append(next, migrate.Clause{Is: both, Not: clause.Not})
				case migrate.Uncertain:
					return nil, fmt.Errorf("two conditions on the same part of a request can't be joined: name one of them")
				}
			}
		}
		if clauses = next; len(clauses) > mostClauses {
			return nil, fmt.Errorf("the condition has more than %d alternatives", mostClauses)
		}
	}
	return clauses, nil
}

// isListeners reports whether a term is about nothing but the listener.
func isListeners(anyOf []migrate.Match) bool {
	return len(anyOf) == 1 && anyOf[0].Listeners != nil && migrate.Match{Listeners: anyOf[0].Listeners}.Covers(anyOf[0])
}

func (c *conditions) otherListeners(names []string) []string {
	others := []string{}
	for _, name := range slices.Concat(c.plain, c.secure) {
		if !slices.Contains(names, name) {
			others = append(others, name)
		}
	}
	return others
}

// named returns the matches of an ACL by its name. Its error says why one of its lines can't be expressed; the matches are those of the others.
func (c *conditions) named(name string) (anyOf []migrate.Match, unknown error) {
	for _, l := range c.acls[name] {
		matches, err := c.match(l.words[2:], l)
		if err != nil {
			unknown = fmt.Errorf("acl %s (line %d): %w", name, l.Line, err)
			continue
		}
		anyOf = append(anyOf, matches...)
		l.isUsed = true
	}
	if c.acls[name] != nil {
		return anyOf, unknown
	}
	switch name {
	case "TRUE", "HTTP", "WAIT_END":
		return []migrate.Match{{}}, nil
	case "FALSE":
		return nil, nil
	case "LOCALHOST":
		return []migrate.Match{{Clients: []string{"127.0.0.1/8", "::1"}}}, nil
	}
	if method, isMethod := strings.CutPrefix(name, "METH_"); isMethod {
		methods := []string{method}
		if method == "GET" {
			methods = append(methods, "HEAD") // as HAProxy's METH_GET has it
		}
		return []migrate.Match{{Methods: methods}}, nil
	}
	return nil, fmt.Errorf("there is no acl %s", name)
}

// A criterion is what an ACL compares, taken apart.
type criterion struct {
	fetch, argument string // "hdr" and "host" of hdr_beg(host)
	method          string // "", beg, end, sub, dir, dom, reg, found or another
	ignoresCase     bool
	values          []string
}

// match returns the matches of the words of an ACL without its name.
func (c *conditions) match(words []string, at *line) ([]migrate.Match, error) {
	if len(words) == 0 {
		return nil, fmt.Errorf("an acl without a criterion")
	}
	crit, err := parseCriterion(words)
	if err != nil {
		return nil, err
	}
	text := strings.Join(words, " ")
	switch crit.fetch {
	case "path", "url", "pathq":
		return c.paths(crit, at, text)
	case "hdr", "req.hdr", "req.fhdr":
		if strings.EqualFold(crit.argument, "host") {
			return c.hosts(crit, at, text)
		}
		return headers(crit, at)
	case "ssl_fc_sni", "req.ssl_sni", "req_ssl_sni":
		c.reader.note(at, text, "the name in TLS: here the host of the request")
		return c.hosts(crit, at, text)
	case "method":
		return []migrate.Match{migrate.Match{Methods: upper(crit.values)}.At("method", at.Place)}, nil
	case "url_param", "urlp":
		pattern, err := crit.pattern()
		return []migrate.Match{migrate.Match{Query: map[string]string{crit.argument: pattern}}.At("query", at.Place)}, err
	case "src":
		return clients(crit, at)
	case "ssl_fc":
		names := c.secure
		if names == nil {
			names = []string{}
		}
		return []migrate.Match{{Listeners: names}}, nil
	case "ssl_c_verify": // the handshake of a certificate with another result ends
		if slices.Equal(crit.values, []string{"0"}) {
			return []migrate.Match{{}}, nil
		}
	case "always_true":
		return []migrate.Match{{}}, nil
	case "always_false":
		return nil, nil
	}
	if isRate(crit.fetch) {
		return nil, errRate
	}
	return nil, fmt.Errorf("%s can't be a condition of a route", words[0])
}

// errRate is why a condition on how much a client asks for can't be expressed.
var errRate = errors.New("rates and counts by client address: [[listener]] handshake_rate, handshake_burst, max_sessions_per_ip")

// isRate reports whether a criterion is what a stick-table counts.
func isRate(fetch string) bool {
	isCount := strings.HasSuffix(fetch, "_rate") || strings.HasSuffix(fetch, "_cnt") || strings.HasSuffix(fetch, "_cur") || strings.Contains(fetch, "_gpc")
	return isCount && (strings.HasPrefix(fetch, "sc") || strings.HasPrefix(fetch, "src_") || strings.HasPrefix(fetch, "table_"))
}

func notRE2(expression string) error {
	return fmt.Errorf("the regular expression %s is not one of RE2, which has no lookahead and no references to groups", expression)
}

// parseCriterion takes an ACL apart.
func parseCriterion(words []string) (crit criterion, err error) {
	name, converters, _ := strings.Cut(words[0], ",")
	crit.fetch, crit.argument, _ = strings.Cut(strings.TrimSuffix(name, ")"), "(")
	for _, converter := range strings.Split(converters, ",") {
		switch converter {
		case "":
		case "lower":
			crit.ignoresCase = true
		case "host_only", "field(1", ":)": // the port of a host never counts here
		default:
			return crit, fmt.Errorf("the converter %s: Sluice has no such setting", converter)
		}
	}
	if crit.fetch != "url_param" {
		if fetch, method, hasMethod := strings.Cut(crit.fetch, "_"); hasMethod && (fetch == "path" || fetch == "hdr" || fetch == "url" || fetch == "urlp") {
			crit.fetch, crit.method = fetch, method
		}
	}
	for i := 1; i < len(words); i++ {
		switch word := words[i]; {
		case len(crit.values) > 0:
			crit.values = append(crit.values, word)
		case word == "-i":
			crit.ignoresCase = true
		case word == "-m" && i+1 < len(words):
			i++
			if crit.method = words[i]; crit.method == "str" {
				crit.method = ""
			}
		case word == "-f" || word == "-M" || word == "-u":
			return crit, fmt.Errorf("values in a file: write them out")
		case word == "-n" || word == "--":
		default:
			crit.values = append(crit.values, word)
		}
	}
	return crit, nil
}

// paths returns the matches of a criterion of the path.
func (c *conditions) paths(crit criterion, at *line, text string) ([]migrate.Match, error) {
	var anyOf []migrate.Match
	add := func(m migrate.Match) { anyOf = append(anyOf, m.At("path", at.Place)) }
	var expressions []string // any of them: they become one
	if crit.ignoresCase && (crit.method == "" || crit.method == "beg") {
		c.reader.note(at, text, "the path of a route is compared with regard to case. Routes that refuse clients have path_regexp, which ignores it")
	}
	fold := ""
	if crit.ignoresCase {
		fold = "(?i)"
	}
	for _, value := range crit.values {
		quoted := regexp.QuoteMeta(value)
		switch crit.method {
		case "":
			m := migrate.Match{PathExact: value}
			if crit.ignoresCase {
				m.Original = "(?i)^" + quoted + "$"
			}
			add(m)
		case "beg":
			switch {
			case value == "/":
				add(migrate.Match{})
				continue
			case !strings.HasPrefix(value, "/") || strings.Contains(value, "//"):
				expressions = append(expressions, "^"+quoted)
				continue
			}
			m := migrate.Match{Path: strings.TrimRight(value, "/")}
			if m.Path == value {
				c.reader.note(at, text, fmt.Sprintf("whole segments: the route has %s and %s/1, and %sx only if it refuses clients", value, value, value))
			} else {
				c.reader.note(at, text, fmt.Sprintf("whole segments: the route has %s too", m.Path))
			}
			if m.Path == value || crit.ignoresCase {
				m.Original = fold + "^" + quoted
			}
			add(m)
		case "end":
			expressions = append(expressions, quoted+"$")
		case "sub":
			expressions = append(expressions, quoted)
		case "dir":
			expressions = append(expressions, "(^|/)"+regexp.QuoteMeta(strings.Trim(value, "/"))+"(/|$)")
		case "reg":
			expressions = append(expressions, value)
		case "found":
			add(migrate.Match{})
		default:
			return nil, fmt.Errorf("path_%s can't be a condition of a route", crit.method)
		}
	}
	if expressions != nil {
		expression := strings.Join(expressions, "|")
		expression = fold + expression
		wide, isWider, err := migrate.Widen(expression)
		switch {
		case err != nil || isWider && !c.mayWiden:
			return nil, notRE2(expression)
		case isWider:
			c.reader.note(at, text, "RE2 has no lookahead and no references to groups: the route refuses all paths that the rest of the expression finds")
			expression = wide
		}
		add(migrate.Match{PathRegexp: expression})
	}
	return anyOf, nil
}

// hosts returns the match of a criterion of the host.
func (c *conditions) hosts(crit criterion, at *line, text string) ([]migrate.Match, error) {
	hosts := []string{}
	for _, value := range crit.values {
		value = strings.ToLower(value)
		if name, port, hasPort := strings.Cut(value, ":"); hasPort && !strings.Contains(port, ":") {
			c.reader.note(at, text, "a host has no port here: any port of "+name)
			value = name
		}
		switch label := strings.Trim(value, "."); {
		case crit.method == "" && value != "":
			hosts = append(hosts, value)
		case crit.method == "beg" && strings.HasSuffix(value, "."):
			hosts = append(hosts, value+"*")
		case crit.method == "beg" && strings.Contains(value, "."):
			c.reader.note(at, text, "here the whole host, without its port")
			hosts = append(hosts, value)
		case crit.method == "beg" && value != "":
			c.reader.note(at, text, "labels are whole here: "+value+".*")
			hosts = append(hosts, value+".*")
		case crit.method == "end" && strings.HasPrefix(value, "."):
			hosts = append(hosts, "*"+value)
		case (crit.method == "end" || crit.method == "dom") && label != "":
			c.reader.note(at, text, "here "+label+" and all names below it")
			hosts = append(hosts, label, "*."+label)
		default:
			return nil, fmt.Errorf("the host can't be matched by %s: name the hosts", crit.method)
		}
	}
	return []migrate.Match{migrate.Match{Hosts: hosts}.At("host", at.Place)}, nil
}

// headers returns the match of a criterion of a header field.
func headers(crit criterion, at *line) ([]migrate.Match, error) {
	match := func(name, pattern string) []migrate.Match {
		return []migrate.Match{migrate.Match{Header: map[string]string{name: pattern}}.At("header", at.Place)}
	}
	isUpgrade := strings.EqualFold(crit.argument, "connection") && len(crit.values) == 1 && strings.EqualFold(crit.values[0], "upgrade") ||
		strings.EqualFold(crit.argument, "upgrade") && len(crit.values) == 1 && strings.EqualFold(crit.values[0], "websocket")
	if isUpgrade && crit.method != "reg" {
		return match("Upgrade", migrate.WebSocket), nil // both fields are in each handshake, and only there
	}
	pattern, err := crit.pattern()
	return match(crit.argument, pattern), err
}

// pattern returns the criterion's values as a condition of a field or parameter.
func (crit *criterion) pattern() (string, error) {
	if crit.method == "found" || len(crit.values) == 0 {
		return "*", nil
	}
	if crit.method == "" && len(crit.values) == 1 && !crit.ignoresCase && !strings.HasPrefix(crit.values[0], "~") && crit.values[0] != "*" {
		return crit.values[0], nil
	}
	before, after := "", ""
	switch crit.method {
	case "":
		before, after = "^", "$"
	case "beg":
		before = "^"
	case "end":
		after = "$"
	case "sub", "reg":
	default:
		return "", fmt.Errorf("a match by %s can't be a condition of a route", crit.method)
	}
	var values []string
	for _, value := range crit.values {
		if crit.method != "reg" {
			value = regexp.QuoteMeta(value)
		}
		values = append(values, value)
	}
	expression := strings.Join(values, "|")
	if len(values) > 1 && before+after != "" {
		expression = "(?:" + expression + ")"
	}
	if expression = before + expression + after; crit.ignoresCase {
		expression = "(?i)" + expression
	}
	if _, err := regexp.Compile(expression); err != nil {
		return "", notRE2(expression)
	}
	return "~" + expression, nil
}

// clients returns the match of a criterion of the client's address.
func clients(crit criterion, at *line) ([]migrate.Match, error) {
	for _, value := range crit.values {
		_, errPrefix := netip.ParsePrefix(value)
		_, errAddr := netip.ParseAddr(value)
		if errPrefix != nil && errAddr != nil {
			return nil, fmt.Errorf("%s is not an address or prefix", value)
		}
	}
	return []migrate.Match{migrate.Match{Clients: append([]string{}, crit.values...)}.At("allow", at.Place)}, nil
}

func upper(values []string) []string {
	var all []string
	for _, value := range values {
		all = append(all, strings.ToUpper(value))
	}
	return all
}
