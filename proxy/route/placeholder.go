package route

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Value is what a placeholder stands for.
type Value uint8

const (
	ValueGroup      Value = iota // what a group of path_regexp has matched
	ValueClientIP                // the client's address
	ValueHost                    // without the port
	ValueHostPort                // Host as sent
	ValuePath                    // as sent, with a run of slashes at its start as one
	ValueQuery                   // as sent
	ValueURI                     // path and query
	ValueMethod                  // of the request
	ValueScheme                  // "http" or "https"
	ValuePort                    // of the listener
	ValueRequestID               // that of a trusted peer, or the gateway's
	ValueTLSVersion              // of the client's connection
	ValueSNI                     // the name that the client has asked for
	ValueSubject                 // of the client's verified certificate
	ValueRoute                   // the route's name
	ValueBackend                 // the backend's name
)

// placeholders are the names of all values but ValueGroup, in the order of the documentation.
var placeholders = []struct {
	name string
	of   Value
}{
	{"client_ip", ValueClientIP}, {"host", ValueHost}, {"hostport", ValueHostPort}, {"path", ValuePath}, {"query", ValueQuery},
	{"uri", ValueURI}, {"method", ValueMethod}, {"scheme", ValueScheme}, {"port", ValuePort}, {"request_id", ValueRequestID},
	{"tls_version", ValueTLSVersion}, {"sni", ValueSNI}, {"subject", ValueSubject}, {"route", ValueRoute}, {"backend", ValueBackend},
}

// A Template is text with placeholders. The zero value is the empty text. Immutable.
type Template struct{ Parts []Part }

// A Part is text, or a placeholder.
type Part struct {
	Text  string // "" for a placeholder
	Value Value  // of a placeholder
	Group int    // of ValueGroup
}

// IsFixed reports whether the template has no placeholder.
func (t *Template) IsFixed() bool {
	return !slices.ContainsFunc(t.Parts, func(p Part) bool { return p.Text == "" })
}

// Has reports whether the template has a placeholder for one of those values.
func (t *Template) Has(values ...Value) bool {
	return slices.ContainsFunc(t.Parts, func(p Part) bool { return p.Text == "" && slices.Contains(values, p.Value) })
}

// text returns the text of a template without placeholders.
func (t *Template) text() string {
	var b strings.Builder
	for _, p := range t.Parts {
		b.WriteString(p.Text)
	}
	return b.String()
}

// A syntax is what a template may have.
type syntax struct {
	noPlaceholders bool           // "{" is text
	noBackend      bool           // no backend is known
	groups         *regexp.Regexp // of which "$1" and "${name}" are the groups; nil: "$" is text
}

// parse reads a template. The error is in words for an operator, and has nothing of the text, which may be a secret.
func (s syntax) parse(text string) (t Template, err error) {
	for len(text) > 0 {
		n := strings.IndexAny(text, "{$")
		switch {
		case n < 0:
			n = len(text)
			fallthrough
		case n > 0:
			t.add(Part{Text: text[:n]})
			text = text[n:]
			continue
		}
		var p Part
		switch {
		case text[0] == '{' && !s.noPlaceholders:
			p, n, err = s.placeholder(text)
		case text[0] == '$' && s.groups != nil:
			p, n, err = s.group(text)
		default:
			p, n = Part{Text: text[:1]}, 1
		}
		if err != nil {
			return Template{}, err
		}
		t.add(p)
		text = text[n:]
	}
	return t, nil
}

// add adds a part. Adjacent text becomes one.
func (t *Template) add(p Part) {
	if last := len(t.Parts) - 1; p.Text != "" && last >= 0 && t.Parts[last].Text != "" {
		t.Parts[last].Text += p.Text
		return
	}
	t.Parts = append(t.Parts, p)
}

// placeholder reads "{name}" or "{{" at the start of text, and returns its length.
func (s syntax) placeholder(text string) (p Part, n int, err error) {
	if strings.HasPrefix(text, "{{") {
		return Part{Text: "{"}, 2, nil
	}
	name, _, isClosed := strings.Cut(text[1:], "}")
	if !isClosed {
		return Part{}, 0, errors.New("an opening brace without a closing one; two of them are one as text")
	}
	for _, each := range placeholders {
		switch {
		case each.name != name:
		case each.of == ValueBackend && s.noBackend:
			return Part{}, 0, errors.New("{backend} has no value: no backend is chosen")
		default:
			return Part{Value: each.of}, len(name) + 2, nil
		}
	}
	return Part{}, 0, errors.New("an unknown placeholder; two opening braces are one as text")
}

// group reads "$1", "${1}", "${name}" or "$$" at the start of text, and returns its length.
func (s syntax) group(text string) (p Part, n int, err error) {
	if strings.HasPrefix(text, "$$") {
		return Part{Text: "$"}, 2, nil
	}
	name, n := "", 0
	if rest, isBraced := strings.CutPrefix(text, "${"); isBraced {
		var isClosed bool
		if name, _, isClosed = strings.Cut(rest, "}"); !isClosed {
			return Part{}, 0, errors.New("${ without a closing brace")
		}
		n = len(name) + len("${}")
	} else {
		name = text[1:]
		if end := strings.IndexFunc(name, func(c rune) bool { return c < '0' || c > '9' }); end >= 0 {
			name = name[:end]
		}
		n = 1 + len(name)
	}
	index := s.groups.SubexpIndex(name)
	if number, err := strconv.ParseUint(name, 10, 16); err == nil {
		index = int(number)
	}
	if index < 0 || index > s.groups.NumSubexp() {
		return Part{}, 0, errors.New("no such group in path_regexp; $$ is a dollar sign as text")
	}
	return Part{Value: ValueGroup, Group: index}, n, nil
}

// known returns the placeholders that a value may have, as what is wanted instead of another one.
func (s syntax) known() string {
	var names []string
	for _, each := range placeholders {
		if each.of != ValueBackend || !s.noBackend {
			names = append(names, "{"+each.name+"}")
		}
	}
	return "text with " + strings.Join(names, " ")
}
