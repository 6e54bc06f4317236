package nginx

import (
	"errors"
	"regexp"
	"strconv"
	"strings"

	"sluice/internal/migrate"
)

// A phase is the part of a server or location that answers requests before its content: return, if and rewrite, in their order.
type phase struct {
	reader  *reader
	server  *server
	level   *level
	path    string                                  // the prefix of the location; "/" in a server
	isRegex bool                                    // the location has a regular expression
	content func(migrate.Match, *level, *directive) // adds a case of the content of an if; nil in a server
}

// run adds the cases of the directives from one on, and then those of rest.
func (p *phase) run(within migrate.Match, block []*directive, rest func(migrate.Match)) {
	for i, d := range block {
		switch d.name {
		case "return":
			d.isRead = true
			answer := p.answer(d, p.level, p.isRegex)
			if by := p.reader.closedIf(p.level); by != nil && !answer.Refuses() {
				answer = migrate.Respond(d.place, 403, "")
				answer.Keys[0].Note = "because of the if of line " + strconv.Itoa(by.place.Line)
			}
			p.reader.addCase(within, answer, d)
			return
		case "rewrite":
			if p.redirect(within, d) {
				return
			}
		case "if":
			if p.condition(within, d, block[i+1:], rest) {
				return
			}
		}
	}
	rest(within)
}

// condition adds the cases of an if. It reports whether the rest is done.
func (p *phase) condition(within migrate.Match, d *directive, after []*directive, rest func(migrate.Match)) bool {
	when, isNegated, isKnown := p.reader.parseCondition(d)
	inner := &level{outer: p.level, block: d.block}
	answer := inner.last("return")
	if isOnlySet(d) {
		return false
	}
	if (!isKnown || within.Uncertain(when)) && answer != nil && isRefusal(answer) {
		p.reader.refuseIf(p.level, d, isNegated)
		markAll(d.block)
		return false
	}
	if !isKnown || answer == nil && (p.content == nil || inner.last("proxy_pass") == nil) {
		p.reader.skip(d, whyIf)
		markAll(d.block)
		return false
	}
	d.isRead = true
	match, overlap := within.And(when)
	add := func(match migrate.Match) {
		if answer != nil {
			p.reader.addCase(match, p.answer(answer, inner, p.isRegex), d)
		} else {
			p.content(match, inner, d)
		}
	}
	switch {
	case overlap == migrate.Uncertain:
		p.reader.skip(d, whyIf)
		return false
	case isNegated:
		if overlap == migrate.Both {
			p.run(match, after, rest)
		}
		add(within)
		return true
	case overlap == migrate.Both:
		add(match)
		return when.Covers(within)
	}
	return false
}

const whyIf = "conditions of routes are host, method, header, query and path: write routes with them"

// isOnlySet reports whether all that a block does is to set variables, which nothing here can follow.
func isOnlySet(d *directive) bool {
	for _, inner := range d.block {
		if inner.name != "set" {
			return false
		}
	}
	return true
}

// markAll marks directives as listed with the one around them.
func markAll(block []*directive) {
	for _, d := range block {
		d.isRead = true
		markAll(d.block)
	}
}

// answer returns what a return says.
func (p *phase) answer(d *directive, l *level, captures bool) *migrate.Answer {
	code, err := strconv.Atoi(d.arg(0))
	text, hasText := d.arg(1), len(d.args) > 1
	if err != nil { // return URL
		code, text, hasText = 302, d.arg(0), true
	}
	x := &expander{level: l, name: p.server.firstName(), captures: captures}
	var answer *migrate.Answer
	switch {
	case code == 444:
		answer = migrate.Respond(d.place, 404, "")
		answer.Keys[0].Note = "nginx closes the connection without an answer"
	case isRedirect(code) && hasText:
		to, err := x.expandURL(text)
		if err != nil {
			answer = migrate.Respond(d.place, 404, "")
			p.reader.skipIn(answer, d, err.Error()+": here it is 404")
			return answer
		}
		answer = migrate.Redirect(d.place, to, code)
	case code < 200 || code > 599:
		answer = migrate.Respond(d.place, 404, "")
		p.reader.skipIn(answer, d, "no status of an answer: here it is 404")
		return answer
	default:
		x.captures = false
		body, err := x.expand(text)
		switch {
		case code == 204 || code == 205 || code == 304:
			body = "" // these have none
		case len(body) > longestBody:
			body, err = "", errors.New("a body has 16 KiB at most")
		}
		answer = migrate.Respond(d.place, code, body)
		if err != nil {
			p.reader.skipIn(answer, d, err.Error()+": without the body here")
		}
		if kind := l.last("default_type"); kind != nil && body != "" {
			answer.Keys = append(answer.Keys, migrate.Key{Name: "response_header.Content-Type", Value: kind.arg(0), From: kind.place})
		}
	}
	p.reader.addResponseFields(answer, l, x)
	return answer
}

// longestBody is the longest body of respond, in bytes.
const longestBody = 16 << 10

func isRedirect(code int) bool {
	return code == 301 || code == 302 || code == 303 || code == 307 || code == 308
}

// firstName is what $server_name is; "" if it is no name of a host.
func (s *server) firstName() string {
	for _, d := range s.level.block {
		if d.name == "server_name" && hostName.MatchString(strings.ToLower(d.arg(0))) {
			return strings.ToLower(d.arg(0))
		}
	}
	return ""
}

// redirect adds the case of a rewrite that redirects. It reports whether it does so with all requests. Another rewrite is read with the
// content of its location.
func (p *phase) redirect(within migrate.Match, d *directive) bool {
	if !isRedirecting(d) {
		return false
	}
	d.isRead = true
	pattern, to, status := d.arg(0), d.arg(1), redirectStatus(d)
	if pattern == "^" || pattern == "^/" || pattern == ".*" || pattern == "^.*$" || pattern == "^.*" {
		x := &expander{level: p.level, name: p.server.firstName()}
		if value, err := x.expandURL(to); err == nil {
			p.reader.addCase(within, migrate.Redirect(d.place, withQuery(value), status), d)
			return true
		}
	}
	if whole := wholePath.FindStringSubmatch(pattern); whole != nil {
		to = strings.ReplaceAll(to, whole[1]+"$1", "$request_uri?")
	}
	match, isExact := p.pathMatch(within, pattern)
	x := &expander{level: p.level, name: p.server.firstName(), captures: true}
	value, err := x.expandURL(to)
	if err != nil || !isExact {
		p.reader.skip(d, whyRewrite)
		return false
	}
	p.reader.addCase(match, migrate.Redirect(d.place, withQuery(value), status), d)
	return false
}

// isRedirecting reports whether a rewrite redirects.
func isRedirecting(d *directive) bool {
	to, flag := d.arg(1), d.arg(2)
	return flag == "permanent" || flag == "redirect" ||
		strings.HasPrefix(to, "http://") || strings.HasPrefix(to, "https://") || strings.HasPrefix(to, "$scheme")
}

// wholePath is a pattern whose group is the whole path.
var wholePath = regexp.MustCompile(`^\^(/?)\(\.\*\)\$?$`)

const whyRewrite = "the path is changed by strip_prefix, by rewrite_path, or by path_regexp with rewrite_path"

// withQuery adds the query to what a rewrite redirects to. "?" at its end means that it is left out.
func withQuery(to string) string {
	if bare, isBare := strings.CutSuffix(to, "?"); isBare {
		return bare
	}
	if strings.Contains(to, "{uri}") || strings.Contains(to, "{query}") {
		return to
	}
	if strings.Contains(to, "?") {
		return to + "&{query}"
	}
	return to + "?{query}"
}

// pathMatch returns the match of the paths of the location that a pattern matches.
func (p *phase) pathMatch(within migrate.Match, pattern string) (migrate.Match, bool) {
	if _, err := regexp.Compile(pattern); err != nil {
		return within, false
	}
	prefix := "^" + regexp.QuoteMeta(p.path)
	isWithin := p.path == "/" || strings.HasPrefix(pattern, prefix) || strings.HasPrefix(pattern, strings.TrimSuffix(prefix, "/"))
	if p.isRegex || within.PathExact != "" || within.PathRegexp != "" || !isWithin {
		return within, false
	}
	within.Path, within.Original, within.PathRegexp = "", "", pattern
	return within, true
}

// redirectStatus returns the status of a return or rewrite that redirects.
func redirectStatus(d *directive) int {
	if d.name == "rewrite" {
		if d.arg(2) == "permanent" {
			return 301
		}
		return 302
	}
	if code, err := strconv.Atoi(d.arg(0)); err == nil {
		return code
	}
	return 302
}
