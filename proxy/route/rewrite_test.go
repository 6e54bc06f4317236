package route

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"sluice/upgrade"
)

// problemsOf returns what checkRewrite reports of a section, a line for each problem: key, problem, and what is wanted.
func problemsOf(c Config) string {
	if c.Path == "" {
		c.Path = "/"
	}
	if c.RedirectStatus == 0 {
		c.RedirectStatus = 308
	}
	var lines []string
	c.checkRewrite(func(key, problem string, _ any, want string) {
		lines = append(lines, key+": "+problem+" (want "+want+")")
	})
	return strings.Join(lines, "\n")
}

func fieldNamed(name, value string) map[string]string { return map[string]string{name: value} }

func TestEveryMistakeOfRewritingIsReportedByItsKey(t *testing.T) {
	const anyPath = `^/x/([0-9]+)/(?P<rest>.*)$`
	for _, test := range []struct {
		config Config
		want   []string // beginnings of lines
	}{
		{Config{StripPrefix: "/b", Path: "/a"}, []string{"strip_prefix: not the beginning of path"}},
		{Config{StripPrefix: "/a", PathExact: "/a/b"}, nil},
		{Config{StripPrefix: "/a", PathRegexp: "^/a"}, []string{"strip_prefix: beside path_regexp"}},
		{Config{RewritePath: "/a", StripPrefix: "/"}, []string{"rewrite_path: beside strip_prefix"}},
		{Config{RewritePath: "/a/%20b;c=~!$&'()*+,:@"}, nil},
		{Config{RewritePath: "a"}, []string{"rewrite_path: not a path (want a path such as"}},
		{Config{RewritePath: "//a"}, []string{"rewrite_path: not a path"}},
		{Config{RewritePath: "/a?b"}, []string{"rewrite_path: not a path"}},
		{Config{RewritePath: "/a#b"}, []string{"rewrite_path: not a path"}},
		{Config{RewritePath: "/a b"}, []string{"rewrite_path: not a path"}},
		{Config{RewritePath: "/ä"}, []string{"rewrite_path: not a path"}},
		{Config{RewritePath: "/{path}"}, []string{"rewrite_path: not a path"}},
		{Config{RewritePath: "/a/../b"}, []string{"rewrite_path: not a path"}},
		{Config{RewritePath: "/%4"}, []string{"rewrite_path: not a path"}},
		{Config{RewritePath: "/$1"}, nil}, // without an expression it is text
		{Config{RewritePath: "/$1/${2}/${rest}/$$1", PathRegexp: anyPath}, nil},
		{Config{RewritePath: "$1", PathRegexp: anyPath}, []string{"rewrite_path: not a path"}},
		{Config{RewritePath: "/$3", PathRegexp: anyPath}, []string{"rewrite_path: no such group in path_regexp"}},
		{Config{RewritePath: "/$99999999999", PathRegexp: anyPath}, []string{"rewrite_path: no such group in path_regexp"}},
		{Config{RewritePath: "/${other}", PathRegexp: anyPath}, []string{"rewrite_path: no such group in path_regexp"}},
		{Config{RewritePath: "/${rest", PathRegexp: anyPath}, []string{"rewrite_path: ${ without a closing brace"}},
		{Config{RewritePath: "/$", PathRegexp: anyPath}, []string{"rewrite_path: no such group in path_regexp"}},
		{Config{RewritePath: "/a", PathExact: "/b", RewriteLocation: true}, []string{"rewrite_location: can't turn back"}},
		{Config{RewritePath: "/a", Path: "/b", RewriteLocation: true}, nil},
		{Config{RewritePath: "/x", PathRegexp: "("}, nil}, // reported as path_regexp

		{Config{HostHeader: "backend"}, nil},
		{Config{HostHeader: "chat.internal:8080"}, nil},
		{Config{HostHeader: "http://a"}, []string{"host_header: not a host"}},
		{Config{HostHeader: "a\r\nX: y"}, []string{"host_header: not a host"}},
		{Config{HostHeader: "{host}"}, []string{"host_header: not a host"}},

		{Config{RequestHeader: fieldNamed("X-A", "{client_ip} {host} {hostport} {path} {query} {uri} {method} {scheme} {port} {request_id} {tls_version} {sni} {subject} {route} {backend}")}, nil},
		{Config{RequestHeader: fieldNamed("X-A", `{{"a": 1}`)}, nil},
		{Config{RequestHeader: fieldNamed("X-A", "{remote}")}, []string{"request_header.X-A: an unknown placeholder; two opening braces are one as text (want text with {client_ip} {host}"}},
		{Config{RequestHeader: fieldNamed("X-A", "{host")}, []string{"request_header.X-A: an opening brace without a closing one"}},
		{Config{RequestHeader: fieldNamed("X-A", "{Host}")}, []string{"request_header.X-A: an unknown placeholder"}},
		{Config{RequestHeader: fieldNamed("X-A", "{}")}, []string{"request_header.X-A: an unknown placeholder"}},
		{Config{RequestHeader: fieldNamed("X-A", "a\r\nX-B: {host}")}, []string{"request_header.X-A: value of header field X-A has a control byte"}},
		{Config{ResponseHeader: fieldNamed("X-A", "{nobody}")}, []string{"response_header.X-A: an unknown placeholder"}},
		{Config{ResponseHeader: fieldNamed("X-A", "{backend}")}, nil},
		{Config{ResponseHeader: fieldNamed("X-A", "{backend}"), Redirect: "/"}, []string{"response_header.X-A: {backend} has no value"}},
		{Config{ResponseHeader: map[string]string{"X-A": "a", "x_a": "b"}}, []string{"response_header.x_a: the same field as X-A"}},
		{Config{ResponseHeader: fieldNamed("Connection", "close")}, []string{"response_header.Connection: header field Connection belongs to the handshake"}},
		{Config{ResponseHeader: fieldNamed("Content-Length", "1")}, []string{"response_header.Content-Length: "}},
		{Config{ResponseHeader: fieldNamed("Sec-WebSocket-Accept", "1")}, []string{"response_header.Sec-WebSocket-Accept: "}},
		{Config{ResponseHeader: fieldNamed("A B", "1")}, []string{"response_header.A B: header field name"}},
		{Config{RemoveResponseHeader: []string{"Transfer-Encoding"}}, []string{"remove_response_header[0]: header field Transfer-Encoding belongs"}},
		{Config{ResponseHeader: fieldNamed("X-A", ""), RemoveResponseHeader: []string{"X-A"}}, []string{"remove_response_header[0]: set by response_header"}},

		{Config{Redirect: "https://{host}{uri}"}, nil},
		{Config{Redirect: "{scheme}://{host}:8443{path}?{query}"}, nil},
		{Config{Redirect: "https://[::1]:443/a#b"}, nil},
		{Config{Redirect: "/{path}"}, nil},
		{Config{Redirect: "{uri}"}, nil},
		{Config{Redirect: "/a/$1?b=${rest}", PathRegexp: anyPath}, nil},
		{Config{Redirect: "https://www.example.com"}, nil},
		{Config{Redirect: "https://{hostport}"}, nil},
		{Config{Redirect: "/{backend}"}, []string{"redirect: {backend} has no value: no backend is chosen (want text with"}},
		{Config{Redirect: "/$3", PathRegexp: anyPath}, []string{"redirect: no such group in path_regexp"}},
		{Config{Redirect: "//evil.example/{path}"}, []string{"redirect: neither a path nor a URL"}},
		{Config{Redirect: "a"}, []string{"redirect: neither a path nor a URL"}},
		{Config{Redirect: "$1", PathRegexp: anyPath}, []string{"redirect: neither a path nor a URL"}},
		{Config{Redirect: "{query}"}, []string{"redirect: neither a path nor a URL"}},
		{Config{Redirect: "javascript:{path}"}, []string{"redirect: neither a path nor a URL"}},
		{Config{Redirect: "javascript://{path}"}, []string{"redirect: neither a path nor a URL"}},
		{Config{Redirect: "https:///a"}, []string{"redirect: a URL without a host"}},
		{Config{Redirect: "https://{path}"}, []string{"redirect: a URL without a host"}},
		{Config{Redirect: "https://"}, []string{"redirect: a URL without a host"}},
		{Config{Redirect: "https://a{query}/"}, []string{"redirect: a placeholder in the host by which a client could name another one"}},
		{Config{Redirect: "https://{sni}/"}, []string{"redirect: a placeholder in the host"}},
		{Config{Redirect: "https://$1.example.com/", PathRegexp: anyPath}, []string{"redirect: a placeholder in the host"}},
		{Config{Redirect: "/a b"}, []string{"redirect: an octet that a URL has only percent-encoded"}},
		{Config{Redirect: "/a\r\nX: y"}, []string{"redirect: an octet"}},
		{Config{Redirect: "/", RedirectStatus: 300}, []string{"redirect_status: no redirection to one place"}},

		{Config{Respond: &Respond{Status: 204}}, nil},
		{Config{Respond: &Respond{Status: 200, Body: "{host} is here\n"}}, nil},
		{Config{Respond: &Respond{Status: 101}}, []string{"respond.status: not a final status"}},
		{Config{Respond: &Respond{Status: 600}}, []string{"respond.status: not a final status"}},
		{Config{Respond: &Respond{Status: 204, Body: "x"}}, []string{"respond.body: a body with status 204"}},
		{Config{Respond: &Respond{Status: 200, Body: "{backend}"}}, []string{"respond.body: {backend} has no value"}},
		{Config{Respond: &Respond{Status: 200, Body: `{"a": 1}`}}, []string{"respond.body: an unknown placeholder"}},
		{Config{Respond: &Respond{Status: 200, Body: strings.Repeat("x", 16<<10+1)}}, []string{"respond.body: too long"}},
	} {
		got := problemsOf(test.config)
		lines := strings.Split(got, "\n")
		if got == "" {
			lines = nil
		}
		if len(lines) != len(test.want) {
			t.Errorf("%+v: problems %q; want %q", test.config, got, test.want)
			continue
		}
		for i, line := range lines {
			if !strings.HasPrefix(line, test.want[i]) {
				t.Errorf("%+v: problem %q; want %q", test.config, line, test.want[i])
			}
		}
	}
}

func TestAValueWithoutPlaceholdersIsAFieldAsItStands(t *testing.T) {
	r := New(&Config{Path: "/", Pool: "a", RequestHeader: map[string]string{"X-B": "{{}$1", "X-A": "", "X-C": "a{host}b"}}, nil, nil)
	if want := []upgrade.Field{{Name: "X-A", Value: ""}, {Name: "X-B", Value: "{}$1"}}; !reflect.DeepEqual(r.SetHeaders, want) {
		t.Errorf("fields %q; want %q", r.SetHeaders, want)
	}
	want := []FieldTemplate{{"X-C", Template{[]Part{{Text: "a"}, {Value: ValueHost}, {Text: "b"}}}}}
	if !reflect.DeepEqual(r.SetTemplates, want) {
		t.Errorf("templates %v; want %v", r.SetTemplates, want)
	}
}

func TestARouteHasOneWayToChangeThePath(t *testing.T) {
	for _, test := range []struct {
		config Config
		want   string
	}{
		{Config{Path: "/a/b", StripPrefix: "/a/"}, "strip 2, prefix , client /a, path "},
		{Config{Path: "/a/", RewritePath: "/x/"}, "strip 2, prefix /x/, client /a, path "},
		{Config{Path: "/", RewritePath: "/x"}, "strip 0, prefix /x, client , path "},
		{Config{Path: "/ä", RewritePath: "/x"}, "strip 3, prefix /x, client /%C3%A4, path "},
		{Config{Path: "/", PathExact: "/a", RewritePath: "/x"}, "strip 0, prefix , client , path /x"},
		{Config{Path: "/", PathExact: "/a/b", StripPrefix: "/a"}, "strip 2, prefix , client /a, path "},
		{Config{Path: "/", PathRegexp: "a", RewritePath: "/x"}, "strip 0, prefix , client , path  by its groups"},
	} {
		r := New(&test.config, nil, nil)
		got := fmt.Sprintf("strip %d, prefix %s, client %s, path %s", r.StripPrefix, r.PathPrefix, r.ClientPrefix, r.NewPath)
		if r.NewPathTemplate != nil {
			got += " by its groups"
		}
		if got != test.want {
			t.Errorf("%+v: %s; want %s", test.config, got, test.want)
		}
	}
}

// Whatever is written in a configuration is a problem of check or a template; nothing panics.
func FuzzTemplate(f *testing.F) {
	for _, text := range []string{"", "{", "{{", "}", "{host}", "$", "$1", "${a}", "https://{host}{uri}", "{scheme}://", "https://", "//"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := Config{Path: "/", PathRegexp: "^/(?P<a>.*)$", RewritePath: text, HostHeader: text, Redirect: text, RedirectStatus: 308,
			RequestHeader: fieldNamed("X-A", text), ResponseHeader: fieldNamed("X-B", text), Respond: &Respond{200, text}}
		hasProblem := false
		c.checkRewrite(func(string, string, any, string) { hasProblem = true })
		if !hasProblem {
			New(&c, nil, nil)
		}
	})
}
