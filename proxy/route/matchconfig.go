package route

import (
	"errors"
	"fmt"
	"maps"
	"net"
	resyntax "regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"

	"sluice/internal/units"
	"sluice/upgrade"
)

// Bounds of the conditions of a route.
const (
	mostHosts           = 256
	mostConditions      = 64 // methods, fields and parameters together
	mostExpressionBytes = 1 << 10
	mostTitleBytes      = 128
)

// checkMatch reports what is wrong with the conditions of the route, and with its name.
func (c *Config) checkMatch(report units.Report) {
	if len(c.Name) > mostTitleBytes || strings.ContainsFunc(c.Name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		report("name", "too long, or with control characters", c.Name, fmt.Sprintf("at most %d bytes of text", mostTitleBytes))
	}
	c.checkHosts(report)
	c.checkPath(report)
	if n := len(c.Method) + len(c.Header) + len(c.Query); n > mostConditions {
		report("header", "too many conditions", n, fmt.Sprintf("at most %d methods, fields and parameters together", mostConditions))
	}
	for i, method := range c.Method {
		key := units.Indexed("method", i)
		switch {
		case !isToken(method):
			report(key, "not a method", method, `a method such as "GET"`)
		case method != strings.ToUpper(method):
			report(key, "not in upper case, in which methods are sent", method, strings.ToUpper(method))
		case slices.Contains(c.Method[:i], method):
			report(key, "twice", method, "each method once")
		}
	}
	c.checkFields(report)
	for _, name := range slices.Sorted(maps.Keys(c.Query)) {
		if name == "" {
			report("query", "a parameter without a name", nil, "the name of a parameter")
			continue
		}
		checkValue(report, "query."+name, c.Query[name])
	}
}

// checkHosts reports what is wrong with host and hosts.
func (c *Config) checkHosts(report units.Report) {
	const want = `"example.com", "*.example.com" or "app.*"`
	if err := checkHostPattern(c.Host); err != nil {
		report("host", err.Error(), c.Host, want+`, or "" for any`)
	}
	if len(c.Hosts) > mostHosts {
		report("hosts", "too many", len(c.Hosts), fmt.Sprintf("at most %d", mostHosts))
	}
	seen := map[string]bool{}
	if c.Host != "" {
		seen[newHost(c.Host)] = true
	}
	for i, host := range c.Hosts {
		key := units.Indexed("hosts", i)
		if host == "" {
			report(key, "empty", nil, want+"; without hosts, any host")
		} else if err := checkHostPattern(host); err != nil {
			report(key, err.Error(), host, want)
		} else if seen[newHost(host)] {
			report(key, "twice", host, "each host once, in host or in hosts")
		}
		seen[newHost(host)] = true
	}
}

// checkPath reports what is wrong with path, path_exact and path_regexp.
func (c *Config) checkPath(report units.Report) {
	const want = "one of path, path_exact and path_regexp"
	checkPathText(report, "path", c.Path)
	if c.PathExact != "" {
		checkPathText(report, "path_exact", c.PathExact)
		if c.Path != "/" {
			report("path_exact", "beside path", c.PathExact, want)
		}
	}
	if c.PathRegexp == "" {
		return
	}
	switch {
	case c.PathExact != "":
		report("path_regexp", "beside path_exact", c.PathRegexp, want)
	case c.Path != "/":
		report("path_regexp", "beside path", c.PathRegexp, want)
	}
	begins := literalBeginning(c.PathRegexp)
	switch err := checkExpression(c.PathRegexp); {
	case err != nil:
		report("path_regexp", err.Error(), c.PathRegexp, wantExpression)
	case begins != "" && begins[0] != '/':
		report("path_regexp", "no request's path: each begins with \"/\"", c.PathRegexp, "\"^/…\"")
	}
}

// checkPathText reports what keeps a path from being that of a request, decoded.
func checkPathText(report units.Report, key, path string) {
	switch {
	case !strings.HasPrefix(path, "/"):
		report(key, "not a path", path, "a path that starts with \"/\"")
	case strings.ContainsAny(path, "?#"):
		report(key, "more than a path", path, "no query and no fragment: the key query has conditions for parameters")
	case !IsReachable(path):
		report(key, "no request's path", path, "it decoded, but for %2f and %5c, and without \".\", \"..\" and empty segments")
	}
}

// checkFields reports what is wrong with header.
func (c *Config) checkFields(report units.Report) {
	names := slices.Sorted(maps.Keys(c.Header))
	for i, name := range names {
		key, value := "header."+name, c.Header[name]
		if !isToken(name) {
			report(key, "not the name of a field", value, `a name such as "X-Version"`)
		}
		if slices.ContainsFunc(names[:i], func(other string) bool { return upgrade.IsSameField(other, name) }) {
			report(key, "twice", value, "each field once: case does not count, and \"_\" is \"-\"")
		}
		checkValue(report, key, value)
		if !strings.HasPrefix(value, "~") && (value != strings.Trim(value, " \t") || strings.ContainsFunc(value, isControl)) {
			report(key, "no value of a field", value, "a value without control characters, and without white space around it")
		}
	}
}

func isControl(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

const wantExpression = "a regular expression in the syntax of RE2: without lookaround and back references"

// checkValue reports what is wrong with the expression of a condition, if it is one.
func checkValue(report units.Report, key, value string) {
	text, isRegexp := strings.CutPrefix(value, "~")
	if !isRegexp {
		return
	}
	if text == "" {
		report(key, "an empty expression", value, `"*" for any value`)
	} else if err := checkExpression(text); err != nil {
		report(key, err.Error(), value, wantExpression)
	}
}

// checkExpression returns what keeps text from being a regular expression of a route.
func checkExpression(text string) error {
	if len(text) > mostExpressionBytes {
		return fmt.Errorf("an expression of more than %d bytes", mostExpressionBytes)
	}
	_, err := compileExpression(text)
	if problem := (*resyntax.Error)(nil); errors.As(err, &problem) {
		return fmt.Errorf("not a regular expression: %s", problem.Code)
	}
	return err
}

// isToken reports whether s is a token, RFC 9110 section 5.6.2.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return c >= utf8.RuneSelf || !isLetter(byte(c)) && !isDigit(byte(c)) && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	})
}

// What is wrong with a host.
var (
	errHost          = errors.New("not a host")
	errHostWildcard  = errors.New("a wildcard beside an address")
	errHostWildcards = errors.New("a wildcard at both ends")
	errNotASCII      = errors.New("not ASCII: browsers send the name in Punycode (xn--…)")
)

// checkHostPattern returns what keeps s from being a host, a wildcard host, or empty.
func checkHostPattern(s string) error {
	if s == "" {
		return nil
	}
	host, isBefore := strings.CutPrefix(s, "*.")
	host, isAfter := strings.CutSuffix(host, ".*")
	if isBefore && isAfter {
		return errHostWildcards
	}
	if isAddress(host) {
		if isBefore || isAfter {
			return errHostWildcard
		}
		return nil
	}
	if len(host) > 253 || strings.HasSuffix(host, ".") {
		return errHost
	}
	if !isASCII(host) {
		return errNotASCII
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 {
			return errHost
		}
		for _, c := range []byte(label) {
			if !isLetter(c) && !isDigit(c) && c != '-' && c != '_' {
				return errHost
			}
		}
	}
	return nil
}

// isAddress reports whether s is an IP address; one of IPv6 may be in brackets.
func isAddress(s string) bool {
	if inner, isBracketed := strings.CutPrefix(s, "["); isBracketed {
		inner, isClosed := strings.CutSuffix(inner, "]")
		return isClosed && strings.Contains(inner, ":") && net.ParseIP(inner) != nil
	}
	return net.ParseIP(s) != nil
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c >= utf8.RuneSelf })
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
