package traefik

import (
	"regexp"
	"strconv"
	"strings"

	"sluice/internal/migrate"
)

// urlExpression takes the expression of a redirectRegex apart: it finds a whole URL. Groups are of the host as a whole, or of the path.
var urlExpression = regexp.MustCompile(`^\^?(https?\??)://(\([^()/]*\)|[^()/]+)(/.*)?$`)

// redirectRegex returns the case of what a middleware redirectRegex redirects, which comes before the case that it is of.
func (r *reader) redirectRegex(m *node, c migrate.Case) (redirected migrate.Case, isKnown bool) {
	expression, replacement := m.field("regex"), m.field("replacement")
	list := func(why string) (migrate.Case, bool) {
		r.note(expression.Place, "redirectRegex "+expression.text, why+": write a route with path_regexp and redirect")
		return c, false
	}
	found := urlExpression.FindStringSubmatch(expression.text)
	if found == nil {
		return list("the expression is not of a scheme, a host and a path")
	}
	scheme, host, path := found[1], found[2], strings.TrimSuffix(found[3], "$")
	isSecure := len(c.Listeners) == 1 && r.secure[c.Listeners[0]]
	if scheme == "http" && isSecure || scheme == "https" && !isSecure {
		return c, false // no URL of the listener has that scheme
	}
	bare := strings.ReplaceAll(strings.Trim(host, "()"), `\`, "")
	if bare != ".*" && bare != ".+" && bare != "[^/]+" && (len(c.Hosts) != 1 || !strings.EqualFold(bare, c.Hosts[0])) {
		return list("its host is not the one of the router")
	}
	to := replacement.text
	groups := 0
	if strings.HasPrefix(host, "(") {
		groups = 1
		to = hostGroup.ReplaceAllString(to, "${1}{host}${2}")
	}
	to = groupOf.ReplaceAllStringFunc(to, func(reference string) string {
		n, err := strconv.Atoi(strings.Trim(reference, "${}"))
		if err != nil || n <= groups {
			return "$" // a name, or a group that stands elsewhere
		}
		return "${" + strconv.Itoa(n-groups) + "}"
	})
	switch whole := path == "/(.*)" || path == "/?(.*)"; {
	case whole && strings.HasSuffix(to, "/${1}"):
		to = strings.TrimSuffix(to, "/${1}") + "{uri}"
	case path == "":
		to = strings.TrimSuffix(to, "/") + "{uri}" // what the expression does not find stays
	default:
		within, overlap := c.And(migrate.Match{PathRegexp: "^" + path}.At("path", expression.Place))
		if _, err := regexp.Compile("^" + path); err != nil || overlap != migrate.Both {
			return list("the router has a path of its own")
		}
		c.Match = within
	}
	if strings.HasSuffix(to, "$") || strings.Contains(strings.ReplaceAll(to, "${", ""), "$") {
		return list("a group can't stand there in an address")
	}
	if toHost, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(to, "https://"), "http://"), "/"); strings.Contains(toHost, "${") {
		return list("the host of an address has no groups of the path")
	}
	status := 302
	if permanent := m.field("permanent"); permanent.isTrue() {
		status = 301
	}
	via := c.Then.Via
	c.Then = migrate.Redirect(replacement.Place, to, status)
	c.Then.Keys[0].Also = []migrate.Place{expression.Place}
	c.Then.Via = via
	return c, true
}

// hostGroup matches the first group of an expression where it is the host of an address, and groupOf any group.
var (
	hostGroup = regexp.MustCompile(`^(https?://)\$(?:1|\{1\})(/|$)`)
	groupOf   = regexp.MustCompile(`\$(?:\d+|\{\w+\})`)
)
