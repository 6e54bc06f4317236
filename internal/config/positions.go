package config

import (
	"bytes"
	"sort"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"

	"sluice/internal/units"
)

// positions has the places of things in a text: the line of every key, and the lines of every
// expression (a header, or a key with its value).
type positions struct {
	lines       map[string]int // full key path → line, from 1
	expressions []extent
	failed      extent // the expression that could not be read; first is 0 if all could

	tooDeep int // the first line with a key of more than mostLevels; 0: there is none

	newlines []int          // offsets of line feeds
	tables   map[string]int // path of an array of tables → elements so far
	prefix   string         // path of the table that the latest header opened
}

// mostLevels bounds how deep keys are nested, far above what any key of a configuration has.
const mostLevels = 32

// An extent is the lines of one expression, both ends included.
type extent struct {
	key         string // full path
	first, last int
	isHeader    bool
}

// newPositions walks text up to its end or its first fault of syntax.
func newPositions(text []byte) *positions {
	o := &positions{lines: map[string]int{}, tables: map[string]int{}}
	for i, b := range text {
		if b == '\n' {
			o.newlines = append(o.newlines, i)
		}
	}
	var parser unstable.Parser
	parser.Reset(text)
	for parser.NextExpression() {
		o.add(parser.Expression())
	}
	if parser.Error() != nil {
		o.failed = o.unread(text)
	}
	return o
}

// line returns the line of a key; that of the nearest table around it when the key is absent.
func (o *positions) line(path string) int {
	for ; path != ""; path = outerKey(path) {
		if line, found := o.lines[path]; found {
			return line
		}
	}
	return 1
}

// around returns the lines that hold exactly the expression which the given line belongs to, and
// false if there is no telling.
func (o *positions) around(line int) (extent, bool) {
	for _, e := range o.expressions {
		if e.first <= line && line <= e.last {
			return e, true
		}
	}
	// An expression that fails on its first line ends there as far as one can guess; one that fails
	// later has no known end.
	return o.failed, o.failed.first == line
}

// add takes in one expression.
func (o *positions) add(node *unstable.Node) {
	var parts []string
	first, end := 0, 0
	for it := node.Key(); it.Next(); {
		key := it.Node()
		parts = append(parts, string(key.Data))
		if first == 0 {
			first = o.lineAt(key.Raw.Offset)
		}
		end = int(key.Raw.Offset + key.Raw.Length)
	}
	parts = o.bounded(parts, 0, first)
	var path string
	switch node.Kind {
	case unstable.KeyValue:
		path = o.mark(o.prefix, parts, first)
		o.addValue(path, node.Value(), first, 1)
		end = int(node.Raw.Offset + node.Raw.Length)
	case unstable.Table:
		path = o.mark("", parts, first)
		o.prefix = path
	case unstable.ArrayTable:
		outer := o.mark("", parts[:len(parts)-1], first)
		array := joinKey(outer, quoteKey(parts[len(parts)-1]))
		o.markOnce(array, first)
		path = units.Indexed(array, o.tables[array])
		o.tables[array]++
		o.markOnce(path, first)
		o.prefix = path
	default:
		panic("BUG: an expression of kind " + node.Kind.String())
	}
	o.expressions = append(o.expressions, extent{
		key: path, first: first, last: o.lineAt(uint32(max(end-1, 0))), isHeader: node.Kind != unstable.KeyValue,
	})
}

// mark notes the line of each part of a dotted key below path, and returns the whole path. A part
// that names an array of tables means its latest element.
func (o *positions) mark(path string, parts []string, line int) string {
	for _, part := range parts {
		path = joinKey(path, quoteKey(part))
		o.markOnce(path, line)
		if n := o.tables[path]; n > 0 {
			path = units.Indexed(path, n-1)
		}
	}
	return path
}

// bounded returns the parts of a dotted key, in a value of a level, of which none is too deep.
func (o *positions) bounded(parts []string, level, line int) []string {
	if level+len(parts) <= mostLevels {
		return parts
	}
	if o.tooDeep == 0 {
		o.tooDeep = line
	}
	return parts[:max(mostLevels-level, 0)]
}

// markOnce notes the line of a path where it first occurs.
func (o *positions) markOnce(path string, line int) {
	if _, found := o.lines[path]; !found {
		o.lines[path] = line
	}
}

// addValue notes the lines inside arrays and inline tables; line is where the value is known to
// stand if its node doesn't say, and level how many arrays and tables are around its elements.
func (o *positions) addValue(path string, value *unstable.Node, line, level int) {
	if level > mostLevels {
		o.bounded(nil, level, line)
		return
	}
	switch value.Kind {
	case unstable.Array:
		i := 0
		for it := value.Children(); it.Next(); i++ {
			element := it.Node()
			if element.Raw.Length > 0 {
				line = o.lineAt(element.Raw.Offset)
			}
			o.markOnce(units.Indexed(path, i), line)
			o.addValue(units.Indexed(path, i), element, line, level+1)
		}
	case unstable.InlineTable:
		for it := value.Children(); it.Next(); {
			var parts []string
			pair := it.Node()
			line = o.lineAt(pair.Raw.Offset)
			for keys := pair.Key(); keys.Next(); {
				parts = append(parts, string(keys.Node().Data))
			}
			parts = o.bounded(parts, level, line)
			o.addValue(o.mark(path, parts, line), pair.Value(), line, level+len(parts))
		}
	}
}

// unread returns the start of the expression at which the parser gave up: the first line after the last good expression that is neither
// blank nor a comment.
func (o *positions) unread(text []byte) extent {
	line := 1
	if n := len(o.expressions); n > 0 {
		line = o.expressions[n-1].last + 1
	}
	for ; line <= len(o.newlines)+1; line++ {
		content := bytes.TrimSpace(o.text(text, line))
		if len(content) == 0 || content[0] == '#' {
			continue
		}
		key := ""
		name, _, isPair := strings.Cut(string(content), "=")
		if name = strings.TrimSpace(name); isPair && isBareKey(name) {
			key = joinKey(o.prefix, name)
		}
		return extent{key: key, first: line, last: line, isHeader: content[0] == '['}
	}
	return extent{}
}

// text returns the given line of text without its line feed.
func (o *positions) text(text []byte, line int) []byte {
	start, end := 0, len(text)
	if line > 1 {
		start = o.newlines[line-2] + 1
	}
	if line <= len(o.newlines) {
		end = o.newlines[line-1]
	}
	return text[start:end]
}

// lineAt returns the line of an offset.
func (o *positions) lineAt(offset uint32) int {
	return sort.SearchInts(o.newlines, int(offset)) + 1
}

// joinKey appends a part to a path; either may be empty.
func joinKey(path, part string) string {
	if path == "" || part == "" {
		return path + part
	}
	return path + "." + part
}

// outerKey returns the path of what holds the last part of path.
func outerKey(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

// quoteKey returns a part of a key as it is written in TOML: bare if it can be.
func quoteKey(part string) string {
	if isBareKey(part) && !strings.Contains(part, ".") {
		return part
	}
	return units.QuoteTOML(part)
}

// isBareKey reports whether a key, perhaps a dotted one, is written without quotes.
func isBareKey(key string) bool {
	for _, c := range key {
		if !(c == '.' || c == '_' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z') {
			return false
		}
	}
	return key != ""
}
