package route

import (
	"bytes"
	"regexp"

	"sluice/upgrade"
)

// An ask is a request whose route is searched, with what is known of it so far.
type ask struct {
	listener string
	host     []byte
	req      *upgrade.Request
	path     []byte

	matchedBytes int // that were given to expressions

	// The field that was looked up last: routes often differ in the value of one field.
	field string
	value []byte // of its last line
	lines int

	// The parameter of the query that was looked up last.
	parameter    string
	sent         []byte // its value
	hasParameter bool
}

// newAsk returns an ask without a path.
func newAsk(listener string, req *upgrade.Request) ask {
	host := req.Hostname()
	if bytes.IndexByte(host, ':') >= 0 {
		host = []byte(canonicalHost(string(host)))
	}
	return ask{listener: listener, host: host, req: req}
}

// isOver reports whether expressions had to be left out, so that what was found may be wrong.
func (a *ask) isOver() bool { return a.matchedBytes > mostMatchedBytes }

// matches reports whether an expression matches a text, and false if it had to be left out.
func (a *ask) matches(e *regexp.Regexp, text []byte) bool {
	a.matchedBytes += len(text)
	return !a.isOver() && e != nil && e.Match(text)
}

// meetsPath reports whether the path meets the expression of a route.
func (a *ask) meetsPath(c *Conditions) bool {
	return c.mayFind(a.path) && a.matches(c.PathRegexp, a.path)
}

// meetsField reports whether a line of the field of that name meets a condition.
func (a *ask) meetsField(c *Condition) bool {
	if a.field != c.Name {
		a.field, a.value, a.lines = c.Name, nil, 0
		for value := range a.req.Believed(c.Name) {
			if a.lines == 0 {
				a.value = value
			}
			a.lines++
		}
	}
	if a.lines <= 1 {
		return a.lines == 1 && a.meetsValue(c, a.value)
	}
	for value := range a.req.Believed(c.Name) {
		if a.meetsValue(c, value) {
			return true
		}
	}
	return false
}

// meetsValue reports whether a value of a field meets a condition.
func (a *ask) meetsValue(c *Condition, value []byte) bool {
	if c.isRegexp() {
		return a.matches(c.regexp, value)
	}
	return c.Value == anyValue || string(value) == c.Value
}

// meetsParameter reports whether the query has a parameter of that name, the first of which meets a condition. Values are compared decoded.
func (a *ask) meetsParameter(c *Condition) bool {
	if a.parameter != c.Name {
		a.parameter = c.Name
		a.sent, a.hasParameter = parameterOf(a.req.Query(), c.Name)
	}
	switch {
	case !a.hasParameter:
		return false
	case !c.isRegexp():
		return c.Value == anyValue || isDecoded(a.sent, c.Value)
	case bytes.ContainsAny(a.sent, "%+"):
		return a.matches(c.regexp, appendDecoded(nil, a.sent))
	default:
		return a.matches(c.regexp, a.sent)
	}
}
