package upgrade

import (
	"strings"
	"testing"
)

func TestTheTargetIsInOriginFormOrNamesThisHost(t *testing.T) {
	for _, test := range []struct {
		target, host string
		path, query  string // when admitted
		want         *Rejection
	}{
		{"/", "a", "/", "", nil},
		{"/a/b?c=/../d", "a", "/a/b", "c=/../d", nil},
		{"/?", "a", "/", "", nil},
		{"http://a/b?c", "a", "/b", "c", nil},
		{"HTTPS://A:443/b", "a:443", "/b", "", nil},
		{"ws://a", "a", "/", "", nil},
		{"wss://a?b", "A", "/", "b", nil},
		{"http://[::1]:80/", "[::1]:80", "/", "", nil},
		{"http://b/", "a", "", "", ErrBadTarget},
		// Faults B5.
		{"http://a:80/", "a", "/", "", nil},
		{"http://a/", "A:80", "/", "", nil},
		{"wss://a/", "a:443", "/", "", nil},
		{"https://[::1]/", "[::1]:443", "/", "", nil},
		{"http://a:/", "a", "/", "", nil},
		{"http://a:443/", "a", "", "", ErrBadTarget},
		{"https://a/", "a:80", "", "", ErrBadTarget},
		{"http://a:80/", "a:8080", "", "", ErrBadTarget},
		{"http://[::80]/", "[::80]:443", "", "", ErrBadTarget},
		{"http://u@a/", "a", "", "", ErrBadTarget},
		{"http:///b", "a", "", "", ErrBadTarget},
		{"ftp://a/", "a", "", "", ErrBadTarget},
		{"http:/a", "a", "", "", ErrBadTarget},
		{"a:443", "a", "", "", ErrBadTarget},
		{"*", "a", "", "", ErrBadTarget},
		{"a", "a", "", "", ErrBadTarget},
		{"?a", "a", "", "", ErrBadTarget},
		{"/a#b", "a", "", "", ErrBadTarget},
		{"/\xc3\xb6?\xe2\x82\xac", "a", "/\xc3\xb6", "\xe2\x82\xac", nil}, // Faults B5.
		{"/\xff", "a", "/\xff", "", nil},
		{"/a\x7f", "a", "", "", ErrControlByte},
		{"/a\\b", "a", "", "", ErrBadTarget},
		{"/a?b\\c", "a", "/a", "b\\c", nil},
		{"/%", "a", "", "", ErrBadTarget},
		{"/%4", "a", "", "", ErrBadTarget},
		{"/%4g", "a", "", "", ErrBadTarget},
		{"/a?%4g", "a", "/a", "%4g", nil},
		{"/a%00.png", "a", "", "", ErrBadTarget},
	} {
		wire := head("GET "+test.target+" HTTP/1.1", "Host: "+test.host)
		r, _, err := parse(t, wire)
		if test.want != nil {
			wantRefused(t, wire, err, test.want)
			continue
		}
		if err != nil || string(r.Path()) != test.path || string(r.Query()) != test.query {
			t.Errorf("target %q: path %q, query %q, %v; want %q, %q, nil", test.target, r.Path(), r.Query(), err, test.path, test.query)
		}
	}
}

func TestPathsThatAvoidARouteAreRefused(t *testing.T) {
	for _, test := range []struct {
		path           string
		want           string // what routes are matched with
		isEncodedSlash bool
		wantRefusal    *Rejection
	}{
		{"/a/../b", "", false, ErrDotSegment},
		{"/..", "", false, ErrDotSegment},
		{"/.", "", false, ErrDotSegment},
		{"/a/./b", "", false, ErrDotSegment},
		{"/a/%2e%2e/b", "", false, ErrDotSegment},
		{"/a/.%2E/b", "", false, ErrDotSegment},
		{"/a/%2e./b", "", false, ErrDotSegment},
		{"/a/%2e", "", false, ErrDotSegment},
		{"/a/..%2fb", "", false, ErrDotSegment},
		{"/a%2f../b", "", false, ErrDotSegment},
		{"/a%5c..%5Cb", "", false, ErrDotSegment},
		{"/a/..;/b", "", false, ErrDotSegment},
		{"/a/..;x=y", "", false, ErrDotSegment},
		{"/a/.%2e%3bx/b", "", false, ErrDotSegment},
		{"http://a/..", "", false, ErrDotSegment},
		{"/a/.../b", "/a/.../b", false, nil},
		{"/a/..b/c..", "/a/..b/c..", false, nil},
		{"/.well-known/;x=..", "/.well-known/;x=..", false, nil},
		{"/%61dmin", "/admin", false, nil},
		{"//admin///x/", "/admin/x/", false, nil},
		{"/a/%2561", "/a/%61", false, nil},
		{"/%252e%252e/", "/%2e%2e/", false, nil},
		{"/a%2fb", "/a%2fb", true, nil},
		{"/a%5Cb", "/a%5Cb", true, nil},
		{"/%61//%2Fb", "/a/%2Fb", true, nil},
	} {
		wire := head("GET "+test.path+" HTTP/1.1", "Host: a")
		r, _, err := parse(t, wire)
		if test.wantRefusal != nil {
			wantRefused(t, wire, err, test.wantRefusal)
			continue
		}
		if err != nil || string(r.Path()) != test.want || r.IsEncodedSlash() != test.isEncodedSlash {
			t.Errorf("path %q: routed as %q, encoded slash %v, %v; want %q, %v, nil",
				test.path, r.Path(), r.IsEncodedSlash(), err, test.want, test.isEncodedSlash)
		}
	}
}

func TestHostMatchingIgnoresCasePortAndATrailingDot(t *testing.T) {
	long := strings.Repeat("a", 255)
	for _, test := range []struct{ host, want string }{
		{"example.com", "example.com"},
		{"Example.COM:8080", "example.com"},
		{"example.com.", "example.com"},
		{"example.com.:80", "example.com"},
		{"example.com:", "example.com"},
		{"a_b.example", "a_b.example"},
		{"127.0.0.1:80", "127.0.0.1"},
		{"[::1]", "::1"},
		{"[2001:DB8::1]:443", "2001:db8::1"},
		{long, long},
	} {
		wire := head("GET / HTTP/1.1", "Host: "+test.host)
		r, _, err := parse(t, wire)
		if err != nil || string(r.Hostname()) != test.want || string(r.Hostname()) != test.want || string(r.Host()) != test.host {
			t.Errorf("host %q: name %q, %v; want %q", test.host, r.Hostname(), err, test.want)
		}
	}
}

func TestABadHostIsRefused(t *testing.T) {
	for _, host := range []string{"", ".", "..", ".a", "a..b", "a..", "a b", "a,b", "a/b", "a?b", "a@b", "u@a", "a%2eb", "ä", "a:b", "a:80:80",
		"a:123456", ":80", "[::1", "[::1]a", "[]", "[1.2.3.4]", "[fe80::1%25eth0]", "::1", "a\tb", strings.Repeat("a", 256)} {
		wire := head("GET / HTTP/1.1", "Host: "+host)
		_, _, err := parse(t, wire)
		wantRefused(t, wire, err, ErrBadHost)
	}
}
