package traefik

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"sluice/internal/migrate"
)

// ruleParser reads a rule such as Host(`a`) && (PathPrefix(`/b`) || !Method(`GET`)).
type ruleParser struct {
	text  string
	at    migrate.Place
	note  func(why string)
	depth int
}

// mostClauses bounds what the alternatives of a rule may grow to.
const mostClauses = 200

var errAlternatives = fmt.Errorf("more than %d alternatives", mostClauses)

// parse returns the clauses of the rule, any of which has to hold.
func (p *ruleParser) parse() ([]migrate.Clause, error) {
	clauses, _, err := p.or()
	if err == nil && p.peek() != "" {
		err = fmt.Errorf("%q is no rule", p.text)
	}
	return clauses, err
}

// or returns the clauses of alternatives, and those of their opposite.
func (p *ruleParser) or() (is, not []migrate.Clause, err error) {
	if p.depth++; p.depth > mostDepth {
		return nil, nil, errors.New("parentheses too deep")
	}
	defer func() { p.depth-- }()
	not = []migrate.Clause{{}}
	for {
		more, moreNot, err := p.and()
		if err != nil {
			return nil, nil, err
		}
		is = append(is, more...)
		if not, err = both(not, moreNot); err != nil {
			return nil, nil, err
		}
		if !p.take("||") {
			return is, not, nil
		}
	}
}

func (p *ruleParser) and() (is, not []migrate.Clause, err error) {
	is = []migrate.Clause{{}}
	for {
		more, moreNot, err := p.unary()
		if err != nil {
			return nil, nil, err
		}
		not = append(not, moreNot...)
		if is, err = both(is, more); err != nil {
			return nil, nil, err
		}
		if !p.take("&&") {
			return is, not, nil
		}
	}
}

func (p *ruleParser) unary() (is, not []migrate.Clause, err error) {
	switch {
	case p.take("!"):
		if p.depth++; p.depth > mostDepth {
			return nil, nil, errors.New("negations too deep")
		}
		defer func() { p.depth-- }()
		is, not, err = p.unary()
		return not, is, err
	case p.take("("):
		if is, not, err = p.or(); err == nil && !p.take(")") {
			err = errors.New("a parenthesis that isn't closed")
		}
		return is, not, err
	}
	name, arguments, err := p.call()
	if err != nil {
		return nil, nil, err
	}
	anyOf, err := p.matcher(name, arguments)
	for _, m := range anyOf {
		is = append(is, migrate.Clause{Is: m})
	}
	return is, []migrate.Clause{{Not: anyOf}}, err
}

// both returns the clauses in which one of each holds.
func both(a, b []migrate.Clause) ([]migrate.Clause, error) {
	var all []migrate.Clause
	for _, x := range a {
		for _, y := range b {
			is, overlap := x.Is.And(y.Is)
			switch overlap {
			case migrate.Both:
				all = append(all, migrate.Clause{Is: is, Not: append(x.Not[:len(x.Not):len(x.Not)], y.Not...)})
			case migrate.Uncertain:
				return nil, errors.New("two conditions on the same part of a request can't be joined")
			}
			if len(all) > mostClauses {
				return nil, errAlternatives
			}
		}
	}
	return all, nil
}

func (p *ruleParser) peek() string {
	p.text = strings.TrimLeft(p.text, " \t\r\n")
	return p.text
}

func (p *ruleParser) take(text string) bool {
	if !strings.HasPrefix(p.peek(), text) {
		return false
	}
	p.text = p.text[len(text):]
	return true
}

// call reads a name and its arguments in backquotes or quotes.
func (p *ruleParser) call() (name string, arguments []string, err error) {
	name, rest, isCall := strings.Cut(p.peek(), "(")
	if !isCall || name == "" || strings.ContainsAny(name, " )&|!`\"") {
		return "", nil, fmt.Errorf("%q is no rule", p.text)
	}
	p.text = rest
	for !p.take(")") {
		if p.peek() == "" || p.text[0] != '`' && p.text[0] != '"' && p.text[0] != '\'' {
			return "", nil, fmt.Errorf("an argument of %s that isn't in quotes", name)
		}
		argument, rest, isClosed := strings.Cut(p.text[1:], p.text[:1])
		if !isClosed {
			return "", nil, fmt.Errorf("a quote in %s that isn't closed", name)
		}
		arguments = append(arguments, argument)
		p.text = rest
		p.take(",")
	}
	if len(arguments) == 0 {
		return "", nil, fmt.Errorf("%s has no argument", name)
	}
	return name, arguments, nil
}

// matcher returns the matches that a matcher means: any of them.
func (p *ruleParser) matcher(name string, arguments []string) ([]migrate.Match, error) {
	one := func(key string, m migrate.Match) ([]migrate.Match, error) {
		return []migrate.Match{m.At(key, p.at)}, nil
	}
	pair := func(pattern func(string) string) (string, string, error) {
		switch {
		case len(arguments) == 2:
			return arguments[0], pattern(arguments[1]), nil
		case len(arguments) == 1 && strings.Contains(arguments[0], "="):
			key, value, _ := strings.Cut(arguments[0], "=")
			return key, pattern(value), nil
		case len(arguments) == 1:
			return arguments[0], "*", nil
		}
		return "", "", fmt.Errorf("%s has a name and a value", name)
	}
	exact := func(value string) string {
		if strings.HasPrefix(value, "~") || value == "*" {
			return "~^" + regexp.QuoteMeta(value) + "$"
		}
		return value
	}
	switch name {
	case "Host", "HostHeader":
		hosts := []string{}
		for _, host := range arguments {
			hosts = append(hosts, migrate.LowerHost(host))
		}
		return one("host", migrate.Match{Hosts: hosts})
	case "HostRegexp":
		hosts := []string{}
		for _, expression := range arguments {
			host, err := p.hostOf(expression)
			if err != nil {
				return nil, err
			}
			if host == "" {
				return []migrate.Match{{}}, nil
			}
			hosts = append(hosts, host)
		}
		return one("host", migrate.Match{Hosts: hosts})
	case "Path", "PathPrefix", "PathRegexp":
		return p.paths(name, arguments)
	case "Method":
		methods := []string{}
		for _, method := range arguments {
			methods = append(methods, strings.ToUpper(method))
		}
		return one("method", migrate.Match{Methods: methods})
	case "Header", "Headers":
		field, value, err := pair(exact)
		if err != nil {
			return nil, err
		}
		if strings.EqualFold(field, "connection") && strings.EqualFold(value, "upgrade") || strings.EqualFold(field, "upgrade") && strings.EqualFold(value, "websocket") {
			field, value = "Upgrade", migrate.WebSocket
		}
		return one("header", migrate.Match{Header: map[string]string{field: value}})
	case "HeaderRegexp", "HeadersRegexp", "QueryRegexp":
		field, value, err := pair(func(expression string) string { return "~" + expression })
		if err == nil {
			_, err = regexp.Compile(strings.TrimPrefix(value, "~"))
		}
		if err != nil {
			return nil, err
		}
		if name == "QueryRegexp" {
			return one("query", migrate.Match{Query: map[string]string{field: value}})
		}
		return one("header", migrate.Match{Header: map[string]string{field: value}})
	case "Query":
		field, value, err := pair(exact)
		if err != nil {
			return nil, err
		}
		return one("query", migrate.Match{Query: map[string]string{field: value}})
	case "ClientIP":
		for _, client := range arguments {
			_, errPrefix := netip.ParsePrefix(client)
			_, errAddr := netip.ParseAddr(client)
			if errPrefix != nil && errAddr != nil {
				return nil, fmt.Errorf("%s is not an address or prefix", client)
			}
		}
		return one("allow", migrate.Match{Clients: arguments})
	}
	return nil, fmt.Errorf("%s can't be a condition of a route", name)
}

// paths returns the matches of paths, of which those of Traefik 2 may have {name:regexp}.
func (p *ruleParser) paths(name string, arguments []string) ([]migrate.Match, error) {
	var anyOf []migrate.Match
	for _, path := range arguments {
		m := migrate.Match{}
		switch {
		case name == "PathRegexp":
			m.PathRegexp = path
		case strings.Contains(path, "{") && strings.Contains(path, "}"):
			m.PathRegexp = "^" + variablesOf(path)
			if name == "Path" {
				m.PathRegexp += "$"
			}
		case name == "Path":
			m.PathExact = path
		case path == "/":
		default:
			m.Path = strings.TrimRight(path, "/")
			if m.Path == path {
				m.Original = "^" + regexp.QuoteMeta(path)
				p.note(fmt.Sprintf("whole segments: the route has %s and %s/1, and %sx only if it refuses clients", path, path, path))
			} else {
				p.note(fmt.Sprintf("whole segments: the route has %s too", m.Path))
			}
		}
		if _, err := regexp.Compile(m.PathRegexp); err != nil {
			return nil, err
		}
		anyOf = append(anyOf, m.At("path", p.at))
	}
	return anyOf, nil
}

// pathVariable matches {name} and {name:regexp} of Traefik 2.
var pathVariable = regexp.MustCompile(`\{\w+(?::([^{}]*))?\}`)

// variablesOf returns the regular expression of a text with such variables.
func variablesOf(text string) string {
	var out strings.Builder
	for {
		at := pathVariable.FindStringSubmatchIndex(text)
		if at == nil {
			return out.String() + regexp.QuoteMeta(text)
		}
		out.WriteString(regexp.QuoteMeta(text[:at[0]]))
		if at[2] >= 0 {
			out.WriteString("(?:" + text[at[2]:at[3]] + ")")
		} else {
			out.WriteString("[^/]+")
		}
		text = text[at[1]:]
	}
}

// hostBelow matches the expressions that people write for all names below one.
var hostBelow = regexp.MustCompile(`^\^?(?:\{\w+(?::[^{}]*)?\}|\(?(?:\?:)?(?:\.\+|\.\*|\[[^\]]+\][+*])\)?)((?:\\?\.[A-Za-z0-9-]+)+)\$?$`)

// anyHost matches those for all names.
var anyHost = regexp.MustCompile(`^\^?(?:\{\w+:\.[+*]\}|\.[+*])\$?$`)

// hostOf returns the host that an expression means, "" for any.
func (p *ruleParser) hostOf(expression string) (string, error) {
	if anyHost.MatchString(expression) {
		return "", nil
	}
	found := hostBelow.FindStringSubmatch(expression)
	if found == nil {
		return "", fmt.Errorf("HostRegexp(%s): name the hosts, as \"*.example.com\"", expression)
	}
	host := "*" + strings.ReplaceAll(found[1], `\`, "")
	p.note("here " + host + ", all names below it")
	return migrate.LowerHost(host), nil
}
