package caddy

import (
	"fmt"
	"regexp"
	"strings"

	"sluice/internal/migrate"
)

// A word is a token of a Caddyfile.
type word struct {
	migrate.Place
	text     string
	isQuoted bool // so it is no brace
	isFirst  bool // of its line
	depth    int  // of imports
}

// variable matches a variable of the environment, with its value where there is none.
var variable = regexp.MustCompile(`\{\$([A-Za-z_][A-Za-z0-9_]*)(?::([^{}]*))?\}`)

// lex returns the words of a text. Caddy replaces variables of the environment before it reads anything; here ${NAME} stands for them.
func lex(file, text string) ([]word, error) {
	text = variable.ReplaceAllStringFunc(strings.TrimPrefix(text, "\uFEFF"), func(found string) string {
		parts := variable.FindStringSubmatch(found)
		if parts[2] != "" {
			return "${" + parts[1] + ":-" + parts[2] + "}"
		}
		return "${" + parts[1] + "}"
	})
	l := lexer{text: text, line: 1, isFirst: true, file: file}
	for {
		ok, err := l.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			return l.words, nil
		}
	}
}

// lexer is at a place of a text.
type lexer struct {
	file, text string
	line       int
	isFirst    bool // no word has been on this line
	words      []word
}

// next reads a word or what is between words. It reports false at the end.
func (l *lexer) next() (bool, error) {
	if l.text == "" {
		return false, nil
	}
	switch c := l.text[0]; {
	case c == '\n':
		l.take(1)
		l.isFirst = true
	case c == ' ' || c == '\t' || c == '\r':
		l.take(1)
	case strings.HasPrefix(l.text, "\\\n"):
		l.take(2)
	case strings.HasPrefix(l.text, "\\\r\n"):
		l.take(3)
	case c == '#':
		end := strings.IndexByte(l.text, '\n')
		if end < 0 {
			end = len(l.text)
		}
		l.take(end)
	case c == '"':
		return true, l.quoted()
	case c == '`':
		end := strings.IndexByte(l.text[1:], '`')
		if end < 0 {
			return false, l.fault("a backquote that isn't closed")
		}
		l.add(l.text[1:end+1], true)
		l.take(end + 2)
	case strings.HasPrefix(l.text, "<<") && heredoc.MatchString(l.text):
		return true, l.heredoc()
	default:
		end := strings.IndexAny(l.text, " \t\r\n")
		if end < 0 {
			end = len(l.text)
		}
		l.add(l.text[:end], false)
		l.take(end)
	}
	return true, nil
}

// quoted reads a word in quotes, in which \" is a quote and everything else is itself.
func (l *lexer) quoted() error {
	var text strings.Builder
	for i := 1; i < len(l.text); i++ {
		switch c := l.text[i]; {
		case c == '\\' && i+1 < len(l.text) && l.text[i+1] == '"':
			text.WriteByte('"')
			i++
		case c == '"':
			l.add(text.String(), true)
			l.take(i + 1)
			return nil
		default:
			text.WriteByte(c)
		}
	}
	return l.fault("a quote that isn't closed")
}

// heredoc matches the beginning of a text in several lines.
var heredoc = regexp.MustCompile(`^<<([A-Za-z0-9_-]+)\r?\n`)

// heredoc reads such a text, up to the line that has its mark alone. What is before the mark is taken off each line.
func (l *lexer) heredoc() error {
	found := heredoc.FindStringSubmatch(l.text)
	mark := found[1]
	var lines []string
	rest := l.text[len(found[0]):]
	taken := len(found[0])
	for rest != "" {
		line, after, hasMore := strings.Cut(rest, "\n")
		if trimmed := strings.TrimSpace(line); trimmed == mark {
			indent := line[:strings.Index(line, mark)]
			for i := range lines {
				lines[i] = strings.TrimPrefix(lines[i], indent)
			}
			l.add(strings.Join(lines, "\n"), true)
			l.take(taken + len(strings.TrimRight(line, "\r")))
			return nil
		}
		lines = append(lines, strings.TrimSuffix(line, "\r"))
		taken += len(line)
		if hasMore {
			taken++
		}
		rest = after
	}
	return l.fault("a text << that doesn't end with " + mark)
}

func (l *lexer) add(text string, isQuoted bool) {
	l.words = append(l.words, word{Place: migrate.Place{File: l.file, Line: l.line}, text: text, isQuoted: isQuoted, isFirst: l.isFirst})
	l.isFirst = false
}

func (l *lexer) take(n int) {
	l.line += strings.Count(l.text[:n], "\n")
	l.text = l.text[n:]
}

func (l *lexer) fault(text string) error {
	return fmt.Errorf("%v: %s", migrate.Place{File: l.file, Line: l.line}, text)
}
