package nginx

import (
	"regexp"
	"slices"
	"strings"

	"sluice/internal/migrate"
)

// addContent adds the case of what a location, or an if in it, answers requests with.
func (r *reader) addContent(s *server, loc *location, l *level, match migrate.Match, by *directive) {
	answer := &migrate.Answer{From: by.place}
	source := l
	pass := first(l.own("proxy_pass"))
	if pass == nil {
		if named := s.fallback(l); named != nil {
			source = named.level
			pass = first(source.own("proxy_pass"))
			r.firstOf[named.directive] = answer
		}
	}
	denied := r.writeAccess(s, source, answer)
	instead := func(from migrate.Place, status int, note string) *migrate.Answer {
		respond := migrate.Respond(from, status, "")
		respond.Keys[0].Note, respond.Skipped = note, answer.Skipped
		return respond
	}
	switch {
	case denied != nil:
		r.addCase(match, instead(denied.place, 403, ""), by)
		return
	case pass == nil:
		answer = instead(by.place, 404, "Sluice serves no files")
		answer.IsNone = true
		r.addCase(match, answer, by)
		return
	case !r.writePass(s, loc, source, &match, answer, pass):
		r.addCase(match, instead(pass.place, 404, "the proxy_pass of this line can't be carried over"), by)
		return
	}
	x := &expander{level: source, name: s.firstName()}
	r.writeFields(s, source, answer, x)
	r.addResponseFields(answer, source, x)
	r.hideFields(answer, source)
	r.writeTimes(source, answer, by)
	r.addCase(match, answer, by)
}

func first(all []*directive) *directive {
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

// fallback returns the named location to which try_files goes in the end, or error_page; nil: there is none.
func (s *server) fallback(l *level) *location {
	for _, name := range []string{"try_files", "error_page"} {
		for _, d := range l.own(name) {
			d.isRead = false // the files are no matter of Sluice
			last := d.arg(len(d.args) - 1)
			if named := s.named[strings.TrimPrefix(last, "@")]; named != nil && strings.HasPrefix(last, "@") {
				return named
			}
		}
	}
	return nil
}

// set adds a key to an answer, in the place of one of the same name.
func set(answer *migrate.Answer, name string, value any, from migrate.Place, note string) {
	for i := range answer.Keys {
		if answer.Keys[i].Name == name {
			answer.Keys[i] = migrate.Key{Name: name, Value: value, From: from, Note: note}
			return
		}
	}
	answer.Keys = append(answer.Keys, migrate.Key{Name: name, Value: value, From: from, Note: note})
}

// writePass writes the pool of a proxy_pass and what it makes of the path. It reports false if it can't, which it lists.
func (r *reader) writePass(s *server, loc *location, l *level, match *migrate.Match, answer *migrate.Answer, d *directive) bool {
	target, err := r.writePools(l, answer, d)
	if err != nil {
		r.skip(d, err.Error())
		return false
	}
	rewrites := slices.DeleteFunc(l.own("rewrite"), func(d *directive) bool { return isRedirecting(d) })
	switch {
	case len(rewrites) == 1 && r.writeRewrite(s, loc, l, match, answer, rewrites[0]):
		return true
	case len(rewrites) > 0:
		for _, rewrite := range rewrites {
			r.skipIn(answer, rewrite, whyRewrite)
		}
		return false
	}
	return r.writePath(s, loc, l, match, answer, d, target)
}

// writePools writes the pool of a proxy_pass, or the pools of its split_clients, and returns what it names.
func (r *reader) writePools(l *level, answer *migrate.Answer, d *directive) (target, error) {
	if split := r.splitOf(d); split != nil {
		return r.writeSplit(l, answer, d, split)
	}
	t, err := parseTarget(d.arg(0), l)
	if err != nil {
		return t, err
	}
	pool, err := r.pool(t, l, d)
	if err != nil {
		return t, err
	}
	set(answer, "pool", pool, d.place, "")
	return t, nil
}

// writePath writes how the URI of a proxy_pass changes the path.
func (r *reader) writePath(s *server, loc *location, l *level, match *migrate.Match, answer *migrate.Answer, d *directive, target target) bool {
	uri, isWithQuery := strings.CutSuffix(target.uri, "$is_args$args")
	switch {
	case uri == "", uri == "$request_uri", uri == "$uri" && (isWithQuery || !target.isComputed):
		return true
	case strings.Contains(uri, "?"):
		r.skip(d, "a query in proxy_pass: the query of the client is kept as it is")
		return false
	case !strings.HasPrefix(uri, "/"):
		r.skip(d, whyRewrite)
		return false
	}
	isPrefix := loc.kind == locationPrefix || loc.kind == locationFirst
	if prefix, isPrefixed := strings.CutSuffix(uri, "$request_uri"); isPrefixed && isPrefix && !strings.Contains(prefix, "$") {
		set(answer, "rewrite_path", escapeURL(strings.TrimSuffix(prefix, "/")+loc.path), d.place, "")
		return true
	}
	if target.isComputed && !isWithQuery {
		r.skipIn(answer, d, "nginx leaves out the query of the client where proxy_pass has variables and no $is_args$args: here it is kept")
	}
	switch {
	case strings.Contains(uri, "$") || loc.kind == locationRegexp:
		x := &expander{level: l, name: s.firstName(), captures: loc.kind == locationRegexp, plain: true}
		value, err := x.expand(uri)
		if err != nil || loc.kind != locationRegexp {
			r.skip(d, whyRewrite)
			return false
		}
		set(answer, "rewrite_path", escapeURL(value), d.place, "")
	case uri == loc.path:
	case loc.kind == locationExact:
		set(answer, "rewrite_path", escapeURL(uri), d.place, "")
	case target.isComputed:
		r.skip(d, "with a variable in it, proxy_pass replaces the whole path: use path_regexp and rewrite_path")
		return false
	default:
		replacePrefix(loc.path, uri, match, answer, d.place)
	}
	return true
}

// replacePrefix writes that the prefix of a location is replaced in the path. nginx replaces its very characters, so if only one of the two
// ends with a slash, it takes a regular expression.
func replacePrefix(prefix, uri string, match *migrate.Match, answer *migrate.Answer, from migrate.Place) {
	bare, to := strings.TrimSuffix(prefix, "/"), strings.TrimSuffix(uri, "/")
	switch {
	case (bare == prefix) != (to == uri) && match.PathExact == "":
		match.Path, match.Original, match.PathRegexp = "", "", "^"+regexp.QuoteMeta(prefix)+"(.*)$"
		set(answer, "rewrite_path", escapeURL(uri)+"$1", from, "the very characters are replaced, as nginx does")
	case match.PathExact != "":
		set(answer, "rewrite_path", escapeURL(uri), from, "")
	case to == "":
		set(answer, "strip_prefix", bare, from, "")
	default:
		set(answer, "rewrite_path", escapeURL(to), from, "")
	}
}

// writeRewrite writes a rewrite of the location of a proxy_pass. It reports false if it can't.
func (r *reader) writeRewrite(s *server, loc *location, l *level, match *migrate.Match, answer *migrate.Answer, d *directive) bool {
	if d.arg(2) != "break" {
		return false
	}
	pattern, to := d.arg(0), d.arg(1)
	if loc.kind == locationPrefix || loc.kind == locationFirst {
		prefix := strippedPrefix(pattern, to)
		if prefix != "" && match.Path != "" && strings.HasPrefix(match.Path+"/", prefix+"/") {
			set(answer, "strip_prefix", prefix, d.place, "")
			return true
		}
	}
	p := phase{reader: r, server: s, level: l, path: loc.path, isRegex: loc.kind == locationRegexp}
	of, isExact := p.pathMatch(*match, pattern)
	x := &expander{level: l, name: s.firstName(), captures: true, plain: true}
	value, err := x.expand(strings.TrimSuffix(to, "?"))
	if err != nil || !isExact || strings.Contains(value, "?") || !strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "$") {
		return false
	}
	*match = of
	set(answer, "rewrite_path", escapeURL(value), d.place, "")
	return true
}

// strippedPrefix returns the prefix that a rewrite takes off the path, in the forms that are in use; "" if it does something else.
func strippedPrefix(pattern, to string) string {
	for _, form := range []struct{ end, to string }{
		{"/(.*)$", "/$1"}, {"/(.*)", "/$1"}, {"/?(.*)$", "/$1"}, {"/?(.*)", "/$1"}, {"(/.*)$", "$1"}, {"(/.*)", "$1"}, {"(.*)$", "$1"}, {"(.*)", "$1"},
	} {
		prefix, isForm := strings.CutSuffix(pattern, form.end)
		prefix, isAnchored := strings.CutPrefix(prefix, "^")
		prefix = strings.ReplaceAll(prefix, `\.`, ".")
		bare := strings.ReplaceAll(prefix, ".", "")
		if isForm && isAnchored && to == form.to && strings.HasPrefix(prefix, "/") && regexp.QuoteMeta(bare) == bare {
			return prefix
		}
	}
	return ""
}
