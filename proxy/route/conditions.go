package route

import (
	"bytes"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"sluice/upgrade"
)

// Conditions are what a request must meet to be of a route. Immutable.
type Conditions struct {
	Listener   string         // "" means every listener
	Hosts      []string       // lower case; none means any; "*.example.com" is ".example.com", and "app.*" is "app."
	PathKind   PathKind       // how Path is compared
	Path       string         // without a slash at its end if it is a prefix, except "/"; the text of an expression
	PathRegexp *regexp.Regexp // with RegexpPath: finds a part of the path
	Methods    []string       // in order; none means any
	Headers    []Condition    // by name
	Queries    []Condition    // by name

	literal string // with RegexpPath: every path that the expression matches begins with it
}

// A PathKind says how the path of a route is compared with that of a request.
type PathKind uint8

const (
	PrefixPath PathKind = iota // whole segments at the beginning
	ExactPath                  // the whole path
	RegexpPath                 // a regular expression
)

// A Condition is what the value of a field or a parameter must be.
type Condition struct {
	Name     string
	Value    string // as configured: the value itself, "~" and a regular expression, or "*"
	isHidden bool   // the value may be a secret
	regexp   *regexp.Regexp
}

// anyValue is the value of a Condition that every value meets.
const anyValue = "*"

// newConditions returns the conditions of a section. An expression that can't be compiled matches nothing: Check has reported it.
func newConditions(c *Config) Conditions {
	conditions := Conditions{
		Listener: c.Listener,
		Path:     c.Path,
		Methods:  slices.Sorted(slices.Values(c.Method)),
		Headers:  newConditionList(c.Header, c.Hidden, fieldName),
		Queries:  newConditionList(c.Query, c.Hidden, func(name string) string { return name }),
	}
	for _, host := range c.allHosts() {
		conditions.Hosts = append(conditions.Hosts, newHost(host))
	}
	switch {
	case c.PathExact != "":
		conditions.PathKind, conditions.Path = ExactPath, c.PathExact
	case c.PathRegexp != "":
		conditions.PathKind, conditions.Path = RegexpPath, c.PathRegexp
		conditions.PathRegexp, _ = compileExpression(c.PathRegexp)
		conditions.literal = literalBeginning(c.PathRegexp)
	case c.Path != "/":
		conditions.Path = strings.TrimRight(c.Path, "/")
	}
	return conditions
}

// fieldName returns the name of a field in one of the forms that upgrade.IsSameField counts as the same.
func fieldName(name string) string {
	return http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
}

// UnbelievedField returns the name of a field in header that a request has only if its peer is believed to know it; "" if there is none.
// fields and certificate are as in upgrade.Request.Believe.
func (c *Config) UnbelievedField(fields, certificate bool) string {
	for _, name := range slices.Sorted(maps.Keys(c.Header)) {
		if !upgrade.IsBelieved(fieldName(name), fields, certificate) {
			return name
		}
	}
	return ""
}

// allHosts returns Host and Hosts.
func (c *Config) allHosts() []string {
	if c.Host == "" {
		return c.Hosts
	}
	return append([]string{c.Host}, c.Hosts...)
}

// newHost returns a host of the configuration in the form of Conditions.
func newHost(host string) string {
	host = strings.ToLower(host)
	if strings.HasPrefix(host, "*") || strings.HasSuffix(host, "*") {
		return strings.Trim(host, "*")
	}
	return canonicalHost(strings.Trim(host, "[]"))
}

// HostPattern returns a host that is in the form of Conditions as a configuration has it.
func HostPattern(host string) string {
	switch {
	case strings.HasPrefix(host, "."):
		return "*" + host
	case strings.HasSuffix(host, "."):
		return host + "*"
	default:
		return host
	}
}

// FirstHost returns the first host; "" means any.
func (c *Conditions) FirstHost() string {
	if len(c.Hosts) == 0 {
		return ""
	}
	return c.Hosts[0]
}

// IsPlain reports whether there are no other conditions than a listener, one host or none, and a prefix.
func (c *Conditions) IsPlain() bool {
	return len(c.Hosts) <= 1 && c.PathKind == PrefixPath && len(c.Methods)+len(c.Headers)+len(c.Queries) == 0
}

// newConditionList returns the conditions of a map, whose names get the form that the function returns. The values of some are hidden.
func newConditionList(from map[string]string, hidden map[string]bool, form func(string) string) (list []Condition) {
	for _, name := range slices.Sorted(maps.Keys(from)) {
		c := Condition{Name: form(name), Value: from[name], isHidden: hidden[name] || IsSecretName(name)}
		if text, isRegexp := strings.CutPrefix(c.Value, "~"); isRegexp {
			c.regexp, _ = compileExpression(text)
		}
		list = append(list, c)
	}
	slices.SortStableFunc(list, func(a, b Condition) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// secretWords are in the names of fields and parameters whose values may be secrets.
var secretWords = []string{"auth", "cookie", "key", "pass", "secret", "session", "signature", "token"}

// IsSecretName reports whether the name of a field or parameter says that its value may be a secret.
func IsSecretName(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(secretWords, func(word string) bool { return strings.Contains(name, word) })
}

// Shown returns the value for logs, metrics and the API, or what stands for a hidden one.
func (c *Condition) Shown() string {
	if c.isHidden {
		return "…"
	}
	return c.Value
}

// isRegexp reports whether the value must match an expression.
func (c *Condition) isRegexp() bool { return strings.HasPrefix(c.Value, "~") }

// isMetBy reports whether a value meets the condition.
func (c *Condition) isMetBy(value []byte) bool {
	switch {
	case c.isRegexp():
		return c.regexp != nil && c.regexp.Match(value)
	default:
		return c.Value == anyValue || string(value) == c.Value
	}
}

// Matches reports whether a request of a listener meets all conditions.
func (c *Conditions) Matches(listener string, req *upgrade.Request) bool {
	host := []byte(canonicalHost(string(req.Hostname())))
	return c.MatchesHost(host) && c.MatchesPath(req.Path()) && c.matchesRest(&ask{listener: listener, req: req})
}

// MatchesHost reports whether one of the hosts matches a host, which is in the form of upgrade.Request.Hostname.
func (c *Conditions) MatchesHost(host []byte) bool {
	return len(c.Hosts) == 0 || slices.ContainsFunc(c.Hosts, func(own string) bool { return matchesHost(own, host) })
}

// matchesHost reports whether a host of a route matches the host of a request.
func matchesHost[T []byte | string](own string, host T) bool {
	n := len(host) - len(own)
	switch {
	case strings.HasPrefix(own, "."):
		return n > 0 && string(host[n:]) == own
	case strings.HasSuffix(own, "."):
		return n > 0 && string(host[:len(own)]) == own
	default:
		return string(host) == own
	}
}

// MatchesPath reports whether the path of the route matches a path, which is in the form of upgrade.Request.Path.
func (c *Conditions) MatchesPath(path []byte) bool {
	switch c.PathKind {
	case ExactPath:
		return string(path) == c.Path
	case RegexpPath:
		return c.mayFind(path) && c.PathRegexp.Match(path)
	case PrefixPath:
		n := len(c.Path)
		return c.Path == "/" || len(path) >= n && string(path[:n]) == c.Path && (len(path) == n || path[n] == '/')
	default:
		panic("BUG: unknown kind of a path")
	}
}

// mayFind reports whether the expression of the path may match: it has to be asked.
func (c *Conditions) mayFind(path []byte) bool {
	return c.PathRegexp != nil && len(path) >= len(c.literal) && string(path[:len(c.literal)]) == c.literal
}

// matchesRest reports whether the conditions are met that concern neither the host nor the path.
func (c *Conditions) matchesRest(a *ask) bool {
	if c.Listener != "" && c.Listener != a.listener {
		return false
	}
	if len(c.Methods) > 0 && !matchesMethod(c.Methods, a.req.Method()) {
		return false
	}
	for i := range c.Headers {
		if !a.meetsField(&c.Headers[i]) {
			return false
		}
	}
	for i := range c.Queries {
		if !a.meetsParameter(&c.Queries[i]) {
			return false
		}
	}
	return true
}

func matchesMethod(methods []string, method []byte) bool {
	for _, m := range methods {
		if m == string(method) {
			return true
		}
	}
	return false
}

// parameterOf returns the value, as sent, of the first parameter of a query whose name is that one decoded.
func parameterOf(query []byte, name string) (value []byte, isThere bool) {
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte("&"))
		sent, value, _ := bytes.Cut(pair, []byte("="))
		if len(pair) > 0 && isDecoded(sent, name) {
			return value, true
		}
	}
	return nil, false
}

// isDecoded reports whether want is a part of a query decoded.
func isDecoded(part []byte, want string) bool {
	for len(part) > 0 && len(want) > 0 {
		c, n := queryOctet(part)
		if c != want[0] {
			return false
		}
		part, want = part[n:], want[1:]
	}
	return len(part) == 0 && len(want) == 0
}

// appendDecoded appends a part of a query decoded.
func appendDecoded(dst, part []byte) []byte {
	for len(part) > 0 {
		c, n := queryOctet(part)
		dst, part = append(dst, c), part[n:]
	}
	return dst
}

// queryOctet returns the first octet of a part of a query, decoded as forms are, and its encoded length. A "%" that no two hexadecimal
// digits follow means itself.
func queryOctet(part []byte) (c byte, n int) {
	switch {
	case part[0] == '+':
		return ' ', 1
	case part[0] == '%' && len(part) > 2:
		high, low := hexDigit(part[1]), hexDigit(part[2])
		if high >= 0 && low >= 0 {
			return byte(high<<4 | low), 3
		}
	}
	return part[0], 1
}

// hexDigit returns the value of a hexadecimal digit; -1 if c is none.
func hexDigit(c byte) int {
	if isLetter(c) {
		c |= 0x20
	}
	return strings.IndexByte("0123456789abcdef", c)
}
