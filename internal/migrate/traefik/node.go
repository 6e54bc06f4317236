package traefik

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
	"go.yaml.in/yaml/v3"

	"sluice/internal/migrate"
)

// A node is a value of a configuration. Names are looked up without regard to case, as Traefik's labels have them.
type node struct {
	migrate.Place
	name   string  // as it is written
	text   string  // of a value that is no map and no list
	fields []*node // of a map, in their order
	list   []*node
}

// The largest file, the deepest tree, and the most values of a file, those that aliases stand for included.
const (
	mostBytes = 4 << 20
	mostDepth = 50
	mostNodes = 200_000
)

// field returns the node at a path of names; an empty one if there is none.
func (n *node) field(names ...string) *node {
	for _, name := range names {
		found := (*node)(nil)
		for _, f := range n.fields {
			if strings.EqualFold(f.name, name) {
				found = f
			}
		}
		if found == nil {
			return &node{}
		}
		n = found
	}
	return n
}

// is reports whether there is such a node.
func (n *node) is() bool { return n.Line != 0 }

// isTrue reports whether the node says true.
func (n *node) isTrue() bool { return strings.EqualFold(n.text, "true") }

// number returns a whole number that isn't negative; -1 if it is none.
func (n *node) number() int {
	number, err := strconv.ParseInt(n.text, 10, 32)
	if err != nil || number < 0 {
		return -1
	}
	return int(number)
}

// values returns the texts of a list, or of a text with commas, as labels have lists.
func (n *node) values() (all []string) {
	for _, element := range n.list {
		all = append(all, element.text)
	}
	if n.text != "" {
		for part := range strings.SplitSeq(n.text, ",") {
			all = append(all, strings.TrimSpace(part))
		}
	}
	return all
}

// children returns the elements of a list; labels have them as fields [0], [1] and so on.
func (n *node) children() []*node {
	if n.list != nil {
		return n.list
	}
	return n.fields
}

// put adds a value at a path of names.
func (n *node) put(names []string, text string, at migrate.Place) {
	for _, name := range names {
		next := n.field(name)
		if !next.is() {
			next = &node{Place: at, name: name}
			n.fields = append(n.fields, next)
		}
		n = next
	}
	n.text, n.Place = text, at
}

// isLeaf reports whether the node has a value of its own. A label may have one and others below it.
func (n *node) isLeaf() bool { return n.is() && (n.text != "" || n.fields == nil && n.list == nil) }

// leaves calls do with each value below the node.
func (n *node) leaves(do func(*node)) {
	if n.isLeaf() {
		do(n)
	}
	for _, f := range n.fields {
		f.leaves(do)
	}
	for _, element := range n.list {
		element.leaves(do)
	}
}

// readFile returns the documents of a file.
func readFile(file string) ([]*node, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if len(text) > mostBytes {
		return nil, fmt.Errorf("%s: larger than %d MiB", file, mostBytes>>20)
	}
	if strings.HasSuffix(file, ".toml") {
		root, err := readTOML(file, text)
		return []*node{root}, err
	}
	var documents []*node
	nodes := 0
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		root, err := ofYAML(file, &document, 0, &nodes)
		if err != nil {
			return nil, err
		}
		documents = append(documents, root)
	}
}

// ofYAML returns the tree of a YAML node, in which aliases are what they stand for. nodes counts the values of the file.
func ofYAML(file string, y *yaml.Node, depth int, nodes *int) (*node, error) {
	n := &node{Place: migrate.Place{File: file, Line: y.Line}}
	if *nodes++; *nodes > mostNodes {
		return nil, fmt.Errorf("%v: more than %d values, those that aliases stand for included", n.Place, mostNodes)
	}
	if depth > mostDepth {
		return nil, fmt.Errorf("%v: deeper than %d levels", n.Place, mostDepth)
	}
	switch y.Kind {
	case yaml.DocumentNode:
		if len(y.Content) == 0 {
			return n, nil
		}
		return ofYAML(file, y.Content[0], depth, nodes)
	case yaml.MappingNode:
		for i := 0; i+1 < len(y.Content); i += 2 {
			value, err := ofYAML(file, y.Content[i+1], depth+1, nodes)
			if err != nil {
				return nil, err
			}
			if y.Content[i].Value == "<<" { // a merged map
				for _, merged := range append(value.list, value) {
					n.fields = append(merged.fields, n.fields...)
				}
				continue
			}
			value.name, value.Line = y.Content[i].Value, y.Content[i].Line
			n.fields = append(n.fields, value)
		}
	case yaml.SequenceNode:
		n.list = []*node{}
		for _, element := range y.Content {
			value, err := ofYAML(file, element, depth+1, nodes)
			if err != nil {
				return nil, err
			}
			n.list = append(n.list, value)
		}
	case yaml.ScalarNode:
		n.text = y.Value
	case yaml.AliasNode:
		return ofYAML(file, y.Alias, depth+1, nodes)
	}
	return n, nil
}

// readTOML returns the tree of a TOML text.
func readTOML(file string, text []byte) (*node, error) {
	root := &node{Place: migrate.Place{File: file, Line: 1}}
	table := root
	var p unstable.Parser
	p.Reset(text)
	lineOf := func(n *unstable.Node) int {
		return bytes.Count(text[:min(int(n.Raw.Offset), len(text))], []byte("\n")) + 1
	}
	for p.NextExpression() {
		e := p.Expression()
		var names []string
		line := 0
		for it := e.Key(); it.Next(); {
			names = append(names, string(it.Node().Data))
			line = lineOf(it.Node())
		}
		at := migrate.Place{File: file, Line: line}
		if len(names) > mostDepth {
			return nil, fmt.Errorf("%v: deeper than %d levels", at, mostDepth)
		}
		switch e.Kind {
		case unstable.Table:
			table = root.table(names, at)
		case unstable.ArrayTable:
			list := root.table(names, at)
			table = &node{Place: at}
			list.list = append(list.list, table)
		case unstable.KeyValue:
			last := table.table(names, at)
			if !last.ofTOML(e.Value(), 0) {
				return nil, fmt.Errorf("%v: deeper than %d levels", at, mostDepth)
			}
		}
	}
	if err := p.Error(); err != nil {
		line := 1
		var parsing *unstable.ParserError
		if errors.As(err, &parsing) && len(parsing.Highlight) > 0 {
			line = bytes.Count(text[:p.Range(parsing.Highlight).Offset], []byte("\n")) + 1
		}
		return nil, fmt.Errorf("%s:%d: %w", file, line, err)
	}
	return root, nil
}

// table returns the node at a path, which it makes. Of an array of tables it is the last one.
func (n *node) table(names []string, at migrate.Place) *node {
	for _, name := range names {
		next := n.field(name)
		if !next.is() {
			next = &node{Place: at, name: name}
			n.fields = append(n.fields, next)
		}
		n = next
		if len(n.list) > 0 && len(names) > 1 && name != names[len(names)-1] {
			n = n.list[len(n.list)-1]
		}
	}
	return n
}

// ofTOML takes the value of a TOML node. It reports false if it is too deep.
func (n *node) ofTOML(value *unstable.Node, depth int) bool {
	switch {
	case depth > mostDepth:
		return false
	case value.Kind == unstable.Array:
		n.list = []*node{}
		for it := value.Children(); it.Next(); {
			element := &node{Place: n.Place}
			if !element.ofTOML(it.Node(), depth+1) {
				return false
			}
			n.list = append(n.list, element)
		}
	case value.Kind == unstable.InlineTable:
		for it := value.Children(); it.Next(); {
			var names []string
			for key := it.Node().Key(); key.Next(); {
				names = append(names, string(key.Node().Data))
			}
			if len(names) > mostDepth || !n.table(names, n.Place).ofTOML(it.Node().Value(), depth+1) {
				return false
			}
		}
	default:
		n.text = string(value.Data)
	}
	return true
}
