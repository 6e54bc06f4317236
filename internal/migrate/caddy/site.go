package caddy

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"sluice/internal/migrate"
)

// order is the order in which Caddy executes directives, of those that have a meaning here.
var order = []string{"header", "request_body", "redir", "rewrite", "uri", "basic_auth", "basicauth", "forward_auth", "request_header",
	"handle", "handle_path", "route", "abort", "error", "respond", "reverse_proxy", "php_fastcgi", "file_server"}

// answers are the directives of order that answer requests, or lead to those that do.
var answers = []string{"redir", "handle", "handle_path", "route", "abort", "error", "respond", "reverse_proxy", "php_fastcgi", "file_server"}

// A step is a directive with its matcher.
type step struct {
	*directive
	when []migrate.Clause
	rest []string // its arguments without the matcher

	isClosing bool // it lets only some clients in, by what no route can have
}

// cases returns what the directives of a block make of the requests of the scope. base is what all of them have. Those that no directive
// answers have no answer.
func (s *scope) cases(block []*directive, base *migrate.Answer) ([]migrate.Case, error) {
	return s.execute(s.steps(block, true), base)
}

// steps returns the directives in the order in which they are executed.
func (s *scope) steps(block []*directive, isSorted bool) []step {
	outer := s.matchers
	s.matchers = map[string]*directive{}
	for name, matcher := range outer {
		s.matchers[name] = matcher
	}
	for _, d := range block {
		if d.isCondition {
			s.matchers[d.words[0]] = d
		}
	}
	var steps []step
	for _, d := range block {
		if !slices.Contains(order, d.words[0]) {
			continue
		}
		when, rest, err := s.when(d)
		isClosing := isAuth(d)
		if err != nil && isRefusing(d) {
			when, isClosing, err = s.refused(d, err)
		}
		if err != nil {
			s.note(d.Place, d.text(), err.Error())
			continue
		}
		steps = append(steps, step{d, when, rest, isClosing})
	}
	if isSorted {
		slices.SortStableFunc(steps, func(a, b step) int {
			return cmp.Or(cmp.Compare(rank(a.words[0]), rank(b.words[0])), compareMatchers(a, b))
		})
	}
	return steps
}

// rank returns where in the order a directive is. handle and handle_path are alternatives of each other.
func rank(name string) int {
	switch name {
	case "handle_path":
		name = "handle"
	case "basicauth":
		name = "basic_auth"
	}
	return slices.Index(order, name)
}

// compareMatchers orders directives of one name: the longest path first, those without a matcher last.
func compareMatchers(a, b step) int {
	pathOf := func(s step) string {
		if len(s.when) == 1 && s.when[0].Not == nil {
			return s.when[0].Is.Path + s.when[0].Is.PathExact
		}
		return ""
	}
	isOpen := func(s step) int {
		if len(s.when) == 1 && s.when[0].Not == nil && s.when[0].Is.Covers(migrate.Match{}) {
			return 1
		}
		return 0
	}
	if pathA, pathB := pathOf(a), pathOf(b); pathA != "" && pathB != "" {
		return cmp.Compare(len(pathB), len(pathA))
	}
	return cmp.Compare(isOpen(a), isOpen(b))
}

// execute returns what steps make of the requests of the scope.
func (s *scope) execute(steps []step, base *migrate.Answer) ([]migrate.Case, error) {
	inside := *s // what it rewrites concerns the blocks in it alone
	s = &inside
	var rules []migrate.Rule
	for i, step := range steps {
		if slices.Contains(answers, step.words[0]) && !step.isClosing {
			rules = append(rules, migrate.Rule{When: step.when, Then: &migrate.Answer{
				From: step.Place, Keys: base.Keys, Skipped: base.Skipped, Via: strconv.Itoa(i), IsDenied: isRefusing(step.directive),
			}})
		}
	}
	none := migrate.Respond(base.From, 404, "")
	none.IsNone = true
	rules = append(rules, migrate.Rule{When: []migrate.Clause{{}}, Then: none})
	cases, err := migrate.Cases(s.within, rules, func(rule migrate.Rule, isWider bool) {
		i, _ := strconv.Atoi(rule.Then.Via)
		switch step := steps[i]; {
		case isWider:
			s.note(step.Place, step.text(), "no route can have just this matcher: it refuses more here")
		case isRefusing(step.directive):
			s.refusal(step.directive, "no route can have this matcher together with those around it. The requests that it refuses pass")
		default:
			s.note(step.Place, step.text(), "no route can have this matcher: read the routes to see where its requests go")
		}
	})
	if err != nil {
		return nil, err
	}
	s.noteRewritten(steps)
	for _, step := range steps {
		if step.isClosing {
			cases = s.close(cases, steps, step)
		} else if change := s.change(step); change != nil {
			cases = s.modify(cases, step, change)
		}
	}
	var all []migrate.Case
	for _, c := range cases {
		i, err := strconv.Atoi(c.Then.Via)
		if err != nil {
			all = append(all, c)
			continue
		}
		made, err := s.answer(c, steps[i])
		if err != nil {
			return nil, err
		}
		all = append(all, made...)
	}
	return all, nil
}

// modify applies a change to the cases for which its matcher holds.
func (s *scope) modify(cases []migrate.Case, step step, change func(migrate.Case) *migrate.Answer) []migrate.Case {
	for _, clause := range step.when {
		changed, isWhole := migrate.Modify(cases, clause, func(c migrate.Case) *migrate.Answer {
			if c.Then.IsNone {
				return c.Then
			}
			return change(c)
		})
		if !isWhole {
			s.note(step.Place, step.text(), "not carried over for all requests: its matcher, or its change, is not one that their routes can have")
		}
		cases = changed
	}
	return cases
}

// answer returns what a directive that answers makes of a case.
func (s *scope) answer(c migrate.Case, step step) ([]migrate.Case, error) {
	one := func(then *migrate.Answer) ([]migrate.Case, error) {
		c.Then = then
		return []migrate.Case{c}, nil
	}
	own := func(then *migrate.Answer) ([]migrate.Case, error) { // with the fields for the client
		for _, key := range c.Then.Keys {
			isOfAll := strings.HasPrefix(key.Name, "response_header") || key.Name == "remove_response_header"
			if isOfAll || key.Name == "deny" && step.words[0] != "redir" {
				then = then.With(key)
			}
		}
		return one(then)
	}
	switch step.words[0] {
	case "handle", "route", "handle_path":
		inner := *s
		inner.within = c.Match
		base := *c.Then
		base.Via = ""
		base.From = step.Place
		if step.words[0] == "handle_path" {
			prefix := c.Path
			if prefix == "" {
				s.note(step.Place, step.text(), "the prefix of this path can't be taken off")
			} else {
				base = *base.With(migrate.Key{Name: "strip_prefix", Value: prefix, From: step.Place})
				inner.stripped = prefix
			}
		}
		return inner.execute(inner.steps(step.block, step.words[0] != "route"), &base)
	case "redir":
		redirect, err := s.redirect(step)
		if err != nil {
			s.note(step.Place, step.text(), err.Error())
			return own(none(step.Place, 404))
		}
		return own(redirect)
	case "respond", "error":
		return own(s.respond(step))
	case "abort":
		s.note(step.Place, step.text(), "here the answer is 403")
		return own(migrate.Respond(step.Place, 403, ""))
	case "reverse_proxy":
		then := s.reverseProxy(c, step)
		if then == nil {
			return own(none(step.Place, 404))
		}
		return one(then)
	}
	s.note(step.Place, step.text(), "files are not served: a web server behind Sluice can do it. Here the answer is 404")
	return own(none(step.Place, 404))
}

// none returns the answer of requests that have none.
func none(from migrate.Place, status int) *migrate.Answer {
	answer := migrate.Respond(from, status, "")
	answer.IsNone = true
	return answer
}

// redirect returns the answer of redir.
func (s *scope) redirect(step step) (*migrate.Answer, error) {
	status := 302
	if len(step.rest) > 1 {
		switch code := step.rest[1]; code {
		case "permanent":
			status = 301
		case "temporary":
		case "301", "302", "303", "307", "308":
			status, _ = strconv.Atoi(code)
		default:
			s.note(step.Place, step.text(), "here the status is 302")
		}
	}
	to := ""
	if len(step.rest) > 0 {
		to = step.rest[0]
	}
	to, err := template(to)
	if err != nil {
		return nil, err
	}
	redirect := migrate.Redirect(step.Place, to, status)
	redirect.Keys[0].Value = migrate.Text(to)
	return redirect, nil
}

// respond returns the answer of respond and error: a body, a status, or both.
func (s *scope) respond(step step) *migrate.Answer {
	status, body := 200, ""
	if step.words[0] == "error" {
		status = 500
	}
	for i, argument := range step.rest {
		code, err := strconv.Atoi(argument)
		if isLast := i == len(step.rest)-1; err == nil && isLast && code >= 200 && code <= 599 {
			status = code
		} else {
			body = argument
		}
	}
	for _, d := range step.block {
		switch {
		case d.words[0] == "body" && len(d.words) > 1:
			body = d.words[1]
		case d.words[0] == "close":
			s.note(d.Place, d.text(), "connections are kept")
		}
	}
	if status == 204 || status == 205 || status == 304 {
		body = "" // these have none
	}
	answer := migrate.Respond(step.Place, status, "")
	if body != "" {
		answer.Keys[0].Value = append(answer.Keys[0].Value.(migrate.Inline), migrate.Key{Name: "body", Value: migrate.Text(knownTemplate(body)), From: step.Place})
	}
	return answer
}

// reason says why a directive isn't carried over.
func reason(d *directive) string {
	if d.isCondition {
		return "not needed: the routes of the directives that name it have it"
	}
	if d.isCredential {
		return "a credential"
	}
	if why := reasons[d.words[0]]; why != "" {
		return why
	}
	if slices.Contains(order, d.words[0]) || d.block != nil {
		return "its lines are listed by themselves, or other directives take its requests"
	}
	return "Sluice has no such setting"
}

// reasons are those of directives and options that are known.
var reasons = map[string]string{
	"encode":               "plain answers are not compressed: the backend can do it",
	"log":                  "[log]",
	"output":               "[log] output",
	"format":               "[log] format",
	"level":                "[log] level",
	"log_skip":             "[log] access",
	"skip_log":             "[log] access",
	"root":                 "files are not served",
	"file_server":          "files are not served: a web server behind Sluice can do it",
	"try_files":            "files are not served",
	"php_fastcgi":          "FastCGI is not spoken: a web server behind Sluice can do it",
	"templates":            "files are not served",
	"push":                 "not needed: browsers don't take it any more",
	"metrics":              "[admin]: GET /metrics",
	"admin":                "[admin]",
	"debug":                "[log] level",
	"order":                "the order of directives is Caddy's own here: write out what differs",
	"storage":              "[listener.tls.acme] storage",
	"grace_period":         "[gateway] drain",
	"shutdown_delay":       "[gateway] drain_delay",
	"map":                  "there are no variables",
	"vars":                 "there are no variables",
	"handle_errors":        "answers of the gateway's own have a fixed text",
	"dns":                  "certificates are obtained by http-01 and tls-alpn-01: for DNS put files into tls.certificate",
	"acme_dns":             "certificates are obtained by http-01 and tls-alpn-01: for DNS put files into tls.certificate",
	"on_demand":            "tls.acme.domains names the domains",
	"on_demand_tls":        "tls.acme.domains names the domains",
	"acme_eab":             "tls.acme.eab_key_id and eab_key_file",
	"ciphers":              "not needed: Go chooses the cipher suites",
	"curves":               "not needed: Go chooses the curves",
	"flush_interval":       "not needed: nothing is held back",
	"buffer_requests":      "not needed: bodies pass as they come",
	"buffer_responses":     "not needed: bodies pass as they come",
	"request_buffers":      "not needed: bodies pass as they come",
	"response_buffers":     "not needed: bodies pass as they come",
	"stream_close_delay":   "not needed: a reload leaves sessions alone",
	"lb_try_interval":      "not needed: another backend is tried at once",
	"handle_response":      "answers pass as they are",
	"replace_status":       "answers pass as they are",
	"keepalive":            "not needed: connections of plain requests are used again",
	"keepalive_idle_conns": "not needed: connections of plain requests are used again",
	"compression":          "not needed: fields about encodings pass as they are",
	"header_up":            "a change of a field that has no counterpart: request_header sets, remove_header removes",
	"header_down":          "a change of a field that has no counterpart: response_header sets, remove_response_header removes",
	"health_body":          "a check looks at the status",
	"health_headers":       "health.host is the field that a check has",
	"health_port":          "a check goes to the backend's own address",
	"protocols":            "http2 of [[listener]]; HTTP/3 is not spoken",
	"timeouts":             "head_timeout of [[listener]]",
	"read_header":          "head_timeout of [[listener]]",
	"read_body":            "write_timeout of [[route]]",
	"idle":                 "not needed: idle connections are closed as places run out",
	"max_header_size":      "heads have 16 KiB at most",
	"resolvers":            "[pool.discovery] server",
	"trusted_proxies":      "[[listener]] trusted_proxies",
	"client_ip_headers":    "X-Forwarded-For of trusted_proxies is believed",
	"strict_sni_host":      "routes look at the host of the request",
	"import":               "without effect",
	"tls":                  "part of the listener",
	"bind":                 "part of the listener",
	"email":                "without effect: no certificate is obtained",
	"invoke":               "Sluice has no such setting",
	"tracing":              "[tracing]",
	"acme_server":          "Sluice has no such setting",
	"intercept":            "answers pass as they are",
}
