package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-multierror"
	"github.com/pelletier/go-toml/v2"
)

// A Problem is one mistake in a configuration.
type Problem struct {
	File string
	Line int    // from 1
	Key  string // the full path, as "route[0].ping_interval"; empty: the text is no key's
	Text string // what is wrong
	Got  string // the value that was found; empty: there is none
	Want string // what would have been right; empty: the text says it
}

// Error returns the problem as a line: FILE:LINE: key: problem, got X (want Y).
func (p Problem) Error() string { return p.line("") }

// Warning returns the problem as the line of a warning: FILE:LINE: warning: key: problem, got X (want Y).
func (p Problem) Warning() string { return p.line("warning: ") }

func (p Problem) line(kind string) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s:%d: %s", p.File, p.Line, kind)
	if p.Key != "" {
		s.WriteString(p.Key + ": ")
	}
	s.WriteString(p.Text)
	if p.Got != "" {
		s.WriteString(", got " + p.Got)
	}
	if p.Want != "" {
		s.WriteString(" (want " + p.Want + ")")
	}
	return s.String()
}

// problems collects what all stages find. Owned by one call of Parse.
type problems struct {
	file   string
	found  []Problem
	unread map[string]bool // keys whose value could not be read
}

// add reports a problem, unless it concerns a key whose value could not be read: that was reported already, and would only be reported
// again as missing.
func (p *problems) add(problem Problem, got any) {
	for key := problem.Key; key != ""; key = outerKey(key) {
		if p.unread[key] {
			return
		}
	}
	problem.File = p.file
	if !isSecret(problem.Key) {
		problem.Got = describe(got)
	}
	p.found = append(p.found, problem)
}

// addUnread reports a value that could not be read.
func (p *problems) addUnread(problem Problem, got any) {
	p.add(problem, got)
	p.unread[problem.Key] = true
}

// addSyntax reports a fault of the syntax, and the value it has if that could not be read.
func (p *problems) addSyntax(problem Problem) {
	problem.File = p.file
	p.unread[problem.Key] = true
	if isSecret(problem.Key) {
		problem.Got, problem.Want = "", ""
	}
	p.found = append(p.found, problem)
}

// isSecret reports whether the value of a key must not get into a log. Fields of request_header often carry credentials.
func isSecret(key string) bool {
	last := key[len(outerKey(key)):]
	return strings.HasSuffix(last, "secret") || strings.HasSuffix(last, "password") || strings.HasSuffix(last, "token") ||
		strings.HasSuffix(last, "eab_key") || strings.Contains(key, "request_header")
}

// errorOrNil returns the problems in the order of their lines, or nil if there are none.
func (p *problems) errorOrNil() error {
	p.sort()
	all := &multierror.Error{ErrorFormat: formatLines}
	for _, problem := range p.found {
		all = multierror.Append(all, problem)
	}
	return all.ErrorOrNil()
}

// sort puts the problems into the order of their lines.
func (p *problems) sort() {
	slices.SortStableFunc(p.found, func(a, b Problem) int {
		return cmp.Or(a.Line-b.Line, strings.Compare(a.Key, b.Key))
	})
}

// formatLines writes one problem a line and nothing else, so that editors and scripts can read it.
func formatLines(all []error) string {
	lines := make([]string, len(all))
	for i, err := range all {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// describe returns a value as an operator would write or name it, cut to a readable length.
func describe(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return fmt.Sprintf("%q", shorten(v))
	case map[string]any:
		return "a table"
	case []any:
		return "an array"
	case time.Time, toml.LocalDate, toml.LocalTime, toml.LocalDateTime:
		return fmt.Sprintf("the date or time %v", v)
	default:
		return shorten(fmt.Sprint(v))
	}
}

// shorten cuts s to 60 characters.
func shorten(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}
