package haproxy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sluice/internal/migrate"
)

// refusing are actions that keep clients out.
var refusing = []string{"deny", "tarpit", "reject", "silent-drop", "return", "auth"}

// isRefusing reports whether the words of a line refuse requests: all of refusing do, but for a return with a status below 400.
func isRefusing(words []string) bool {
	if len(words) == 0 || !slices.Contains(refusing, words[0]) {
		return false
	}
	i := slices.Index(words, "status")
	return words[0] != "return" || i > 0 && i+1 < len(words) && len(words[i+1]) == 3 && words[i+1] >= "400"
}

// A refusal is what a line refuses.
type refusal struct {
	when   []migrate.Clause
	closed []migrate.Clause // for which all but some clients are refused, by what no route can have
}

// refused returns what a line refuses, and its words without the condition. What can't be expressed is left out of a condition, so that more is
// refused, and noted. If it lets only some clients in, as "unless { http_auth(users) }" does, the routes are closed; if nothing else is left of
// a condition that keeps only some out, it is listed as less strict than the original.
func (c *conditions) refused(words []string, l *line) (found refusal, rest []string) {
	i := slices.IndexFunc(words, func(w string) bool { return w == "if" || w == "unless" })
	if i < 0 && words[0] == "auth" {
		return refusal{closed: []migrate.Clause{{}}}, words
	}
	if i < 0 {
		return refusal{when: []migrate.Clause{{}}}, words
	}
	rest = words[:i]
	weaker := func(err error) {
		if errors.Is(err, errRate) {
			c.reader.note(l, l.text(), err.Error())
			return
		}
		c.reader.refusal(l, err.Error()+". The requests that it refuses pass")
	}
	c.isRefusing, c.isUnless = true, words[i] == "unless"
	alternatives, err := c.condition(words[i:], l)
	c.isRefusing = false
	if err != nil {
		weaker(err)
		return found, rest
	}
	for _, terms := range alternatives {
		known, unknown := c.widened(terms)
		isOfSome := words[0] == "auth" || slices.ContainsFunc(terms, func(t term) bool { return t.unknown != nil && t.isNot })
		if len(known) == 0 && len(terms) > 0 && !isOfSome {
			weaker(unknown)
			continue
		}
		made, err := c.clausesOf(known)
		switch {
		case err != nil:
			weaker(err)
			continue
		case isOfSome:
			found.closed = append(found.closed, made...)
		case len(terms) == 1 && unknown != nil: // what is known of an ACL of which a part isn't
			weaker(unknown)
			fallthrough
		default:
			found.when = append(found.when, made...)
		}
		if unknown != nil && words[0] != "auth" && (isOfSome || len(terms) > 1) {
			c.reader.note(l, l.text(), unknown.Error()+". Without this condition the line refuses more here")
		}
	}
	if len(found.when)+len(found.closed) > mostClauses {
		weaker(fmt.Errorf("the condition has more than %d alternatives", mostClauses))
		return refusal{}, rest
	}
	return found, rest
}

// widened returns the terms without those that can't be expressed, so that the condition holds for more requests, and why one can't be. An ACL
// of which a part can be is kept if nothing else is.
func (c *conditions) widened(terms []term) (known []term, unknown error) {
	for _, t := range terms {
		switch {
		case t.unknown == nil:
			known = append(known, t)
			continue
		case t.isNot && t.anyOf != nil: // neither of its parts may hold
			known = append(known, term{anyOf: t.anyOf, isNot: true})
		}
		unknown = t.unknown
	}
	for _, t := range terms {
		if len(known) == 0 && !t.isNot && t.anyOf != nil {
			known = []term{{anyOf: t.anyOf}}
		}
	}
	return known, unknown
}

// refusal lists a line that refuses requests there, and not here.
func (r *reader) refusal(l *line, why string) {
	l.isUsed = true
	key := migrate.Skipped{From: l.Place, Text: l.text(), Why: why, IsLessStrict: true}
	if !r.listed[key] {
		r.listed[key] = true
		r.draft.SkipRefusal(l.Place, key.Text, why)
	}
}

// closed returns the modifier of a line that lets only some clients in, by what no route can have: the routes refuse every client.
func (r *reader) closed(when []migrate.Clause, l *line) modifier {
	if slices.Contains(l.words, "auth") {
		r.note(l, l.text(), "there is no authentication: the routes refuse every client. Let the backend ask for the password, and delete the deny of all")
	}
	return modifier{line: l, when: when, all: func(cases []migrate.Case, clauses []migrate.Clause) []migrate.Case {
		by := strings.Join(l.words[:min(2, len(l.words))], " ")
		closed, isExact := migrate.Close(cases, clauses, l.Place, by, func(a *migrate.Answer) bool {
			return a.IsOwn() && a.From.File == l.File && a.From.Line < l.Line
		})
		if !isExact {
			r.note(l, l.text(), "no route can have just this condition: it refuses more here")
		}
		return closed
	}}
}

// ofPath are the criteria of a path, and ofHost those of a host.
var (
	ofPath = regexp.MustCompile(`^\{?(path|pathq|url|base|capture\.req\.uri)(_|,|$)`)
	ofHost = regexp.MustCompile(`(?i)^\{?(req\.)?f?hdr(_\w+)?\(host\)|^\{?base(_|,|$)`)
)

// A rewriting is a line that changes the path or the host before later lines look at it.
type rewriting struct {
	*line
	of   *regexp.Regexp
	what string
}

// rewritingOf returns what a line changes, or nil.
func rewritingOf(l *line) *rewriting {
	if l.words[0] != "http-request" || len(l.words) < 2 {
		return nil
	}
	switch action := l.words[1]; {
	case slices.Contains([]string{"set-path", "replace-path", "set-uri", "replace-uri", "set-pathq", "replace-pathq"}, action):
		return &rewriting{l, ofPath, "path"}
	case strings.HasSuffix(action, "-header") && len(l.words) > 2 && strings.EqualFold(l.words[2], "host"):
		return &rewriting{l, ofHost, "host"}
	}
	return nil
}

// noteRewritten lists the conditions of a proxy that look at what an earlier line has changed: routes look at what the client has sent.
func (r *reader) noteRewritten(s *section, c *conditions, before []*rewriting) (all []*rewriting) {
	all = before
	for _, later := range []bool{false, true} { // use_backend comes after all of http-request
		for _, l := range s.all() {
			isLate := l.words[0] == "use_backend" || l.words[0] == "redirect"
			if isLate != later || l.words[0] != "http-request" && !isLate {
				continue
			}
			for _, rewritten := range all {
				if !c.looksAt(l, rewritten.of) {
					continue
				}
				why := fmt.Sprintf("its condition looks at the %s that line %d has changed; the route looks at the client's. Write the %s as the client sends it", rewritten.what, rewritten.Line, rewritten.what)
				if isRefusing(l.words[1:]) && l.words[0] == "http-request" {
					r.refusal(l, why)
				} else {
					isUsed := l.isUsed
					r.note(l, l.text(), why)
					l.isUsed = isUsed
				}
			}
			if rewritten := rewritingOf(l); rewritten != nil {
				all = append(all[:len(all):len(all)], rewritten)
			}
		}
	}
	return all
}

// looksAt reports whether the condition of a line has a criterion of a kind.
func (c *conditions) looksAt(l *line, of *regexp.Regexp) bool {
	i := slices.IndexFunc(l.words, func(w string) bool { return w == "if" || w == "unless" })
	if i < 0 {
		return false
	}
	for j, word := range l.words[i+1:] {
		word = strings.TrimLeft(word, "!")
		if l.words[i+j] == "{" && of.MatchString(word) {
			return true
		}
		for _, acl := range c.acls[word] {
			if of.MatchString(acl.words[2]) {
				return true
			}
		}
	}
	return false
}
