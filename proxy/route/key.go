package route

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Key identifies a route across configurations and processes: two routes have the same one if their conditions are the same, in whatever
// order they are written.
type Key [sha256.Size]byte

// KeyOf returns the key of the route that has only a listener, a host and a prefix as conditions, all in the form of Conditions. An empty
// host means any.
func KeyOf(listener, host, path string) Key {
	c := Conditions{Listener: listener, Path: path}
	if host != "" {
		c.Hosts = []string{host}
	}
	return c.makeKey()
}

// SentKey returns the key that another process has sent, and whether it is one.
func SentKey(sent []byte) (key Key, isKey bool) {
	return key, copy(key[:], sent) == len(key) && len(sent) == len(key)
}

// Key returns the key of the route of a section, which may have problems.
func (c *Config) Key() Key {
	conditions := newConditions(c)
	return conditions.makeKey()
}

// makeKey returns the key of the route that has these conditions.
func (c *Conditions) makeKey() Key {
	text := fmt.Appendf(nil, "%q %q %d %q %q", c.Listener, slices.Sorted(slices.Values(c.Hosts)), c.PathKind, c.Path, c.Methods)
	for _, list := range [][]Condition{c.Headers, c.Queries} {
		text = append(text, '\n')
		for _, condition := range list {
			text = fmt.Appendf(text, "%q=%q ", condition.Name, condition.Value)
		}
	}
	return sha256.Sum256(text)
}

// mostNameBytes bounds a name that is made of conditions, except if these are one host and a prefix.
const mostNameBytes = 200

// Title returns the name of the route in logs and metrics: the configured one, or its conditions as text, without the listener. The section
// may have problems.
func (c *Config) Title() string {
	if c.Name != "" {
		return c.Name
	}
	hosts, conditions := c.allHosts(), newConditions(c)
	if conditions.IsPlain() {
		return strings.Join(hosts, "") + prefixOf(c.Path)
	}
	name := c.describe(hosts, &conditions)
	if len(name) <= mostNameBytes {
		return name
	}
	end, key := mostNameBytes, conditions.makeKey()
	for !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end] + "…" + hex.EncodeToString(key[:4])
}

// describe returns the conditions as text: hosts and path, then methods, fields, and parameters of the query, separated by spaces.
func (c *Config) describe(hosts []string, conditions *Conditions) string {
	var b strings.Builder
	b.WriteString(strings.Join(hosts, ","))
	switch {
	case c.PathExact != "":
		b.WriteString("=" + quoted(c.PathExact))
	case c.PathRegexp != "":
		b.WriteString("~" + quoted(c.PathRegexp))
	default:
		b.WriteString(quoted(prefixOf(c.Path)))
	}
	if len(c.Method) > 0 {
		b.WriteString(" " + strings.Join(c.Method, ","))
	}
	for _, header := range conditions.Headers {
		b.WriteString(" " + header.Name + "=" + quoted(header.Shown()))
	}
	for _, query := range conditions.Queries {
		b.WriteString(" ?" + quoted(query.Name) + "=" + quoted(query.Shown()))
	}
	return b.String()
}

// prefixOf returns the path of a section without slashes at its end, except "/".
func prefixOf(path string) string {
	if path == "/" {
		return path
	}
	return strings.TrimRight(path, "/")
}

// quoted returns s as it is, or in quotes if it has what would make a name hard to read.
func quoted(s string) string {
	if strings.ContainsFunc(s, func(c rune) bool { return c == '"' || unicode.IsSpace(c) || !unicode.IsGraphic(c) }) {
		return strconv.Quote(s)
	}
	return s
}
