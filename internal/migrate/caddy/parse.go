package caddy

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"sluice/internal/migrate"
)

// A directive is a line with the block behind it.
type directive struct {
	migrate.Place
	words []string
	block []*directive

	isCondition  bool // part of a matcher
	isCredential bool // a user and the hash of a password
}

// text returns the directive as one in a list, without its block and without what is secret in it.
func (d *directive) text() string {
	if d.isCredential {
		return d.words[0] + " ***"
	}
	return strings.Join(d.words, " ")
}

// arguments returns the words behind the first one.
func (d *directive) arguments() []string { return d.words[1:] }

// A site is a block with the addresses before it; the global options have none.
type site struct {
	migrate.Place
	addresses []string
	block     []*directive
}

// What an import may grow to.
const (
	mostBytes = 1 << 20
	mostWords = 1 << 16
	mostDepth = 20
)

// parser reads words.
type parser struct {
	words    []word
	at       int
	snippets map[string][]word
	depth    int // of blocks
	expanded int // words that imports have made
}

// parse reads the sites of a file.
func parse(file string) ([]*site, error) {
	words, err := lexFile(file)
	if err != nil {
		return nil, err
	}
	p := &parser{words: words, snippets: map[string][]word{}}
	var sites []*site
	for !p.isAtEnd() {
		made, err := p.site(len(sites) == 0)
		if err != nil {
			return nil, err
		}
		sites = append(sites, made...)
	}
	return sites, nil
}

func lexFile(file string) ([]word, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if len(text) > mostBytes {
		return nil, fmt.Errorf("%s: larger than %d MiB", file, mostBytes>>20)
	}
	return lex(file, string(text))
}

func (p *parser) isAtEnd() bool { return p.at >= len(p.words) }

// is reports whether the word that comes next is a brace.
func (p *parser) is(brace string) bool {
	return !p.isAtEnd() && p.words[p.at].text == brace && !p.words[p.at].isQuoted
}

// site reads a site, a snippet, or an import of sites. isFirst tells that nothing was before it.
func (p *parser) site(isFirst bool) ([]*site, error) {
	first := p.words[p.at]
	switch {
	case p.is("}"):
		return nil, fmt.Errorf("%v: a } too many", first.Place)
	case p.is("{"):
		p.at++
		block, err := p.block(first)
		return []*site{{Place: first.Place, block: block}}, err
	case first.text == "import" && !first.isQuoted:
		if err := p.importHere(); err != nil {
			return nil, err
		}
		return nil, nil
	case len(first.text) > 2 && first.text[0] == '(' && first.text[len(first.text)-1] == ')':
		return nil, p.snippet(first.text[1 : len(first.text)-1])
	}
	s := &site{Place: first.Place}
	isContinued := true
	for !p.isAtEnd() && !p.is("{") {
		w := p.words[p.at]
		if w.isFirst && !isContinued {
			break
		}
		isContinued = strings.HasSuffix(w.text, ",")
		for address := range strings.SplitSeq(w.text, ",") {
			if address != "" {
				s.addresses = append(s.addresses, address)
			}
		}
		p.at++
	}
	var err error
	switch {
	case p.is("{"):
		p.at++
		s.block, err = p.block(first)
	case !isFirst:
		return nil, fmt.Errorf("%v: %s has no block", first.Place, first.text)
	default: // the whole file is one site
		s.block, err = p.directives(func() bool { return p.isAtEnd() })
	}
	return []*site{s}, err
}

// snippet keeps the words of a snippet.
func (p *parser) snippet(name string) error {
	first := p.words[p.at]
	p.at++
	if !p.is("{") {
		return fmt.Errorf("%v: a snippet has a block", first.Place)
	}
	begin := p.at + 1
	for depth := 0; !p.isAtEnd(); p.at++ {
		if p.is("{") {
			depth++
		}
		if p.is("}") {
			if depth--; depth == 0 {
				p.snippets[name] = p.words[begin:p.at]
				p.at++
				return nil
			}
		}
	}
	return fmt.Errorf("%v: a { that isn't closed", first.Place)
}

// block reads directives up to the brace that closes the block.
func (p *parser) block(opened word) ([]*directive, error) {
	directives, err := p.directives(func() bool { return p.is("}") || p.isAtEnd() })
	if err != nil {
		return nil, err
	}
	if p.isAtEnd() {
		return nil, fmt.Errorf("%v: a { that isn't closed", opened.Place)
	}
	p.at++
	return directives, nil
}

// directives reads directives until isEnd.
func (p *parser) directives(isEnd func() bool) ([]*directive, error) {
	var all []*directive
	if p.depth++; p.depth > mostDepth {
		return nil, fmt.Errorf("%v: blocks too deep", p.words[p.at].Place)
	}
	defer func() { p.depth-- }()
	for !isEnd() {
		first := p.words[p.at]
		if p.is("}") {
			return nil, fmt.Errorf("%v: a } too many", first.Place)
		}
		if first.text == "import" && !first.isQuoted {
			if err := p.importHere(); err != nil {
				return nil, err
			}
			continue
		}
		d := &directive{Place: first.Place}
		for isNew := false; !p.isAtEnd() && !isNew && !p.is("}"); {
			if p.is("{") {
				opened := p.words[p.at]
				p.at++
				block, err := p.block(opened)
				if err != nil {
					return nil, err
				}
				d.block = block
				break
			}
			d.words = append(d.words, p.words[p.at].text)
			p.at++
			isNew = !p.isAtEnd() && p.words[p.at].isFirst
		}
		if len(d.words) == 0 {
			return nil, fmt.Errorf("%v: a block without a directive", first.Place)
		}
		all = append(all, d)
	}
	return all, nil
}

// argument matches a placeholder for an argument of an import.
var argument = regexp.MustCompile(`\{args(?:\.(\d+)|\[(\d+)\])\}`)

// importHere replaces an import by the words of a snippet, or of files.
func (p *parser) importHere() error {
	at := p.words[p.at]
	end := p.at + 1
	for end < len(p.words) && !p.words[end].isFirst && !(p.words[end].text == "}" && !p.words[end].isQuoted) {
		end++
	}
	arguments := p.words[p.at+1 : end]
	if len(arguments) == 0 {
		return fmt.Errorf("%v: import of nothing", at.Place)
	}
	name := arguments[0].text
	arguments = arguments[1:]
	var words []word
	if snippet, isSnippet := p.snippets[name]; isSnippet {
		words = append(words, snippet...)
	} else {
		pattern := name
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(filepath.Dir(at.File), pattern)
		}
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 && !strings.ContainsAny(pattern, "*?[") {
			return fmt.Errorf("%v: neither a snippet nor a file: %s", at.Place, name)
		}
		for _, file := range files {
			if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
				continue
			}
			more, err := lexFile(file)
			if err != nil {
				return fmt.Errorf("%v: %w", at.Place, err)
			}
			words = append(words, more...)
		}
	}
	if at.depth == mostDepth { // of itself
		return fmt.Errorf("%v: imports within imports, more than %d deep", at.Place, mostDepth)
	}
	if p.expanded += len(words) + 1; p.expanded > mostWords {
		return fmt.Errorf("%v: imports make more than %d words", at.Place, mostWords)
	}
	for i, w := range words {
		words[i].depth = at.depth + 1
		words[i].text = argument.ReplaceAllStringFunc(w.text, func(found string) string {
			parts := argument.FindStringSubmatch(found)
			if n, err := strconv.Atoi(parts[1] + parts[2]); err == nil && n < len(arguments) {
				return arguments[n].text
			}
			return ""
		})
	}
	if len(words) > 0 {
		words[0].isFirst = true
	}
	rest := p.words[end:]
	p.words = append(words[:len(words):len(words)], rest...)
	p.at = 0
	return nil
}
