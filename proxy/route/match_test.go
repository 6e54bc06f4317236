package route

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sluice/balancer"
	"sluice/upgrade"
)

// newTestTable returns a table of those paths, with the defaults for what a backend may read otherwise.
func newTestTable(paths ...string) Table {
	var all []*Route
	for _, path := range paths {
		all = append(all, New(&Config{Path: path, EncodedSlashes: "auto", PathParameters: "auto"}, &balancer.Config{}, nil))
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
	table := newTestTable("/", "/a", "/a/b", "/c/d")
	f.Fuzz(func(t *testing.T, path string) {
		var req upgrade.Request
		n, err := req.Parse([]byte("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n"))
		if err != nil || n == 0 {
			return
		}
		route, rejection := table.Match("public", &req)
		if rejection != nil {
			return
		}
		for _, reading := range backendReadings(t, string(req.RawPath())) {
			if reading == "" {
				reading = "/" // of an absolute-form
			}
			if segments := strings.Split(reading, "/"); slices.Contains(segments, ".") || slices.Contains(segments, "..") {
				t.Errorf("%q may be read as %q", path, reading)
			}
			if other := table.Find("public", []byte("a"), []byte(reading)); other != route {
				t.Errorf("%q is of route %s, and may be read as %q of route %s", path, route.Name, reading, other.Name)
			}
		}
	})
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
