package migrate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A Place is a line of a file that is imported.
type Place struct {
	File string
	Line int // from 1
}

// String returns the place as FILE:LINE.
func (p Place) String() string { return fmt.Sprintf("%s:%d", p.File, p.Line) }

// A Draft is the configuration of Sluice that an import makes of another proxy's.
type Draft struct {
	Origin    string // what was imported, as "nginx: /etc/nginx/nginx.conf"; the heading has it
	Directory string // comments name the files in it without it; empty: in full

	Listeners, Routes, Pools []*Section
	Skipped                  []Skipped // in the order in which they were found
}

// A Section is a [[listener]], [[route]] or [[pool]] of a Draft.
type Section struct {
	From  Place    // the line at which its block begins
	Notes []string // remarks about the section as a whole, a line each
	Keys  []Key    // in the order in which they are written
}

// A Key is one key of a section.
type Key struct {
	Name  string // dotted for a key of a table below the section, as "tls.certificate"
	Value any    // bool, int, float64, string, Template, []any, []string, or map[string]any and Inline for an inline table
	From  Place
	Also  []Place // further lines that its value comes from
	Note  string  // a remark that stands behind the place; empty: none
}

// An Inline is an inline table whose keys keep their order.
type Inline []Key

// A Template is a string in which ${NAME} stands for a variable of the environment. In any other string "${" means just these characters.
type Template string

// A Skipped is a part of an imported file that has no meaning in Sluice, or one that can't be carried over.
type Skipped struct {
	From Place
	Text string   // the directive as it stands there, on one line
	Why  string   // why it isn't carried over, and what to do instead
	In   *Section // at which it is written as a comment; nil: at the beginning of the configuration

	IsLessStrict bool // without it, requests pass that the original refuses
}

// Set sets a key. One that is set already gets the new value and place.
func (s *Section) Set(name string, value any, from Place) {
	if key := s.find(name); key != nil {
		*key = Key{Name: name, Value: value, From: from}
		return
	}
	s.Keys = append(s.Keys, Key{Name: name, Value: value, From: from})
}

// SetNote sets a key as Set does, with a remark behind its place.
func (s *Section) SetNote(name string, value any, from Place, note string) {
	s.Set(name, value, from)
	s.find(name).Note = note
}

// Get returns the value of a key, or nil.
func (s *Section) Get(name string) any {
	if key := s.find(name); key != nil {
		return key.Value
	}
	return nil
}

// find returns the key of a name, or nil.
func (s *Section) find(name string) *Key {
	for i := range s.Keys {
		if s.Keys[i].Name == name {
			return &s.Keys[i]
		}
	}
	return nil
}

// Skip notes a directive that isn't carried over.
func (d *Draft) Skip(in *Section, from Place, text, why string) {
	d.Skipped = append(d.Skipped, Skipped{From: from, Text: Masked(text), Why: why, In: in})
}

// SkipRefusal notes a directive that refuses requests in the original, and that nothing replaces.
func (d *Draft) SkipRefusal(from Place, text, why string) {
	d.Skipped = append(d.Skipped, Skipped{From: from, Text: Masked(text), Why: why, IsLessStrict: true})
}

// secrets finds what is secret in a directive: the value of a field, variable or option whose name says so, a user with a password in a URL,
// and what follows Basic or Bearer.
var secrets = []*regexp.Regexp{
	regexp.MustCompile(`(?i)([\w.-]*(?:authorization|api[-_]?key|token|secret|passw(?:or)?d|x-[\w-]*key|\$cookie_\w+|set-cookie)[\w.-]*[)\]"'}]*)([ :=!~]+).+`),
	regexp.MustCompile(`(?i)\b(basic|bearer)( )\S.*`),
	regexp.MustCompile(`(://)()[^/@ ]+(@)`),
}

// isSwitch matches a directive that turns something on or off, such as "server_tokens off;": it has no secret, whatever its name.
var isSwitch = regexp.MustCompile(`(?i)^[\w.-]+[ :=]+(on|off|true|false|yes|no);?$`)

// longest is the longest directive that is listed, in bytes.
const longest = 1000

// Masked returns a directive without what is secret in it, as lists have it. A very long one is cut.
func Masked(text string) string {
	if len(text) > longest {
		text = strings.ToValidUTF8(text[:longest], "") + "…"
	}
	if isSwitch.MatchString(text) {
		return text
	}
	for _, secret := range secrets {
		text = secret.ReplaceAllString(text, "${1}${2}***${3}")
	}
	return text
}

// LessStrict returns the skipped directives without which requests pass that the original refuses.
func (d *Draft) LessStrict() []Skipped {
	return slices.DeleteFunc(slices.Clone(d.Skipped), func(s Skipped) bool { return !s.IsLessStrict })
}

// Mentioned returns the places of the draft's sections and keys, and of what it skips.
func (d *Draft) Mentioned() map[Place]bool {
	places := map[Place]bool{}
	for _, s := range slices.Concat(d.Listeners, d.Routes, d.Pools) {
		places[s.From] = true
		for _, key := range s.Keys {
			key.mention(places)
		}
	}
	for _, s := range d.Skipped {
		places[s.From] = true
	}
	return places
}

func (k *Key) mention(places map[Place]bool) {
	places[k.From] = true
	for _, p := range k.Also {
		places[p] = true
	}
	switch value := k.Value.(type) {
	case Inline:
		for i := range value {
			value[i].mention(places)
		}
	case []any:
		for _, element := range value {
			(&Key{Value: element, From: k.From}).mention(places)
		}
	}
}

// Dotted returns the name of a key in a table, as a section has it: request_header.X-Team, or request_header."X.Team".
func Dotted(table, key string) string { return table + "." + quoteKey(key) }

// quoteKey returns a key as TOML wants it.
func quoteKey(key string) string {
	if key != "" && strings.Trim(key, bareKey) == "" {
		return key
	}
	return quote(key)
}

// bareKey are the characters of keys without quotes.
const bareKey = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
