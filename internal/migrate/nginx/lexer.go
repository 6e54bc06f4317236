package nginx

import (
	"fmt"
	"strings"

	"sluice/internal/migrate"
)

// A lexer divides the text of a file into tokens, as ngx_conf_read_token does.
type lexer struct {
	file string
	text string
	pos  int
	line int
}

// A token is a word, or one of ";", "{" and "}"; the zero token is the end of the text.
type token struct {
	kind byte // 'w' for a word, else the octet itself; 0 at the end
	text string
	line int
}

func newLexer(file, text string) *lexer {
	return &lexer{file: file, text: strings.TrimPrefix(text, "\uFEFF"), line: 1}
}

// errorAt returns an error at a line of the file.
func (l *lexer) errorAt(line int, format string, args ...any) error {
	return fmt.Errorf("%v: %s", migrate.Place{File: l.file, Line: line}, fmt.Sprintf(format, args...))
}

// next returns the next token.
func (l *lexer) next() (token, error) {
	l.skipSpace()
	if l.pos == len(l.text) {
		return token{line: l.line}, nil
	}
	switch c := l.text[l.pos]; c {
	case ';', '{', '}':
		l.pos++
		return token{kind: c, line: l.line}, nil
	case '"', '\'':
		l.pos++
		return l.quoted(c)
	}
	return l.word(), nil
}

// skipSpace skips white space and comments.
func (l *lexer) skipSpace() {
	for l.pos < len(l.text) {
		switch c := l.text[l.pos]; {
		case c == '\n':
			l.line++
			l.pos++
		case isSpace(c):
			l.pos++
		case c == '#':
			if end := strings.IndexByte(l.text[l.pos:], '\n'); end >= 0 {
				l.pos += end
			} else {
				l.pos = len(l.text)
			}
		default:
			return
		}
	}
}

// quoted returns a word that a quote ends.
func (l *lexer) quoted(quote byte) (token, error) {
	begin := l.line
	var word strings.Builder
	for l.pos < len(l.text) {
		c := l.text[l.pos]
		if c == quote {
			l.pos++
			if l.pos < len(l.text) && !isSpace(l.text[l.pos]) && !strings.ContainsRune(";{)", rune(l.text[l.pos])) {
				return token{}, l.errorAt(l.line, "unexpected %q after a quote", l.text[l.pos])
			}
			return token{'w', word.String(), begin}, nil
		}
		l.take(&word)
	}
	return token{}, l.errorAt(begin, "a quote is not closed")
}

// word returns a word without quotes. "{" ends it, except in ${name}.
func (l *lexer) word() token {
	begin := l.line
	var word strings.Builder
	for l.pos < len(l.text) {
		c := l.text[l.pos]
		isVariable := c == '{' && l.text[l.pos-1] == '$'
		if isSpace(c) || c == ';' || c == '{' && !isVariable {
			break
		}
		l.take(&word)
	}
	return token{'w', word.String(), begin}
}

// take adds the next octet of a word, or what an escape stands for: a quote, a backslash, white space. Any other backslash stays.
func (l *lexer) take(word *strings.Builder) {
	c := l.text[l.pos]
	l.pos++
	if c == '\\' && l.pos < len(l.text) {
		escaped := l.text[l.pos]
		l.pos++
		switch escaped {
		case '"', '\'', '\\':
			c = escaped
		case 't':
			c = '\t'
		case 'r':
			c = '\r'
		case 'n':
			c = '\n'
		default:
			word.WriteByte('\\')
			c = escaped
			if c == '\n' {
				l.line++
			}
		}
	} else if c == '\n' {
		l.line++
	}
	word.WriteByte(c)
}

// skipLua skips the code of a block in Lua up to and with the brace that ends it.
func (l *lexer) skipLua() error {
	begin, depth := l.line, 1
	for l.pos < len(l.text) {
		c := l.text[l.pos]
		l.pos++
		switch c {
		case '\n':
			l.line++
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return nil
			}
		case '"', '\'':
			for l.pos < len(l.text) && l.text[l.pos] != c && l.text[l.pos] != '\n' {
				if l.text[l.pos] == '\\' {
					l.pos++
				}
				l.pos++
			}
			l.pos = min(l.pos, len(l.text))
			if l.pos < len(l.text) && l.text[l.pos] == c {
				l.pos++
			}
		case '-':
			if strings.HasPrefix(l.text[l.pos:], "-") {
				end := strings.IndexByte(l.text[l.pos:]+"\n", '\n')
				l.pos += end
			}
		}
	}
	return l.errorAt(begin, "a block of Lua is not closed")
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
