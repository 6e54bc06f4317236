package caddy

import (
	"fmt"
	"slices"
	"strconv"

	"sluice/internal/migrate"
)

// isAuth reports whether a directive asks clients who they are.
func isAuth(d *directive) bool {
	return d.words[0] == "basic_auth" || d.words[0] == "basicauth" || d.words[0] == "forward_auth"
}

// isRefusing reports whether a directive keeps clients out.
func isRefusing(d *directive) bool {
	if isAuth(d) || d.words[0] == "abort" || d.words[0] == "error" {
		return true
	}
	return d.words[0] == "respond" && slices.ContainsFunc(d.words[1:], func(argument string) bool {
		status, err := strconv.Atoi(argument)
		return err == nil && status >= 400 && status <= 599
	})
}

// refusal lists a directive that refuses requests there, and not here.
func (r *reader) refusal(d *directive, why string) {
	key := migrate.Skipped{From: d.Place, Text: d.text(), Why: why, IsLessStrict: true}
	if !r.listed[key] {
		r.listed[key] = true
		r.draft.SkipRefusal(d.Place, key.Text, why)
	}
}

// refused returns the clauses of a directive that refuses requests and whose matcher can't be carried over, because of err: those without the
// lines that can't be, so that more is refused. isClosed reports that it lets only some clients in, by what no route can have: an
// authentication, or a matcher with "not". If nothing is left of a matcher that keeps only some out, it is listed as less strict than the
// original; then there is an error.
func (s *scope) refused(d *directive, err error) (clauses []migrate.Clause, isClosed bool, failed error) {
	var known []*directive
	isClosed = isAuth(d)
	if m := s.matchers[d.words[1]]; m != nil {
		lines := linesOf(m)
		for _, l := range lines {
			_, failed := s.all(slices.DeleteFunc(slices.Clone(lines), func(other *directive) bool { return other != l && !other.isAlternativeOf(l) }))
			if failed == nil {
				known = append(known, l)
			} else if l.words[0] == "not" {
				isClosed = true
			}
		}
	}
	if len(known) == 0 && !isClosed {
		s.refusal(d, err.Error()+". The requests that it refuses pass")
		return nil, false, err
	}
	if clauses, failed = s.all(known); failed != nil {
		clauses = []migrate.Clause{{}}
	}
	if !isAuth(d) {
		s.note(d.Place, d.text(), err.Error()+". Without this condition the directive refuses more here")
	}
	return clauses, isClosed, nil
}

// close makes the routes refuse every client where a directive lets only some in, by what no route can have.
func (s *scope) close(cases []migrate.Case, steps []step, step step) []migrate.Case {
	if isAuth(step.directive) {
		s.note(step.Place, step.text(), "there is no authentication: the routes refuse every client. Let the backend authenticate the clients, and delete the deny of all")
	}
	closed, isExact := migrate.Close(cases, step.when, step.Place, step.words[0], func(a *migrate.Answer) bool {
		i, err := strconv.Atoi(a.Via)
		return err != nil || steps[i].words[0] == "redir"
	})
	if !isExact {
		s.note(step.Place, step.text(), "no route can have just this matcher: it refuses more here")
	}
	return closed
}

// noteRewritten lists the directives whose matchers look at a path that an earlier one has rewritten: routes look at the client's path. Of
// several rewrite directives only one is executed.
func (s *scope) noteRewritten(steps []step) {
	for _, step := range steps {
		isRewriting := step.words[0] == "rewrite" || step.words[0] == "uri"
		isOfPath := slices.ContainsFunc(step.when, func(c migrate.Clause) bool {
			return hasPath(c.Is) || slices.ContainsFunc(c.Not, hasPath)
		})
		if by := s.rewriting; by != nil && isOfPath && !(isRewriting && by.words[0] == step.words[0]) {
			why := fmt.Sprintf("its matcher looks at the path that line %d has rewritten; the route looks at the client's. Write the path as the client sends it", by.Line)
			if isRefusing(step.directive) {
				s.refusal(step.directive, why)
			} else {
				s.note(step.Place, step.text(), why)
			}
		}
		if isRewriting {
			s.rewriting = step.directive
		}
	}
}

func hasPath(m migrate.Match) bool {
	return m.PathExact != "" || m.PathRegexp != "" || m.Path != ""
}
