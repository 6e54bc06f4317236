package config

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-multierror"
	"github.com/pelletier/go-toml/v2"

	"sluice/internal/units"
	"sluice/proxy/route"
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
	return visible(s.String())
}

// visible returns a text in one line, in which everything is escaped that a terminal may obey. The name of a file may have it.
func visible(text string) string {
	if !strings.ContainsFunc(text, units.IsUnsafe) {
		return text
	}
	var s strings.Builder
	for _, c := range text {
		if units.IsUnsafe(c) {
			fmt.Fprintf(&s, `\u%04x`, c)
		} else {
			s.WriteRune(c)
		}
	}
	return s.String()
}

// problems collects what all stages find. Owned by one call of Parse.
type problems struct {
	file   string // that of problems which name none
	found  []Problem
	unread map[string]bool // keys whose value could not be read
	masked map[string]bool // keys whose value has come from a substitution, and must not be shown
	hidden map[string]bool // texts that must not be shown, wherever they stand
	scrubs []string        // the same, each longer one before those that it may contain; nil: not known yet
	order  []string        // the files as they were read; problems are in this order
}

// newProblems returns the problems of a file.
func newProblems(file string) *problems {
	return &problems{file: file, unread: map[string]bool{}, masked: map[string]bool{}, hidden: map[string]bool{}}
}

// add reports a problem, unless it concerns a key whose value could not be read: that was reported already, and would only be reported
// again as missing.
func (p *problems) add(problem Problem, got any) {
	if isWithin(p.unread, problem.Key) {
		return
	}
	if problem.File == "" {
		problem.File = p.file
	}
	problem.Got = p.scrub(describe(got))
	if got != nil && p.isMasked(problem.Key) {
		problem.Got, problem.Text = mask, withoutParts(problem.Text, fmt.Sprint(got))
	}
	problem.Text, problem.Want = p.scrub(problem.Text), p.scrub(problem.Want)
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

// absorb adds what was found in one document, whose keys moves renames.
func (p *problems) absorb(of *problems, moves moves) {
	for _, problem := range of.found {
		problem.Key = moves.rename(problem.Key)
		problem.Text, problem.Want = p.scrub(problem.Text), p.scrub(problem.Want)
		p.found = append(p.found, problem)
	}
	add := func(to, keys map[string]bool) {
		for key := range keys {
			if array, _, _ := strings.Cut(key, "["); array != includeKey || of.file == p.file { // include is a key of each file
				to[moves.rename(key)] = true
			}
		}
	}
	add(p.unread, of.unread)
	add(p.masked, of.masked)
}

// mask stands for a value that must not be shown.
const mask = "***"

// isMasked reports whether the value of a key, or one beneath it, must not be shown.
func (p *problems) isMasked(key string) bool {
	if isSecret(key) || isWithin(p.masked, key) {
		return true
	}
	for masked := range p.masked {
		if rest, isBeneath := strings.CutPrefix(masked, key); isBeneath && rest != "" && strings.Contains(".[", rest[:1]) {
			return true
		}
	}
	return false
}

// isWithin reports whether a set of keys has a key, or a table or array around it.
func isWithin(keys map[string]bool, key string) bool {
	for ; key != ""; key = outerKey(key) {
		if keys[key] {
			return true
		}
	}
	return false
}

// isSecret reports whether the value of a key must not be shown: one whose name says so, and fields for backends, which often carry
// credentials. Fields of answers, and those and the parameters that a route requires, are secrets where their name says so.
func isSecret(key string) bool {
	last := key[len(outerKey(key)):]
	for _, name := range []string{"secret", "password", "token", "eab_key"} {
		if strings.HasSuffix(last, name) {
			return true
		}
	}
	if match := namedValue.FindStringSubmatch(key); match != nil {
		return route.IsSecretName(match[1])
	}
	return isField(key)
}

// namedValue matches keys whose last part, or what follows from it on, is the name of a field or parameter.
var namedValue = regexp.MustCompile(`\.(?:response_header|header|query)\.(.*)`)

// isField reports whether a key is that of fields of heads, or of one of them.
func isField(key string) bool {
	return slices.ContainsFunc(strings.Split(key, "."), func(part string) bool { return part == "request_header" || part == "response_header" })
}

// quoted matches what a message quotes.
var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// word matches what may be a part of a value that a message repeats.
var word = regexp.MustCompile(`[\pL\pN_]{3,}`)

// withoutParts masks a value in the message about it, and what may be parts of it.
func withoutParts(message, value string) string {
	if value == "" {
		return message
	}
	message = maskIn(message, value)
	message = quoted.ReplaceAllStringFunc(message, func(text string) string {
		if part, err := strconv.Unquote(text); err == nil && (len(part) < 3 || !strings.Contains(value, part)) {
			return text
		}
		return mask
	})
	return word.ReplaceAllStringFunc(message, func(text string) string {
		if strings.Contains(value, text) {
			return mask
		}
		return text
	})
}

// leastHidden is the length from which a text is masked in messages about other keys: a shorter one is there by chance.
const leastHidden = 4

// hide makes a text one that must not be shown.
func (p *problems) hide(text string) {
	if len(text) >= leastHidden {
		p.hidden[text], p.scrubs = true, nil
	}
}

// leastAnywhere is the length from which a hidden text is masked within a word too: a shorter one is in many words by chance.
const leastAnywhere = 6

// scrub masks the hidden texts in a message.
func (p *problems) scrub(message string) string {
	if p.scrubs == nil {
		p.scrubs = slices.SortedFunc(maps.Keys(p.hidden), func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	}
	for _, text := range p.scrubs {
		inQuotes := strconv.Quote(text)
		for _, form := range []string{text, inQuotes[1 : len(inQuotes)-1]} {
			message = maskIn(message, form)
		}
	}
	return withoutUsers(message)
}

// user matches the user and password of a URL, with what is around them.
var user = regexp.MustCompile(`://[^/?#\s"]*@`)

// withoutUsers masks the users and passwords of URLs in a text.
func withoutUsers(text string) string { return user.ReplaceAllLiteralString(text, "://"+mask+"@") }

// maskIn masks a text in a message.
func maskIn(message, text string) string {
	var result strings.Builder
	for {
		i := strings.Index(message, text)
		if i < 0 {
			return result.String() + message
		}
		end := i + len(text)
		if len(text) < leastAnywhere && (i > 0 && isWordByte(message[i-1]) || end < len(message) && isWordByte(message[end])) {
			result.WriteString(message[:end])
		} else {
			result.WriteString(message[:i] + mask)
		}
		message = message[end:]
	}
}

func isWordByte(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || c >= utf8.RuneSelf
}

// errorOrNil returns the problems in the order of their files and lines, or nil if there are none.
func (p *problems) errorOrNil() error {
	p.sort()
	all := &multierror.Error{ErrorFormat: formatLines}
	for _, problem := range p.found {
		all = multierror.Append(all, problem)
	}
	return all.ErrorOrNil()
}

// sort puts the problems into the order of their files and lines.
func (p *problems) sort() {
	slices.SortStableFunc(p.found, func(a, b Problem) int {
		return cmp.Or(slices.Index(p.order, a.File)-slices.Index(p.order, b.File), a.Line-b.Line, strings.Compare(a.Key, b.Key))
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
	case substituted:
		return mask
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
