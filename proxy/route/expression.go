package route

import (
	"regexp"
	resyntax "regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
)

// compileExpression compiles an expression of a route. Its "." is any octet: with a line break, which paths and parameters may have in
// percent-encoding, no request gets past "^/admin/.*$".
func compileExpression(text string) (*regexp.Regexp, error) { return regexp.Compile("(?s)" + text) }

// literalBeginning returns with what every text begins in which a regular expression finds something; "" if that is unknown, or if the
// expression can't be compiled.
func literalBeginning(expression string) string {
	parsed, err := resyntax.Parse(expression, resyntax.Perl)
	if err != nil {
		return ""
	}
	parsed = parsed.Simplify()
	if parsed.Op != resyntax.OpConcat || len(parsed.Sub) < 2 || parsed.Sub[0].Op != resyntax.OpBeginText || parsed.Sub[1].Op != resyntax.OpLiteral || parsed.Sub[1].Flags&resyntax.FoldCase != 0 {
		return ""
	}
	literal := parsed.Sub[1].Rune
	if n := slices.Index(literal, utf8.RuneError); n >= 0 {
		literal = literal[:n] // octets that are not UTF-8 match it too
	}
	return string(literal)
}

// example returns a short text in which an expression finds something, and whether one is known. With begins, the text begins so.
func example(expression *regexp.Regexp, begins string) (text string, isKnown bool) {
	if expression == nil {
		return "", false
	}
	parsed, err := resyntax.Parse(expression.String(), resyntax.Perl)
	if err != nil {
		return "", false
	}
	var b strings.Builder
	writeExample(&b, parsed.Simplify())
	text = b.String()
	if !strings.HasPrefix(text, begins) {
		text = begins + text
	}
	return text, len(text) <= mostExampleBytes && expression.MatchString(text)
}

// mostExampleBytes bounds an example: a request has to hold it.
const mostExampleBytes = 1 << 10

// writeExample writes the shortest text that an expression matches, without regard to what it asserts about the text around.
func writeExample(b *strings.Builder, e *resyntax.Regexp) {
	if b.Len() > mostExampleBytes {
		return
	}
	switch e.Op {
	case resyntax.OpLiteral:
		b.WriteString(string(e.Rune))
	case resyntax.OpCharClass:
		b.WriteRune(runeOf(e.Rune))
	case resyntax.OpAnyChar, resyntax.OpAnyCharNotNL:
		b.WriteByte('a')
	case resyntax.OpConcat:
		for _, part := range e.Sub {
			writeExample(b, part)
		}
	case resyntax.OpCapture, resyntax.OpPlus, resyntax.OpAlternate:
		writeExample(b, e.Sub[0])
	default: // nothing is the shortest: of OpStar, OpQuest and assertions
	}
}

// runeOf returns a rune of a class, which has pairs of first and last ones: a letter or a digit if it has one.
func runeOf(class []rune) rune {
	for _, c := range "a1A" {
		for i := 0; i+1 < len(class); i += 2 {
			if class[i] <= c && c <= class[i+1] {
				return c
			}
		}
	}
	if len(class) == 0 {
		return 'a' // no text has it
	}
	return class[0]
}
