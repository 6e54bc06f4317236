package nginx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sluice/internal/migrate"
)

// What a configuration may have. Real ones have far less.
const (
	mostBytes      = 16 << 20 // of all files together
	mostDirectives = 200_000
	mostFiles      = 2_000
	deepest        = 50 // blocks in each other, and includes
)

// A directive is a directive of a configuration, with its block if it has one.
type directive struct {
	name     string
	args     []string
	place    migrate.Place
	block    []*directive
	hasBlock bool

	isRead bool // it has got into the draft, or is listed
}

// arg returns an argument, or "".
func (d *directive) arg(i int) string {
	if i >= 0 && i < len(d.args) {
		return d.args[i]
	}
	return ""
}

// String returns the directive as it stands in a file, without its block.
func (d *directive) String() string {
	var s strings.Builder
	s.WriteString(d.name)
	for _, arg := range d.args {
		s.WriteByte(' ')
		switch {
		case arg != "" && !strings.ContainsAny(arg, " \t\r\n;{}\"'"):
			s.WriteString(arg)
		case !strings.Contains(arg, `"`):
			s.WriteString(`"` + arg + `"`)
		default:
			s.WriteString("'" + arg + "'")
		}
	}
	if d.hasBlock {
		return s.String() + " {…}"
	}
	return s.String() + ";"
}

// A parser reads a main file and what it includes.
type parser struct {
	directory string // of the main file: names in include are relative to it
	draft     *migrate.Draft

	bytes, directives, files int
}

// parse returns the directives of a main file. An included file that doesn't exist is listed in the draft.
func parse(file string, draft *migrate.Draft) ([]*directive, error) {
	p := &parser{directory: filepath.Dir(file), draft: draft}
	return p.readFile(file, 0)
}

// readFile returns the directives of a file.
func (p *parser) readFile(file string, depth int) ([]*directive, error) {
	if p.files++; p.files > mostFiles {
		return nil, fmt.Errorf("%s: more than %d files", file, mostFiles)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return p.parseText(file, string(text), depth)
}

// parseText returns the directives of a file's text.
func (p *parser) parseText(file, text string, depth int) ([]*directive, error) {
	if p.bytes += len(text); p.bytes > mostBytes {
		return nil, fmt.Errorf("%s: more than %d bytes in all files", file, mostBytes)
	}
	l := newLexer(file, text)
	return p.block(l, depth, 0)
}

// block returns the directives up to the "}" that ends the block which began at a line; 0: up to the end of the file.
func (p *parser) block(l *lexer, depth, began int) ([]*directive, error) {
	if depth > deepest {
		return nil, l.errorAt(l.line, "more than %d blocks or includes in each other", deepest)
	}
	var block []*directive
	for {
		t, err := l.next()
		switch {
		case err != nil:
			return nil, err
		case t.kind == 0 && began > 0:
			return nil, l.errorAt(began, "a block is not closed")
		case t.kind == 0:
			return block, nil
		case t.kind == '}' && began > 0:
			return block, nil
		case t.kind != 'w':
			return nil, l.errorAt(t.line, "unexpected %q", t.kind)
		}
		d, err := p.directive(l, t, depth)
		if err != nil {
			return nil, err
		}
		if d.name != "include" || d.hasBlock {
			block = append(block, d)
			continue
		}
		included, err := p.include(d, depth)
		if err != nil {
			return nil, err
		}
		block = append(block, included...)
	}
}

// directive returns the directive that a word begins.
func (p *parser) directive(l *lexer, name token, depth int) (*directive, error) {
	if p.directives++; p.directives > mostDirectives {
		return nil, l.errorAt(name.line, "more than %d directives", mostDirectives)
	}
	d := &directive{name: name.text, place: migrate.Place{File: l.file, Line: name.line}}
	for {
		t, err := l.next()
		if err != nil {
			return nil, err
		}
		switch t.kind {
		case 'w':
			d.args = append(d.args, t.text)
		case ';':
			return d, nil
		case '{':
			d.hasBlock = true
			if strings.HasSuffix(d.name, "_by_lua_block") {
				return d, l.skipLua()
			}
			d.block, err = p.block(l, depth+1, name.line)
			return d, err
		default:
			return nil, l.errorAt(name.line, "%s is not ended by \";\"", d.name)
		}
	}
}

// include returns the directives of the files that an include names.
func (p *parser) include(d *directive, depth int) ([]*directive, error) {
	pattern := d.arg(0)
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(p.directory, pattern)
	}
	files := []string{pattern}
	if strings.ContainsAny(pattern, "*?[") {
		var err error
		if files, err = filepath.Glob(pattern); err != nil {
			return nil, fmt.Errorf("%v: include %s: %w", d.place, d.arg(0), err)
		}
	}
	var all []*directive
	for _, file := range files {
		included, err := p.readFile(file, depth+1)
		if errors.Is(err, fs.ErrNotExist) {
			p.draft.Skip(nil, d.place, d.String(), "the file does not exist here: import it where nginx runs")
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, included...)
	}
	return all, nil
}
