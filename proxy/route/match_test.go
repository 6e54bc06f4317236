package route

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sluice/balancer"
	"sluice/upgrade"
)

// newTestTable returns a table of those paths, with the defaults for what a backend may read otherwise. "=" is before an exact path, and "~"
// before an expression.
func newTestTable(paths ...string) Table {
	var all []*Route
	for _, path := range paths {
		c := Config{Path: "/", EncodedSlashes: "auto", PathParameters: "auto"}
		switch path[0] {
		case '=':
			c.PathExact = path[1:]
		case '~':
			c.PathRegexp = path[1:]
		default:
			c.Path = path
		}
		all = append(all, New(&c, &balancer.Config{}, nil))
	}
	return NewTable(all)
}

var (
	parameters = regexp.MustCompile(`;[^/]*`)
	slashes    = regexp.MustCompile(`/+`)
)

// backendReadings returns what backends make of a target's path: they decode, drop parameters, or both, and treat a backslash as a slash or not.
func backendReadings(t *testing.T, raw string) (all []string) {
	t.Helper()
	decode := func(s string) string {
		decoded, err := url.PathUnescape(s)
		if err != nil {
			t.Fatalf("a malformed path was accepted: %q", s)
		}
		return decoded
	}
	drop := func(s string) string { return parameters.ReplaceAllString(s, "") }
	windows := func(s string) string { return strings.ReplaceAll(s, `\`, "/") }
	all = []string{decode(raw), decode(drop(raw)), drop(decode(raw)), windows(decode(raw)), drop(windows(decode(raw))), windows(decode(drop(raw)))}
	for i, s := range all {
		all[i] = slashes.ReplaceAllString(s, "/")
	}
	return all
}

// FuzzMatch verifies that no backend reads an accepted path as one of another route, or as one with dot segments.
func FuzzMatch(f *testing.F) {
	for _, path := range []string{
		"/a/b", "/a%2fb/c", "/a%5Cb", "/a;x/b", "/a%3bx/b", "/;x%2fa", "/x;%2fa", "/x%2f%2fa", "//a//b", "/a/%2e", "/a/..;x/b", "/a;%2f../b", "/ab;x", "/%61%2fb",
		"/a%252fb", "/x;%2f;%2fa", "/x%2fa;b/c", "/%2fa;", "/a%2f", "/;/a", "/;a%2f;b/a/b",
	} {
		f.Add(path)
	}
	tables := []Table{
		newTestTable("/", "/a", "/a/b", "/c/d"),
		newTestTable("/", "=/a", "=/a/", "=/a/b", "=/c/d"),
		newTestTable("=/x/a", "/x", "~^/a(/|$)", "~/b$", "~."),
	}
	f.Fuzz(func(t *testing.T, path string) {
		var req upgrade.Request
		n, err := req.Parse([]byte("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n"))
		if err != nil || n == 0 {
			return
		}
		for _, table := range tables {
			route, rejection := table.Match("public", &req)
			if rejection != nil {
				continue
			}
			for _, reading := range backendReadings(t, string(req.RawPath())) {
				if reading == "" {
					reading = "/" // of an absolute-form
				}
				if segments := strings.Split(reading, "/"); slices.Contains(segments, ".") || slices.Contains(segments, "..") {
					t.Errorf("%q may be read as %q", path, reading)
				}
				if other := table.Find("public", &req, []byte(reading)); other != route {
					t.Errorf("%q is of route %s, and may be read as %q of route %s", path, route.Name, reading, other.Name)
				}
			}
		}
	})
}

func TestNoParameterAndNoEncodedSlashWalksAroundARouteOfAnyKind(t *testing.T) {
	table := newTestTable("=/admin", "~^/api/v[0-9]+/users$", "~.")
	for path, want := range map[string]*upgrade.Rejection{
		"/admin;v=1":               upgrade.ErrPathParameter,
		"/;x/admin":                upgrade.ErrPathParameter,
		"/%2fadmin":                upgrade.ErrEncodedSlash,
		"/admin%2f":                nil, // as /admin/ is not that route's
		"/api/v1/users;x":          upgrade.ErrPathParameter,
		"/api/v1;x/users":          upgrade.ErrPathParameter,
		"/api%2fv1/users":          upgrade.ErrEncodedSlash,
		"/api/v1%2Fusers":          upgrade.ErrEncodedSlash,
		"/api/v1/users/x;y%2fz":    nil,
		"/other;jsessionid=1/a%2f": nil,
	} {
		if _, got := table.Match("public", parsed(t, "GET", path)); got != want {
			t.Errorf("%q: %v, want %v", path, got, want)
		}
	}
}

// Faults C21.
func TestMatchRefusesOnlyWhatLeadsToAnotherRoute(t *testing.T) {
	table := newTestTable("/", "/a", "/a/b")
	for path, want := range map[string]*upgrade.Rejection{
		"/files/x%2fy":       nil,
		"/a/x%2fy":           nil,
		"/a%2fx":             upgrade.ErrEncodedSlash,
		"/a%5cx":             upgrade.ErrEncodedSlash,
		"/a/b%2Fx":           upgrade.ErrEncodedSlash,
		"/a/x;v=1":           nil,
		"/a;v=1":             upgrade.ErrPathParameter,
		"/a/b;v=1/c":         upgrade.ErrPathParameter,
		"/;/a":               upgrade.ErrPathParameter,
		"/x;%2fa":            nil,
		"/;%2fa":             upgrade.ErrEncodedSlash,
		"/files/a%2fb;x%2fy": nil,
	} {
		var req upgrade.Request
		if _, err := req.Parse([]byte("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		if _, got := table.Match("public", &req); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}

func TestARequestThatWouldKeepExpressionsBusyIsRefused(t *testing.T) {
	const long = 15 << 10
	var byPath, byField, byParameter []Config
	for i := range mostMatchedBytes/long + 1 {
		byPath = append(byPath, Config{PathRegexp: fmt.Sprint("(x+x+)+y", i), EncodedSlashes: "auto", PathParameters: "auto"})
		byField = append(byField, Config{Path: "/", Header: map[string]string{"X-A": fmt.Sprint("~(x+x+)+y", i)}})
		byParameter = append(byParameter, Config{Path: "/", Query: map[string]string{"a": fmt.Sprint("~(x+x+)+y", i)}})
	}
	few := append(byPath[:5:5], Config{Path: "/", Priority: -1, EncodedSlashes: "auto", PathParameters: "auto"})
	words := strings.Repeat("x", long)
	for _, test := range []struct {
		sections []Config
		target   string
		value    string
		want     *upgrade.Rejection
	}{
		{byPath, "/" + words, "x", upgrade.ErrMatchCost},
		{byPath, "/x", words, upgrade.ErrNoRoute},
		{byPath, "/xxy1", "x", nil},
		{byField, "/", words, upgrade.ErrMatchCost},
		{byField, "/" + words, "x", upgrade.ErrNoRoute},
		{byParameter, "/?a=" + words, "x", upgrade.ErrMatchCost},
		{byParameter, "/?a=" + strings.Repeat("%78", long/3), "x", upgrade.ErrNoRoute},
		{few, "/" + words, "x", nil},
		{few, "/%2f" + words + ";", "x", upgrade.ErrMatchCost}, // readings count, too
		{few, "/%2f;", "x", nil},
	} {
		table, _ := tableOf(test.sections)
		if _, got := table.Match("public", parsed(t, "GET", test.target, "X-A: "+test.value)); got != test.want {
			t.Errorf("%.10s… of %d bytes: %v, want %v", test.target, len(test.target), got, test.want)
		}
	}
}
