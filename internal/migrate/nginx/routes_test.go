package nginx

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/migrate/migratetest"
)

// imported returns the sections that a text becomes, without the comments, the defaults of nginx that each route has, and the lines of
// which a regular expression finds a part.
func imported(t *testing.T, text, without string) string {
	t.Helper()
	r := newReader()
	block, err := (&parser{draft: r.draft}).parseText("x", text, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.read(block)
	migratetest.Check(t, r.draft)
	var toml bytes.Buffer
	if err := r.draft.WriteTOML(&toml); err != nil {
		t.Fatal(err)
	}
	var lines []string
	hidden := regexp.MustCompile(without)
	for line := range strings.Lines(toml.String()) {
		line, _, _ = strings.Cut(line, "  #")
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") && !hidden.MatchString(line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// lessRoutes are the lines that tests of routes don't show.
const lessRoutes = `request_body = "1MiB"|host_header = "b"`

// routesOf returns the routes of an imported text, those of one server with a pool "b".
func routesOf(t *testing.T, server string) string {
	t.Helper()
	other := "server { listen 81; location /unseen { proxy_pass http://b; } }"
	text := imported(t, "upstream b { server 127.0.0.1:9; } "+other+" server { listen 80;\n"+server+"\n}", lessRoutes)
	_, routes, _ := strings.Cut(text, "[[route]]\n")
	routes, _, _ = strings.Cut("[[route]]\n"+routes, "[[pool]]")
	routes = strings.ReplaceAll(routes, "[[route]]\nlistener = \"http-81\"\npath = \"/unseen\"\npool = \"b\"\n", "")
	return strings.ReplaceAll(routes, "listener = \"http\"\n", "")
}

func TestLocationsKeepTheOrderInWhichNginxTriesThem(t *testing.T) {
	for _, test := range []struct{ name, server, want string }{
		{"a prefix", "location /a { proxy_pass http://b; }", "[[route]]\npath = \"/a\"\npool = \"b\"\n"},
		{"all", "location / { proxy_pass http://b; }", "[[route]]\npool = \"b\"\n"},
		{"an exact path", "location = /a/ { proxy_pass http://b; }", "[[route]]\npath_exact = \"/a/\"\npool = \"b\"\n"},
		{"a modifier without a space", "location =/a { proxy_pass http://b; }", "[[route]]\npath_exact = \"/a\"\npool = \"b\"\n"},
		{
			"a prefix with a slash: without it there is a redirection", "location /a/ { proxy_pass http://b; }",
			"[[route]]\npath_exact = \"/a\"\nredirect = \"/a/?{query}\"\nredirect_status = 301\n[[route]]\npath = \"/a\"\npool = \"b\"\n",
		},
		{
			"with and without the slash", "location /a/ { proxy_pass http://b; } location /a { return 204; }",
			"[[route]]\npath_exact = \"/a\"\nrespond = { status = 204 }\n[[route]]\npath = \"/a\"\npool = \"b\"\n",
		},
		{
			"regular expressions before prefixes, in their order", `location / { proxy_pass http://b; } location ~ \.x$ { return 204; } location ~* ^/a { return 205; }`,
			"[[route]]\npath_regexp = '\\.x$'\npriority = 1\nrespond = { status = 204 }\n[[route]]\npath_regexp = \"(?i)^/a\"\npriority = 1\nrespond = { status = 205 }\n[[route]]\npool = \"b\"\n",
		},
		{
			"^~ before regular expressions", `location ^~ /a { proxy_pass http://b; } location ~ x { return 204; }`,
			"[[route]]\npath = \"/a\"\npool = \"b\"\n[[route]]\npath_regexp = \"x\"\nrespond = { status = 204 }\n",
		},
		{
			"nested ones", `location /a { proxy_pass http://b; location /a/b { return 204; } location ~ x { return 205; } }`,
			"[[route]]\npath_regexp = \"^/a.*(?:x)\"\npriority = 1\nrespond = { status = 205 }\n[[route]]\npath = \"/a/b\"\nrespond = { status = 204 }\n[[route]]\npath = \"/a\"\npool = \"b\"\n",
		},
		{
			"files are 404 where another route would have them", "location / { proxy_pass http://b; } location /static { root /x; }",
			"[[route]]\npath = \"/static\"\nrespond = { status = 404 }\n[[route]]\npool = \"b\"\n",
		},
		{"files alone are no route", "location /static { root /x; }", "[[route]]\n"},
		{
			"a named location", "location / { try_files $uri @app; } location @app { proxy_pass http://b; }",
			"[[route]]\npool = \"b\"\n",
		},
	} {
		want := test.want
		if want == "[[route]]\n" {
			want = ""
		}
		if diff := cmp.Diff(want, routesOf(t, test.server)); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", test.name, test.server, diff)
		}
	}
}

func TestProxyPassReplacesThePathAsInNginx(t *testing.T) {
	const slash = "[[route]]\npath_exact = \"/a\"\nredirect = \"/a/?{query}\"\nredirect_status = 301\n"
	for _, test := range []struct{ server, want string }{
		{"location /a { proxy_pass http://b; }", "[[route]]\npath = \"/a\"\npool = \"b\"\n"},
		{"location /a/ { proxy_pass http://b/; }", slash + "[[route]]\npath = \"/a\"\npool = \"b\"\nstrip_prefix = \"/a\"\n"},
		{"location /a/ { proxy_pass http://b/x/; }", slash + "[[route]]\npath = \"/a\"\npool = \"b\"\nrewrite_path = \"/x\"\n"},
		{"location /a { proxy_pass http://b/x; }", "[[route]]\npath = \"/a\"\npool = \"b\"\nrewrite_path = \"/x\"\n"},
		{"location /a/ { proxy_pass http://b/a/; }", slash + "[[route]]\npath = \"/a\"\npool = \"b\"\n"},
		{"location /a/ { proxy_pass http://b/x; }", slash + "[[route]]\npath_regexp = \"^/a/(.*)$\"\npool = \"b\"\nrewrite_path = \"/x$1\"\n"},
		{"location /a { proxy_pass http://b/; }", "[[route]]\npath_regexp = \"^/a(.*)$\"\npool = \"b\"\nrewrite_path = \"/$1\"\n"},
		{"location = /a { proxy_pass http://b/x; }", "[[route]]\npath_exact = \"/a\"\npool = \"b\"\nrewrite_path = \"/x\"\n"},
		{"location / { proxy_pass http://b/; }", "[[route]]\npool = \"b\"\n"},
		{"location / { proxy_pass http://b/x/; }", "[[route]]\npool = \"b\"\nrewrite_path = \"/x\"\n"},
		{"location /a { proxy_pass http://b$request_uri; }", "[[route]]\npath = \"/a\"\npool = \"b\"\n"},
		{"location /a { proxy_pass http://b/x$request_uri; }", "[[route]]\npath = \"/a\"\npool = \"b\"\nrewrite_path = \"/x/a\"\n"},
		{"location ~ ^/a/(.*)$ { proxy_pass http://b/x/$1$is_args$args; }", "[[route]]\npath_regexp = \"^/a/(.*)$\"\npool = \"b\"\nrewrite_path = \"/x/$1\"\n"},
		{"set $to b; location /a { proxy_pass http://$to; }", "[[route]]\npath = \"/a\"\npool = \"b\"\n"},
		{"location /a/ { rewrite ^/a/(.*)$ /$1 break; proxy_pass http://b; }", slash + "[[route]]\npath = \"/a\"\npool = \"b\"\nstrip_prefix = \"/a\"\n"},
		{"location /a/c { rewrite ^/a/(.*) /$1 break; proxy_pass http://b; }", "[[route]]\npath = \"/a/c\"\npool = \"b\"\nstrip_prefix = \"/a\"\n"},
		{"location /a { rewrite ^/a/([0-9]+)$ /n/$1 break; proxy_pass http://b; }", "[[route]]\npath_regexp = \"^/a/([0-9]+)$\"\npool = \"b\"\nrewrite_path = \"/n/$1\"\n"},
		{"location /a { proxy_pass http://$unknown; }", "[[route]]\npath_regexp = \"^/a\"\nrespond = { status = 404 }\n"},
	} {
		if diff := cmp.Diff(test.want, routesOf(t, test.server)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.server, diff)
		}
	}
}

func TestServersAnswerBeforeTheirLocations(t *testing.T) {
	const all = "location / { proxy_pass http://b; }"
	for _, test := range []struct{ server, want string }{
		{"return 404;", "[[route]]\nrespond = { status = 404 }\n"},
		{"return 200 '{\"a\":$request_method}';", "[[route]]\nrespond = { status = 200, body = \"{{\\\"a\\\":{method}}\" }\n"},
		{"return https://example.com/x;", "[[route]]\nredirect = \"https://example.com/x\"\nredirect_status = 302\n"},
		{"if ($host = a.example.com) { return 301 /x; } " + all, "[[route]]\nhost = \"a.example.com\"\nredirect = \"/x\"\nredirect_status = 301\n[[route]]\npool = \"b\"\n"},
		{"if ($request_method !~ ^(GET|HEAD)$) { return 405; } " + all, "[[route]]\nmethod = [\"GET\", \"HEAD\"]\npool = \"b\"\n[[route]]\nrespond = { status = 405 }\n"},
		{"if ($http_x_team = \"\") { return 403; } " + all, "[[route]]\nheader = { X-Team = \"*\" }\npool = \"b\"\n[[route]]\nrespond = { status = 403 }\n"},
		{"rewrite ^/old/(.*)$ /new/$1 permanent; " + all, "[[route]]\npath_regexp = \"^/old/(.*)$\"\npriority = 1\nredirect = \"/new/$1?{query}\"\nredirect_status = 301\n[[route]]\npool = \"b\"\n"},
		{"return 301 https://$1.example.com/;", "[[route]]\nrespond = { status = 404 }\n"},
	} {
		if diff := cmp.Diff(test.want, routesOf(t, test.server)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.server, diff)
		}
	}
}

func TestHostsAreLookedForAsNginxDoes(t *testing.T) {
	got := imported(t, `
server { listen 80; server_name *.example.com; location / { proxy_pass http://1.1.1.1; } location ~ x { return 204; } }
server { listen 80 default_server; server_name _; location / { proxy_pass http://2.2.2.2; } }
server { listen 80; server_name a.example.com; location / { proxy_pass http://3.3.3.3; } }
server { listen 80; server_name app.*; location / { proxy_pass http://4.4.4.4; } }
`, lessRoutes+`|^host_header|^name|^address|^backend|^\[\[pool|^\[\[listener`)
	want := `[[route]]
host = "a.example.com"
priority = 1
pool = "3.3.3.3"
[[route]]
host = "*.example.com"
path_regexp = "x"
priority = 1
respond = { status = 204 }
[[route]]
host = "*.example.com"
pool = "1.1.1.1"
[[route]]
host = "app.*"
pool = "4.4.4.4"
[[route]]
pool = "2.2.2.2"
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}

func TestTimesAndSizesAreReadAsNginxReadsThem(t *testing.T) {
	for in, want := range map[string]string{"60": "1m", "1h 30m": "1h30m", "90s": "1m30s", "500ms": "500ms", "1d": "24h", "99y": "8760h", "0": "0s"} {
		if got, isTime := duration(in); !isTime || got != want {
			t.Errorf("duration(%q) = %q, %t; want %q", in, got, isTime, want)
		}
	}
	for in, want := range map[string]any{"0": 0, "10m": "10MiB", "8k": "8KiB", "1G": "1GiB", "1000": 1000} {
		if got, isSize := size(in); !isSize || got != want {
			t.Errorf("size(%q) = %v, %t; want %v", in, got, isSize, want)
		}
	}
	for _, in := range []string{"", "x", "1x", "-1", "m"} {
		if got, isTime := duration(in); isTime {
			t.Errorf("duration(%q) = %q", in, got)
		}
		if got, isSize := size(in); isSize {
			t.Errorf("size(%q) = %v", in, got)
		}
	}
}

func TestTheSharesOfASplitAreThePoolsOfARoute(t *testing.T) {
	shares := func(split, pass string) string {
		return imported(t, "upstream b { server 127.0.0.1:9; } upstream c { server 127.0.0.1:8; } split_clients $remote_addr $to { "+split+" }"+
			"server { listen 80; location / { "+pass+" } }", `request_body|^name|^address|^backend|^policy|^\[\[listener|^\[\[pool|^\{ address|^\]$`)
	}
	const both = "[[route]]\npools = [\n{ pool = \"c\", weight = 1 },\n{ pool = \"b\", weight = 19 },\n"
	for _, test := range []struct{ name, split, pass, want string }{
		{"a percentage and the rest", "5% c; * b;", "proxy_pass http://$to;", both},
		{"a fraction", "0.5% c; * b;", "proxy_pass http://${to};", strings.Replace(both, "19", "199", 1)},
		{"nobody is left for a share", "50% c; 50% b; * d;", "proxy_pass http://$to;", strings.Replace(both, "19", "1", 1)},
		{"with the path of the client", "5% c; * b;", "proxy_pass http://$to$request_uri;", both},
		{"all of a URL", "5% http://c; * http://b;", "proxy_pass $to;", both},
		{"no share", "many c; * b;", "proxy_pass http://$to;", "[[route]]\nrespond = { status = 404 }\n"},
		{"paths that differ", "5% c/1; * b/2;", "proxy_pass http://$to;", "[[route]]\nrespond = { status = 404 }\n"},
	} {
		if diff := cmp.Diff(test.want, shares(test.split, test.pass)); diff != "" {
			t.Errorf("%s (- want, + got):\n%s", test.name, diff)
		}
	}
}
