package haproxy

import (
	"bytes"
	"fmt"
	"strings"

	"sluice/internal/migrate"
)

// A line is a line of a configuration.
type line struct {
	migrate.Place
	words  []string // without quotes and escapes. In them ${NAME} is a variable of the environment
	isUsed bool     // it is in the draft, or listed as skipped
}

// text returns the line as a directive in a list, without what is secret in it.
func (l *line) text() string {
	for i, word := range l.words {
		if i > 0 && (word == "password" || word == "insecure-password" || word == "auth" && l.words[0] == "stats") {
			return strings.Join(l.words[:i+1], " ") + " ***"
		}
	}
	return strings.Join(l.words, " ")
}

// has reports whether the line has a word behind its first one.
func (l *line) has(word string) bool {
	for _, w := range l.words[1:] {
		if w == word {
			return true
		}
	}
	return false
}

// after returns the word behind another one; "" if there is none.
func (l *line) after(word string) string {
	for i, w := range l.words[:len(l.words)-1] {
		if w == word && i > 0 {
			return l.words[i+1]
		}
	}
	return ""
}

// A section is a part of a configuration: global, defaults, frontend, backend, listen, or one that has no meaning here.
type section struct {
	migrate.Place
	kind, name string
	from       string  // the defaults that it names; "": those before it
	lines      []*line // its own
	inherited  *section
}

// isProxy reports whether a section takes or passes requests.
func (s *section) isProxy() bool {
	return s.kind == "frontend" || s.kind == "backend" || s.kind == "listen"
}

// all returns the lines of the defaults that count for the section, and then its own.
func (s *section) all() []*line {
	if s.inherited == nil {
		return s.lines
	}
	lines := s.inherited.all()
	return append(lines[:len(lines):len(lines)], s.lines...)
}

// sectionKinds are the words that begin a section.
var sectionKinds = map[string]bool{
	"global": true, "defaults": true, "frontend": true, "backend": true, "listen": true, "userlist": true, "peers": true, "resolvers": true,
	"mailers": true, "cache": true, "program": true, "ring": true, "http-errors": true, "log-forward": true, "fcgi-app": true,
	"crt-store": true, "traces": true, "acme": true, "log-profile": true,
}

// The longest text and the most words of a line that are read: HAProxy itself takes 2 KiB and 64 words.
const (
	mostBytes = 16 << 20
	mostWords = 1024
)

// parse reads the text of a file. Sections inherit from the defaults among earlier and in the same file.
func parse(file string, text []byte, earlier []*section) ([]*section, error) {
	if len(text) > mostBytes {
		return nil, fmt.Errorf("%s: larger than %d MiB", file, mostBytes>>20)
	}
	text = bytes.TrimPrefix(text, []byte("\uFEFF"))
	var sections []*section
	var defaults *section
	named := map[string]*section{}
	for _, s := range earlier {
		if s.kind == "defaults" {
			defaults, named[s.name] = s, s
		}
	}
	for i, raw := range bytes.Split(text, []byte("\n")) {
		at := migrate.Place{File: file, Line: i + 1}
		words, err := split(strings.TrimSuffix(string(raw), "\r"))
		if err != nil {
			return nil, fmt.Errorf("%v: %w", at, err)
		}
		switch {
		case len(words) == 0:
			continue
		case len(words) > mostWords:
			return nil, fmt.Errorf("%v: more than %d words", at, mostWords)
		}
		l := &line{Place: at, words: words}
		if !sectionKinds[words[0]] {
			if len(sections) == 0 {
				return nil, fmt.Errorf("%v: %q stands in no section", at, words[0])
			}
			s := sections[len(sections)-1]
			s.lines = append(s.lines, l)
			continue
		}
		s := &section{Place: at, kind: words[0], from: l.after("from")}
		if len(words) > 1 && words[1] != "from" {
			s.name = words[1]
		}
		switch base, isKnown := named[s.from]; {
		case s.from != "" && !isKnown:
			return nil, fmt.Errorf("%v: no defaults section %q before this", at, s.from)
		case s.from != "":
			s.inherited = base
		case s.isProxy():
			s.inherited = defaults
		}
		if s.isProxy() && s.name == "" {
			return nil, fmt.Errorf("%v: %s has no name", at, s.kind)
		}
		if s.kind == "defaults" {
			defaults, named[s.name] = s, s
		}
		sections = append(sections, s)
	}
	return sections, nil
}

// split returns the words of a line, as section 2.2 of HAProxy's manual has quotes and escapes.
func split(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	isInWord := false
	quote := byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote == '\'':
			if c == '\'' {
				quote = 0
			} else {
				word.WriteByte(c)
			}
		case c == '\\':
			if i++; i == len(text) {
				return nil, fmt.Errorf("a backslash at the end of the line")
			}
			isInWord = true
			i += writeEscape(&word, text[i:])
		case quote == '"' && c == '"':
			quote = 0
		case quote == '"' && c == '$':
			i += writeVariable(&word, text[i:])
		case quote == '"':
			word.WriteByte(c)
		case c == '"' || c == '\'':
			quote, isInWord = c, true
		case c == '#':
			i = len(text)
		case c == ' ' || c == '\t':
			if isInWord {
				words = append(words, word.String())
				word.Reset()
				isInWord = false
			}
		default:
			word.WriteByte(c)
			isInWord = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quote %c that isn't closed", quote)
	}
	if isInWord {
		words = append(words, word.String())
	}
	return words, nil
}

// writeEscape writes what follows a backslash, and returns how many bytes more than one it takes.
func writeEscape(word *strings.Builder, text string) int {
	switch text[0] {
	case 'n':
		word.WriteByte('\n')
	case 'r':
		word.WriteByte('\r')
	case 't':
		word.WriteByte('\t')
	case 'x':
		var b byte
		if len(text) > 2 {
			if _, err := fmt.Sscanf(text[1:3], "%02x", &b); err == nil {
				word.WriteByte(b)
				return 2
			}
		}
		word.WriteString(`\x`)
	case ' ', '#', '\\', '"', '\'', '$':
		word.WriteByte(text[0])
	default: // a regular expression's, which HAProxy keeps
		word.WriteByte('\\')
		word.WriteByte(text[0])
	}
	return 0
}

// writeVariable writes a variable of the environment as ${NAME}, and returns how many bytes more than the dollar it takes.
func writeVariable(word *strings.Builder, text string) int {
	if inner, isBraced := strings.CutPrefix(text, "${"); isBraced {
		inner, _, isClosed := strings.Cut(inner, "}")
		if isClosed {
			name, fallback, hasFallback := strings.Cut(inner, "-")
			word.WriteString("${" + strings.TrimSuffix(name, "[*]"))
			if hasFallback {
				word.WriteString(":-" + fallback)
			}
			word.WriteByte('}')
			return len(inner) + 2
		}
	}
	name := 1
	for name < len(text) && (text[name] == '_' || isLetterOrDigit(text[name])) {
		name++
	}
	if name == 1 {
		word.WriteByte('$')
		return 0
	}
	word.WriteString("${" + text[1:name] + "}")
	return name - 1
}

func isLetterOrDigit(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}
