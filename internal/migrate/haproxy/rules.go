package haproxy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sluice/internal/migrate"
)

// A modifier is a line that changes requests or answers on their way.
type modifier struct {
	*line
	when   []migrate.Clause
	change func(migrate.Case) *migrate.Answer                    // nil: not possible for that case
	all    func([]migrate.Case, []migrate.Clause) []migrate.Case // instead of change, if it isn't nil
}

// casesOf returns what happens to the requests of a frontend: the rules of http-request, then use_backend, then default_backend.
// listeners are those that have routes: requests of the others are redirected.
func (r *reader) casesOf(s *section, c *conditions) (all []migrate.Case, listeners []string, err error) {
	rules, modifiers := r.rules(s, c)
	rewritten := r.noteRewritten(s, c, nil)
	var fallback *line
	for _, l := range s.all() {
		switch {
		case l.words[0] == "use_backend" && len(l.words) > 1:
			when, rest, err := c.parse(l.words, l)
			if err != nil {
				r.note(l, l.text(), err.Error())
				continue
			}
			to := r.find(rest[1])
			if to == nil || r.mode(to) != "http" {
				r.note(l, l.text(), "not the name of a backend with mode http: a route for each of the backends")
				continue
			}
			l.isUsed = true
			rules = append(rules, migrate.Rule{When: when, Then: &migrate.Answer{From: l.Place, Via: to.name}})
		case l.words[0] == "default_backend" && len(l.words) > 1:
			fallback = l
		}
	}
	last := migrate.Respond(s.Place, 503, "")
	last.IsNone = true
	switch {
	case s.kind == "listen" && r.pools[s.name] != nil:
		last = &migrate.Answer{From: s.Place, Via: s.name}
	case fallback != nil:
		if to := r.find(fallback.words[1]); to != nil && r.mode(to) == "http" {
			last = &migrate.Answer{From: fallback.Place, Via: to.name}
			fallback.isUsed = true
		} else {
			r.note(fallback, fallback.text(), "not the name of a backend with mode http")
		}
	}
	rules = append(rules, migrate.Rule{When: []migrate.Clause{{}}, Then: last})

	listeners = r.redirected(c, rules)
	cases, err := migrate.Cases(migrate.Match{Listeners: listeners}, rules, r.dropped)
	if err != nil {
		return nil, nil, err
	}
	cases = r.modify(cases, modifiers)
	for _, one := range cases {
		if one.Then.Via == "" || one.Then.Via == toHTTPS {
			all = append(all, one)
			continue
		}
		inside, err := r.backendCases(one, r.find(one.Then.Via), s, c, rewritten)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, inside...)
	}
	guarded := migrate.Guard(all,
		func(c migrate.Case) { r.dropped(migrate.Rule{Then: c.Then}, false) },
		func(c migrate.Case) { r.dropped(migrate.Rule{Then: c.Then}, true) })
	return migrate.Trim(guarded), listeners, nil
}

// dropped lists a rule of which a part can't be expressed, or one that refuses more instead.
func (r *reader) dropped(rule migrate.Rule, isWider bool) {
	for _, other := range r.sections {
		for _, l := range other.lines {
			switch {
			case l.Place != rule.Then.From:
				continue
			case isWider:
				r.note(l, l.text(), "no route can have just this condition: it refuses more here")
			case rule.Then.Refuses():
				r.refusal(l, "no route can have this condition together with those before it. The requests that it refuses pass")
			default:
				r.note(l, l.text(), "no route can have this condition: read the routes to see where its requests go")
			}
			return
		}
	}
}

// backendCases returns what a backend does with the requests of a case.
func (r *reader) backendCases(of migrate.Case, to, front *section, c *conditions, rewritten []*rewriting) ([]migrate.Case, error) {
	answer := of.Then
	for _, key := range r.routeKeys(front, to) {
		answer = answer.With(key)
	}
	if r.pools[to.name] == nil {
		answer = migrate.Respond(to.Place, 503, "")
	} else {
		answer = answer.With(migrate.Key{Name: "pool", Value: to.name, From: of.Then.From})
	}
	if to == front {
		of.Then = answer
		return []migrate.Case{of}, nil
	}
	inBackend := &conditions{reader: r, acls: aclsOf(to), plain: c.plain, secure: c.secure}
	rules, modifiers := r.rules(to, inBackend)
	r.noteRewritten(to, inBackend, rewritten)
	rules = append(rules, migrate.Rule{When: []migrate.Clause{{}}, Then: answer})
	cases, err := migrate.Cases(of.Match, rules, r.dropped)
	cases = r.modify(cases, modifiers)
	for i, c := range cases {
		changed := *c.Then
		changed.From = of.Then.From
		if of.Then.IsClosed() && !changed.IsClosed() {
			changed = *changed.Closed(of.Then.From, "http-request auth")
		}
		cases[i].Then = &changed
	}
	return cases, err
}

// modify applies modifiers to cases.
func (r *reader) modify(cases []migrate.Case, modifiers []modifier) []migrate.Case {
	for _, m := range modifiers {
		if m.all != nil {
			cases = m.all(cases, m.when)
			continue
		}
		for _, clause := range m.when {
			changed, isWhole := migrate.Modify(cases, clause, func(c migrate.Case) *migrate.Answer {
				if c.Then.IsOwn() && m.words[0] != "http-after-response" {
					return c.Then // these lines don't concern it
				}
				return m.change(c)
			})
			if !isWhole {
				r.note(m.line, m.text(), "not carried over for all requests: its condition, or its change, is not one that their routes can have")
			}
			cases = changed
			m.isUsed = true
		}
	}
	return cases
}

// redirected takes the listeners out whose requests are all redirected to https, and returns the others. It sets redirect_https of the
// former. Requests that would be refused before are redirected as well.
func (r *reader) redirected(c *conditions, rules []migrate.Rule) (kept []string) {
	first := rules[slices.IndexFunc(rules, func(rule migrate.Rule) bool {
		return !rule.Then.IsDenied || len(rule.When) == 1 && rule.When[0].Is.Covers(migrate.Match{})
	})]
	for _, name := range slices.Concat(c.plain, c.secure) {
		isWhole := slices.ContainsFunc(first.When, func(clause migrate.Clause) bool {
			return len(clause.Not) == 0 && clause.Is.Covers(migrate.Match{Listeners: []string{name}})
		})
		if first.Then.Via != toHTTPS || !isWhole || slices.Contains(c.secure, name) || first.Then.Keys[1].Value == 303 {
			kept = append(kept, name)
			continue
		}
		for _, listener := range r.draft.Listeners {
			if listener.Get("name") == name {
				listener.Set("redirect_https", true, first.Then.From)
				listener.Set("redirect_status", first.Then.Keys[1].Value, first.Then.From)
			}
		}
	}
	return kept
}

// rules returns the rules of a proxy's lines that answer requests, and those that change them.
func (r *reader) rules(s *section, c *conditions) (rules []migrate.Rule, modifiers []modifier) {
	var first, redirects []migrate.Rule // tcp-request counts before http-request, and a "redirect" line after it
	for _, l := range s.all() {
		words := l.words
		kind := words[0]
		switch kind {
		case "block":
			words = append([]string{"deny"}, words[1:]...)
		case "tcp-request":
			if words = words[min(2, len(words)):]; len(words) == 0 || words[0] != "reject" {
				continue
			}
		case "http-request", "http-response", "http-after-response":
			words = words[1:]
		case "redirect":
		case "monitor-uri":
			if len(words) > 1 {
				l.isUsed = true
				m := migrate.Match{PathExact: words[1]}.At("path", l.Place)
				rules = append([]migrate.Rule{{When: []migrate.Clause{{Is: m}}, Then: migrate.Respond(l.Place, 200, "")}}, rules...)
			}
			continue
		default:
			continue
		}
		if len(words) == 0 || slices.Contains(ignored, words[0]) || strings.HasPrefix(words[0], "set-var") {
			continue // skipRest says why
		}
		var when []migrate.Clause
		var rest []string
		var err error
		if isRefusing(words) {
			var found refusal
			found, rest = c.refused(words, l)
			when = found.when
			l.isUsed = true
			if len(found.closed) > 0 {
				modifiers = append(modifiers, r.closed(found.closed, l))
			}
			if len(when) == 0 {
				continue // it is listed, or never holds
			}
		} else if when, rest, err = c.parse(words, l); err == nil && len(rest) == 0 {
			continue
		}
		if err == nil {
			switch answer, change, isKnown, made := r.action(kind, rest, l); {
			case made != nil:
				err = made
			case !isKnown:
				continue
			case answer != nil && kind == "tcp-request":
				first = append(first, migrate.Rule{When: when, Then: answer})
			case answer != nil && kind == "redirect":
				redirects = append(redirects, migrate.Rule{When: when, Then: answer})
			case answer != nil:
				rules = append(rules, migrate.Rule{When: when, Then: answer})
			case change != nil:
				modifiers = append(modifiers, modifier{line: l, when: ofReplaced(rest, when), change: change})
			}
		}
		switch {
		case err != nil && isRefusing(words):
			r.refusal(l, err.Error())
			continue
		case err != nil:
			r.note(l, l.text(), err.Error())
			continue
		}
		l.isUsed = true
	}
	return slices.Concat(first, rules, redirects), modifiers
}

// ignored are actions that have a reason of their own.
var ignored = []string{"track-sc0", "track-sc1", "track-sc2", "capture", "set-log-level", "set-var"}

// action returns what the words of an http-request, http-response or redirect line do. Neither means that it needs nothing: that is noted.
func (r *reader) action(kind string, words []string, l *line) (*migrate.Answer, func(migrate.Case) *migrate.Answer, bool, error) {
	isRequest := kind != "http-response" && kind != "http-after-response"
	switch action := words[0]; {
	case action == "redirect" && isRequest:
		answer, err := redirect(words[1:], l)
		return answer, nil, true, err
	case slices.Contains(refusing, action) && isRequest:
		answer, err := r.respond(action, words[1:], l)
		return answer, nil, true, err
	case (action == "set-header" || action == "add-header") && len(words) > 2:
		change, err := r.setHeader(isRequest, action, words[1], strings.Join(words[2:], " "), l)
		return nil, change, true, err
	case action == "del-header" && len(words) == 2:
		name := "remove_header"
		if !isRequest {
			name = "remove_response_header"
		}
		return nil, func(c migrate.Case) *migrate.Answer { return c.Then.Append(name, words[1], l.Place) }, true, nil
	case action == "set-path" && isRequest && len(words) == 2:
		return nil, setPath(words[1], l.Place), true, nil
	case action == "replace-path" && isRequest && len(words) == 3:
		change, err := replacePath(words[1], words[2], l.Place)
		return nil, change, true, err
	}
	return nil, nil, true, fmt.Errorf("%s: Sluice has no such setting", words[0])
}

// toHTTPS marks the answer that redirects to the same address over https.
const toHTTPS = "https:"

// redirect returns the answer of a redirection.
func redirect(words []string, l *line) (*migrate.Answer, error) {
	status, to, kind := 302, "", ""
	isWithoutQuery := false
	for i := 0; i < len(words); i++ {
		word := words[i]
		switch {
		case i+1 < len(words) && (word == "scheme" || word == "location" || word == "prefix"):
			i++
			kind, to = word, words[i]
		case i+1 < len(words) && word == "code":
			i++
			n, err := count(words[i])
			if err != nil || !slices.Contains([]int{301, 302, 303, 307, 308}, n) {
				return nil, fmt.Errorf("the status of a redirection is 301, 302, 303, 307 or 308")
			}
			status = n
		case word == "drop-query":
			isWithoutQuery = true
		case word == "append-slash" || word == "ignore-empty":
		default:
			return nil, fmt.Errorf("a redirection with %s: Sluice has no such setting", word)
		}
	}
	to, err := template(to)
	if err != nil {
		return nil, err
	}
	switch {
	case kind == "scheme":
		answer := migrate.Redirect(l.Place, to+"://{hostport}{uri}", status)
		if to == "https" {
			answer.Via = toHTTPS
		}
		return answer, nil
	case kind == "prefix" && isWithoutQuery:
		to = strings.TrimSuffix(to, "/") + "{path}"
	case kind == "prefix":
		to = strings.TrimSuffix(to, "/") + "{uri}"
	case kind == "":
		return nil, fmt.Errorf("a redirection without scheme, location or prefix")
	}
	answer := migrate.Redirect(l.Place, to, status)
	answer.Keys[0].Value = migrate.Text(to)
	return answer, nil
}

// respond returns the answer of deny, tarpit, reject, silent-drop or return.
func (r *reader) respond(action string, words []string, l *line) (*migrate.Answer, error) {
	isRefusing := isRefusing(append([]string{action}, words...))
	status, body, contentType := 403, "", ""
	if action == "return" {
		status = 200
	}
	for i := 0; i+1 < len(words); i += 2 {
		value := words[i+1]
		switch words[i] {
		case "status", "deny_status":
			n, err := count(value)
			switch {
			case err == nil && n >= 200 && n <= 599:
				status = n
			case !isRefusing:
				return nil, fmt.Errorf("not a status: %s", value)
			}
		case "content-type":
			contentType = value
		case "string":
			body = value
		case "lf-string":
			if strings.Contains(value, "%") && isRefusing {
				r.note(l, l.text(), "a body with expressions has no counterpart: the answer has none")
				continue
			} else if strings.Contains(value, "%") {
				return nil, fmt.Errorf("a body with expressions has no counterpart")
			}
			body = value
		default:
			if isRefusing {
				r.note(l, l.text(), words[i]+" has no counterpart: the answer has the status alone")
				continue
			}
			return nil, fmt.Errorf("an answer with %s: Sluice has no such setting", words[i])
		}
	}
	answer := migrate.Respond(l.Place, status, body)
	if contentType != "" && contentType != "text/plain" {
		answer = answer.With(migrate.Key{Name: "response_header", Value: migrate.Inline{{Name: "Content-Type", Value: contentType, From: l.Place}}, From: l.Place})
	}
	return answer, nil
}

// set by Sluice itself, whatever a rule says.
var forwarded = []string{"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}

// atHandshake are fields that belong to the connection or the handshake.
var atHandshake = []string{"connection", "upgrade", "content-length", "transfer-encoding", "expect", "trailer", "sec-websocket-key", "sec-websocket-version",
	"sec-websocket-protocol", "sec-websocket-extensions", "sec-websocket-accept"}

// setHeader returns the change of set-header and add-header; nil if Sluice does so by itself.
func (r *reader) setHeader(isRequest bool, action, name, format string, l *line) (func(migrate.Case) *migrate.Answer, error) {
	lower := strings.ToLower(name)
	switch {
	case slices.Contains(atHandshake, lower):
		r.note(l, l.text(), "not needed: Sluice passes Connection, Upgrade and the fields of the handshake on")
		return nil, nil
	case isRequest && slices.Contains(forwarded, lower):
		r.note(l, l.text(), "not needed: Sluice sets X-Forwarded-For, -Proto and -Host")
		return nil, nil
	}
	value, err := template(format)
	if err != nil {
		return nil, err
	}
	table := "response_header"
	switch {
	case isRequest && lower == "host":
		if value == "{hostport}" || value == "{host}" {
			return nil, nil
		}
		return func(c migrate.Case) *migrate.Answer {
			return c.Then.With(migrate.Key{Name: "host_header", Value: migrate.Text(value), From: l.Place})
		}, nil
	case isRequest:
		table = "request_header"
	}
	if action == "add-header" {
		r.note(l, l.text(), "here it replaces fields of that name")
	}
	return func(c migrate.Case) *migrate.Answer { return field(c.Then, table, name, migrate.Text(value), l.Place) }, nil
}

// field returns the answer with one more field in a table of fields.
func field(a *migrate.Answer, table, name string, value any, from migrate.Place) *migrate.Answer {
	return a.With(migrate.Key{Name: migrate.Dotted(table, name), Value: value, From: from})
}

// setPath returns the change of set-path: a whole path, or one with a prefix before the client's.
func setPath(format string, from migrate.Place) func(migrate.Case) *migrate.Answer {
	return func(c migrate.Case) *migrate.Answer {
		prefix, isPrefix := strings.CutSuffix(format, "%[path]")
		switch {
		case strings.Contains(prefix, "%"), c.PathRegexp != "":
			return nil
		case isPrefix && c.PathExact != "":
			return rewritten(c, strings.TrimSuffix(prefix, "/")+c.PathExact, from)
		case isPrefix:
			return rewritten(c, strings.TrimSuffix(prefix, "/")+strings.TrimRight(c.Path, "/"), from)
		case c.PathExact != "":
			return rewritten(c, format, from)
		}
		return nil
	}
}

func rewritten(c migrate.Case, path string, from migrate.Place) *migrate.Answer {
	return c.Then.With(migrate.Key{Name: "rewrite_path", Value: path, From: from})
}

// stripping finds the prefix that a regular expression of replace-path takes off: /prefix/(.*), or /prefix(/)?(.*).
var stripping = regexp.MustCompile(`^\^?(/[A-Za-z0-9_./-]*[A-Za-z0-9_-])(?:/?\(\.\*\)|\(/\)\?\(\.\*\)|\(/\|\$\)\(\.\*\)|\(/\.\*\)\??)\$?$`)

// ofReplaced returns the clauses of a line without the paths that its replace-path leaves as they are.
func ofReplaced(words []string, when []migrate.Clause) []migrate.Clause {
	if words[0] != "replace-path" || len(words) != 3 {
		return when
	}
	found := stripping.FindStringSubmatch(words[1])
	if found == nil {
		return when
	}
	var all []migrate.Clause
	for _, clause := range when {
		switch is, overlap := clause.Is.And(migrate.Match{Path: found[1]}); overlap {
		case migrate.Both:
			all = append(all, migrate.Clause{Is: is, Not: clause.Not})
		case migrate.Uncertain:
			all = append(all, clause)
		}
	}
	return all
}

// replacePath returns the change of replace-path, which replaces a path that the expression finds as a whole.
func replacePath(expression, format string, from migrate.Place) (func(migrate.Case) *migrate.Answer, error) {
	compiled, err := regexp.Compile(expression)
	if err != nil {
		return nil, fmt.Errorf("the regular expression %s is not one of RE2", expression)
	}
	last := `\` + strconv.Itoa(compiled.NumSubexp())
	found := stripping.FindStringSubmatch(expression)
	return func(c migrate.Case) *migrate.Answer {
		path := c.Path
		if c.PathExact != "" {
			path = c.PathExact
		}
		switch prefix, isAtEnd := strings.CutSuffix(format, last); {
		case found != nil && isAtEnd && !strings.ContainsAny(prefix, `\%`) && c.PathRegexp == "" && (path+"/" == found[1]+"/" || strings.HasPrefix(path, found[1]+"/")):
			rest := "/" + strings.Trim(strings.TrimSuffix(prefix, "/")+path[len(found[1]):], "/")
			if rest == "/" && c.PathExact == "" {
				return c.Then.With(migrate.Key{Name: "strip_prefix", Value: found[1], From: from})
			}
			return rewritten(c, rest, from)
		case c.PathExact != "":
			return nil
		case c.PathRegexp == expression && !strings.Contains(format, "%"):
			return rewritten(c, groups(format), from)
		}
		return nil
	}, nil
}

// groups returns a format with references to groups of path_regexp, \1 as $1.
func groups(format string) string {
	var out strings.Builder
	for {
		before, after, isFound := strings.Cut(format, `\`)
		out.WriteString(before)
		if !isFound || after == "" {
			return out.String()
		}
		out.WriteString(migrate.Group(after[:1], after[1:]))
		format = after[1:]
	}
}
