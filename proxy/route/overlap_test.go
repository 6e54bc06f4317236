package route

import (
	"regexp"
	"slices"
	"testing"
)

func TestARouteIsHiddenIfAHigherOneMatchesAllItsRequests(t *testing.T) {
	for name, test := range map[string]struct {
		sections []Config // the last two are the hidden one and the one that hides it, in either order
		isHidden bool
	}{
		"a prefix and an expression":             {[]Config{{PathRegexp: "^/a"}, {Path: "/"}}, true},
		"a longer prefix and an expression":      {[]Config{{PathRegexp: "^/a/b[0-9]"}, {Path: "/a"}}, true},
		"a prefix of less than a segment":        {[]Config{{PathRegexp: "^/ab[0-9]"}, {Path: "/a"}}, false},
		"an expression without a beginning":      {[]Config{{PathRegexp: "/a/b[0-9]"}, {Path: "/a"}}, false},
		"a priority":                             {[]Config{{Path: "/a"}, {Path: "/", Priority: 1}}, true},
		"a priority, exact":                      {[]Config{{PathExact: "/a/b"}, {PathRegexp: "b$", Priority: 1}}, true},
		"a priority, another path":               {[]Config{{PathExact: "/a"}, {PathRegexp: "b$", Priority: 1}}, false},
		"a priority of a longer path":            {[]Config{{Path: "/"}, {Path: "/a", Priority: 1}}, false},
		"a priority with a condition":            {[]Config{{Path: "/a"}, {Path: "/", Priority: 1, Header: map[string]string{"X-A": "*"}}}, false},
		"the same condition":                     {[]Config{{Path: "/a", Header: map[string]string{"x-a": "1"}}, {Path: "/", Priority: 1, Header: map[string]string{"X-A": "*"}}}, true},
		"an expression of the value":             {[]Config{{Path: "/a", Query: map[string]string{"a": "12"}}, {Path: "/", Priority: 1, Query: map[string]string{"a": "~1"}}}, true},
		"another value":                          {[]Config{{Path: "/a", Query: map[string]string{"a": "2"}}, {Path: "/", Priority: 1, Query: map[string]string{"a": "~1"}}}, false},
		"methods":                                {[]Config{{Path: "/a", Method: []string{"GET"}}, {Path: "/", Priority: 1, Method: []string{"PUT", "GET"}}}, true},
		"other methods":                          {[]Config{{Path: "/a", Method: []string{"GET"}}, {Path: "/", Priority: 1, Method: []string{"PUT"}}}, false},
		"any method":                             {[]Config{{Path: "/a"}, {Path: "/", Priority: 1, Method: []string{"PUT"}}}, false},
		"a wildcard of a higher priority":        {[]Config{{Host: "a.b.test", Path: "/a"}, {Host: "*.test", Path: "/", Priority: 1}}, true},
		"a wildcard after, of a higher priority": {[]Config{{Host: "a.b.test", Path: "/a"}, {Host: "a.*", Path: "/", Priority: 1}}, true},
		"a wildcard":                             {[]Config{{Host: "a.b.test", Path: "/a"}, {Host: "*.test", Path: "/"}}, false},
		"one of its hosts":                       {[]Config{{Hosts: []string{"a.test", "b.test"}, Path: "/a"}, {Host: "a.test", Path: "/", Priority: 1}}, false},
		"each of its hosts":                      {[]Config{{Hosts: []string{"a.test", "b.test"}, Path: "/a"}, {Hosts: []string{"b.test", "a.test", "c.test"}, Path: "/", Priority: 1}}, true},
		"another listener":                       {[]Config{{Listener: "x", Path: "/a"}, {Listener: "y", Path: "/", Priority: 1}}, false},
		"every listener":                         {[]Config{{Listener: "x", Path: "/a"}, {Path: "/", Priority: 1}}, true},
		"one listener":                           {[]Config{{Path: "/a"}, {Listener: "y", Path: "/", Priority: 1}}, false},
	} {
		for _, isReversed := range []bool{false, true} {
			sections := slices.Clone(test.sections)
			hidden, other := 0, 1
			if isReversed {
				slices.Reverse(sections)
				hidden, other = 1, 0
			}
			for i := range sections {
				if sections[i].Path == "" {
					sections[i].Path = "/"
				}
			}
			var want []Overlap
			if test.isHidden {
				want = []Overlap{{hidden, other, true}}
			}
			if got := Overlaps(sections); !slices.Equal(got, want) {
				t.Errorf("%s, reversed %v: %v, want %v", name, isReversed, got, want)
			}
		}
	}
}

func TestRoutesOfEqualRankThatShareRequestsOverlap(t *testing.T) {
	header := func(name, value string) Config { return Config{Path: "/", Header: map[string]string{name: value}} }
	method := func(methods ...string) Config { return Config{Path: "/", Method: methods} }
	expression := func(text string) Config { return Config{Path: "/", PathRegexp: text} }
	for name, test := range map[string]struct {
		sections []Config
		isShared bool
	}{
		"other fields":                         {[]Config{header("X-A", "1"), header("X-B", "1")}, true},
		"other values of a field":              {[]Config{header("X-A", "1"), header("X-A", "2")}, false},
		"a value, and an expression of it":     {[]Config{header("X-A", "1"), header("X-A", "~[12]")}, true},
		"a value, and an expression of others": {[]Config{header("X-A", "3"), header("X-A", "~[12]")}, false},
		"a value and any":                      {[]Config{header("X-A", "3"), header("X-A", "*")}, true},
		"a field and a parameter":              {[]Config{header("X-A", "1"), {Path: "/", Query: map[string]string{"a": "1"}}}, false}, // of other ranks
		"a shared method":                      {[]Config{method("GET", "PUT"), method("GET", "POST")}, true},
		"other methods":                        {[]Config{method("GET"), method("POST")}, false},
		"expressions":                          {[]Config{expression("^/a"), expression("^/a/b")}, true},
		"expressions of other paths":           {[]Config{expression("^/a"), expression("^/b")}, false},
		"other hosts":                          {[]Config{{Host: "a.test", Path: "/"}, {Host: "b.test", Path: "/"}}, false},
		"a shared host":                        {[]Config{{Hosts: []string{"a.test", "b.test"}, Path: "/"}, {Host: "b.test", Path: "/"}}, true},
		"other paths":                          {[]Config{{Path: "/a"}, {Path: "/b"}}, false},
		"other priorities":                     {[]Config{{Path: "/", Priority: 1, Header: map[string]string{"X-A": "1"}}, header("X-B", "1")}, false},
		"other listeners":                      {[]Config{{Path: "/", Listener: "a", Header: map[string]string{"X-A": "1"}}, {Path: "/", Listener: "b", Header: map[string]string{"X-B": "1"}}}, false},
	} {
		got := Overlaps(test.sections)
		isShared := len(got) == 1 && got[0].Route == 1 && got[0].Other == 0 && (!got[0].IsHidden || name == "a shared host")
		if isShared != test.isShared || !isShared && len(got) > 0 {
			t.Errorf("%s: %v, want one: %v", name, got, test.isShared)
		}
	}
}

func TestOverlapsOfManyRoutesAreFoundInBoundedTime(t *testing.T) {
	var sections []Config
	var hosts []string
	for i := range mostHosts {
		hosts = append(hosts, string(rune('a'+i%26))+string(rune('a'+i/26))+".test")
	}
	for range 400 {
		sections = append(sections, Config{Hosts: hosts, Path: "/", Header: map[string]string{"X-A": "*"}})
	}
	Overlaps(sections)
}

func TestAnExpressionHasAnExampleWhereItIsSimple(t *testing.T) {
	for expression, want := range map[string]string{
		"^/v[0-9]+/users":   "/v1/users",
		"^/(a|b)/?$":        "/a",
		"[.]php$":           "/.php",
		"^/x{3}[^a]":        "/xxx1",
		"(?i)^/ws":          "/WS",
		"":                  "/",
		"^/.*$":             "/",
		"^/(?P<room>.+)/ws": "/a/ws",
		"a\\b ":             "/a ",
		"^/a$b":             "-",
		"^[^/]":             "-",
		"^/[[:^ascii:]]":    "/\u0080",
	} {
		c := Conditions{PathKind: RegexpPath, PathRegexp: regexp.MustCompile(expression)}
		got, isKnown := c.ExamplePath()
		if !isKnown {
			got = "-"
		}
		if got != want {
			t.Errorf("%s: example %q, want %q", expression, got, want)
		}
	}
}

// FuzzExpression checks that no expression panics, that an example matches, and that what is known of the beginning is true.
func FuzzExpression(f *testing.F) {
	for _, text := range []string{"^/v[0-9]+", "(?i)^/a|b", "^^/a", "\\A/\\x{FFFD}", "(^/a)+", "a{0}", "[^\\x00-\\x{10FFFF}]", "(?m)^/$", "^/\\Qa.b\\E"} {
		f.Add(text, "/v1")
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		if checkExpression(text) != nil {
			return
		}
		e := regexp.MustCompile(text)
		begins := literalBeginning(text)
		if e.MatchString(path) && (len(path) < len(begins) || path[:len(begins)] != begins) {
			t.Errorf("%q matches %q, which doesn't begin with %q", text, path, begins)
		}
		if found, isKnown := example(e, "/"); isKnown && !e.MatchString(found) {
			t.Errorf("%q doesn't match its example %q", text, found)
		}
	})
}
