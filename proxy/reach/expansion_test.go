package reach

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"sluice/proxy/route"
	"sluice/upgrade"
)

// requestFor returns the request with that method, target and Host, and with more lines.
func requestFor(t *testing.T, method, target, host string, more ...string) *upgrade.Request {
	t.Helper()
	lines := append([]string{method + " " + target + " HTTP/1.1", "Host: " + host}, more...)
	r := new(upgrade.Request)
	if n, err := r.Parse([]byte(strings.Join(lines, "\r\n") + "\r\n\r\n")); n == 0 || err != nil {
		t.Fatalf("request for %q at %q: %d, %v", target, host, n, err)
	}
	return r
}

// someone is a client of whom everything is known.
func someone() *Client {
	return &Client{Addr: netip.MustParseAddrPort("[::ffff:192.0.2.7]:0"), Proto: "https", Port: 8443, TLSVersion: tls.VersionTLS13, ServerName: "sni.test",
		Certificate: "CN=someone", RequestID: "0123"}
}

// fieldsFor returns the fields of a route with that request_header, as "name: value" in the order of names, and the names that are removed.
func fieldsFor(c *Client, req *upgrade.Request, header map[string]string) (fields, removed []string) {
	r := route.New(&route.Config{Name: "r", Path: "/", Pool: "p", RequestHeader: header}, nil, nil)
	f := c.Forward(r, req, nil)
	for _, field := range f.SetHeaders {
		fields = append(fields, field.Name+": "+field.Value)
	}
	return fields, f.RemoveHeaders
}

func TestEachPlaceholderHasItsValue(t *testing.T) {
	req := requestFor(t, "PUT", "//a%20b//c?x=1&y", "Gateway.Test:8080", "X-Request-Id: theirs")
	for placeholder, want := range map[string]string{
		"{client_ip}": "192.0.2.7", "{host}": "gateway.test", "{hostport}": "Gateway.Test:8080", "{path}": "/a%20b//c", "{query}": "x=1&y",
		"{uri}": "/a%20b//c?x=1&y", "{method}": "PUT", "{scheme}": "https", "{port}": "8443", "{request_id}": "0123", "{tls_version}": "1.3",
		"{sni}": "sni.test", "{subject}": "CN=someone", "{host}-{{{port}}": "gateway.test-{8443}",
	} {
		fields, removed := fieldsFor(someone(), req, map[string]string{"X-A": placeholder})
		if len(fields) != 1 || fields[0] != "X-A: "+want || len(removed) != 0 {
			t.Errorf("%s: fields %q, removed %q; want %q", placeholder, fields, removed, want)
		}
	}
	if got, _ := fieldsFor(someone(), requestFor(t, "GET", "http://[2001:DB8::1]:80?q", "[2001:DB8::1]"), map[string]string{"X-A": "{host} {uri}"}); len(got) != 1 || got[0] != "X-A: [2001:db8::1] /?q" {
		t.Errorf("of an absolute target: %q", got)
	}
}

func TestWhatATrustedPeerSaysIsTheValueOfItsPlaceholder(t *testing.T) {
	lines := []string{"X-Request-Id: theirs", "X-Client-Cert-Subject: CN=theirs"}
	header := map[string]string{"X-A": "{request_id} {subject}"}
	for name, test := range map[string]struct {
		client Client
		more   []string
		want   string
	}{
		"nobody":                   {Client{RequestID: "ours"}, nil, "ours "},
		"a trusted proxy":          {Client{RequestID: "ours", IsTrusted: true}, nil, "theirs "},
		"believed of certificates": {Client{RequestID: "ours", IsTrusted: true, IsCertTrusted: true}, nil, "theirs CN=theirs"},
		"its own certificate":      {Client{RequestID: "ours", IsTrusted: true, IsCertTrusted: true, Certificate: "CN=own"}, nil, "theirs CN=own"},
		"fields that end here":     {Client{RequestID: "ours", IsTrusted: true, IsCertTrusted: true}, []string{"Connection: X-Request-Id, X-Client-Cert-Subject"}, "ours "},
	} {
		got, _ := fieldsFor(&test.client, requestFor(t, "GET", "/", "a", append(lines, test.more...)...), header)
		if len(got) != 1 || got[0] != "X-A: "+test.want {
			t.Errorf("%s: %q; want %q", name, got, test.want)
		}
	}
}

func TestAFieldWhosePlaceholdersAreAllEmptyIsNotSent(t *testing.T) {
	fields, removed := fieldsFor(new(Client), requestFor(t, "GET", "/", "a"), map[string]string{
		"X-Fixed": "", "X-Gone": "Subject {subject}{sni}{query}{tls_version}{port}{client_ip}{backend}", "X-Part": "{subject}{host}",
	})
	if strings.Join(fields, "|") != "X-Fixed: |X-Part: a" || strings.Join(removed, "|") != "X-Gone" {
		t.Errorf("fields %q, removed %q", fields, removed)
	}
}

func TestNothingIsAllocatedForFieldsWithoutPlaceholders(t *testing.T) {
	r := route.New(&route.Config{Path: "/", Pool: "p", RequestHeader: map[string]string{"X-A": "b"}, ResponseHeader: map[string]string{"X-C": "d"}}, nil, nil)
	c, req := someone(), requestFor(t, "GET", "/", "a")
	allocs := testing.AllocsPerRun(100, func() {
		f, a := c.Forward(r, req, nil), c.Answer(r, req, nil, "")
		if _, rejection := c.Admit(r, req); rejection != nil || len(f.SetHeaders) != 1 || len(a.SetHeaders) != 1 {
			t.Fatal("the route lost a part")
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// hostile is a client whose every word wants to be more than a value. A head can't have such octets in Host, a path or a method: what a client
// can say there is in hostileTargets.
func hostile() *Client {
	const words = "a\r\nX-Evil: 1\r\n\r\n<script>\x00\x7f\"' //evil.example/\\..#?&=%0d%0a\xff"
	return &Client{Proto: "https", ServerName: words, Certificate: words, RequestID: words, IsTrusted: true}
}

var hostileTargets = []string{
	"//evil.example/%0d%0aX-Evil:%201", "///evil.example", "/%5c%5cevil.example", "/%2f%2fevil.example/", "/a?\\\"<>^`{|}%zz%", "/a?//evil.example",
	"/@evil.example", "/a;b='\"<>", "/\xc3\xb6\xff?\xc3\xb6\xff", "/.evil.example", "/:80/", "/%09/evil.example", "http://a.test", "/javascript:alert(1)",
}

var allPlaceholders = []string{"{client_ip}", "{host}", "{hostport}", "{path}", "{query}", "{uri}", "{method}", "{scheme}", "{port}", "{request_id}",
	"{tls_version}", "{sni}", "{subject}", "{route}"}

func TestNoValueEndsItsField(t *testing.T) {
	for _, target := range hostileTargets {
		req := requestFor(t, "GET", target, "a.test")
		for _, placeholder := range allPlaceholders {
			fields, _ := fieldsFor(hostile(), req, map[string]string{"X-A": "x" + placeholder})
			for _, f := range fields {
				if strings.ContainsAny(f, "\r\n\x00\x7f") {
					t.Errorf("target %q: %s is %q", target, placeholder, f)
				}
			}
		}
	}
}

// ownAnswerOf returns the answer of a route of that configuration.
func ownAnswerOf(t *testing.T, c *Client, req *upgrade.Request, config route.Config) *upgrade.Rejection {
	t.Helper()
	if config.RedirectStatus == 0 {
		config.RedirectStatus = 308
	}
	if config.Path == "" {
		config.Path = "/"
	}
	config.Check(func(key, problem string, got any, _ string) {
		if key == "redirect" || strings.HasPrefix(key, "respond") {
			t.Fatalf("%s: %s, got %v", key, problem, got)
		}
	})
	_, rejection := c.Admit(route.New(&config, nil, nil), req)
	if rejection == nil {
		t.Fatalf("no answer of %+v", config)
	}
	return rejection
}

func fieldOf(r *upgrade.Rejection, name string) string {
	var values []string
	for _, f := range r.Header {
		if strings.EqualFold(f.Name, name) {
			values = append(values, f.Value)
		}
	}
	return strings.Join(values, "|")
}

func TestARedirectionLeadsWhereItsTemplateSays(t *testing.T) {
	for _, test := range []struct{ redirect, target, want string }{
		{"https://{host}{uri}", "/a%20b?x=1", "https://a.test/a%20b?x=1"},
		{"https://{host}{uri}", "/", "https://a.test/"},
		{"{scheme}://{hostport}/new{path}", "/x", "https://a.test:8080/new/x"},
		{"/new?from={path}&{query}", "/x?y", "/new?from=/x&y"},
		{"/{path}", "/x", "/x"},
		{"/new?{query}", "/x?y", "/new?y"},
		{"/new?{query}", "/x", "/new"},
		{"/$1/$2", "/users/7/ph%6Fto", "/7/ph%6Fto"},
		{"/${id}$$", "/users/7/x", "/7$"},
		{"/x$2", "/users/7/a%2fb//c", "/xa%2fb//c"},
	} {
		config := route.Config{Redirect: test.redirect}
		if strings.Contains(test.redirect, "$") {
			config.PathRegexp = `^/users/(?P<id>[0-9]+)/(.*)$`
		}
		r := ownAnswerOf(t, someone(), requestFor(t, "GET", test.target, "a.test:8080"), config)
		if got := fieldOf(r, "Location"); got != test.want || r.Status != 308 || r.Reason != "redirect" {
			t.Errorf("%s of %q: %d %s to %q; want %q", test.redirect, test.target, r.Status, r.Reason, got, test.want)
		}
	}
	if _, r := someone().Admit(route.New(&route.Config{Path: "/", Redirect: "https://{host}/"}, nil, nil), func() *upgrade.Request {
		req := new(upgrade.Request)
		_, _ = req.Parse([]byte("GET / HTTP/1.0\r\n\r\n"))
		return req
	}()); r != upgrade.ErrNoHost {
		t.Errorf("without Host: %v", r)
	}
}

// Whatever a client sends, a redirection leads to the host that the configuration names, or the client's own, and its Location is a URL.
func TestNoClientChoosesTheHostOfARedirection(t *testing.T) {
	templates := []string{"https://{host}{uri}", "{path}", "{uri}", "/{path}", "/$1", "/x$1", "/{query}", "https://{hostport}/$1", "https://{host}{path}", "//"[:1] + "{uri}"}
	for _, placeholder := range allPlaceholders {
		templates = append(templates, "/"+placeholder, "/x"+placeholder, "https://a.test/"+placeholder, "https://a.test?"+placeholder, "https://a.test/#"+placeholder)
	}
	for _, template := range templates {
		for _, target := range hostileTargets {
			config := route.Config{Redirect: template}
			if strings.Contains(template, "$") {
				config.PathRegexp = "^/?(.*)$"
			}
			location := fieldOf(ownAnswerOf(t, hostile(), requestFor(t, "GET", target, "a.test"), config), "Location")
			u, err := url.Parse(location)
			if err != nil || u.Host != "" && u.Host != "a.test" || u.User != nil || u.Scheme != "" && u.Scheme != "https" {
				t.Errorf("%s of %q leads to %q, %v", template, target, location, err)
			}
			if strings.HasPrefix(location, "//") || strings.ContainsFunc(location, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune("\\\"<>^`{|}", c) }) {
				t.Errorf("%s of %q leads to %q", template, target, location)
			}
			if !strings.HasPrefix(template, "https") && !strings.HasPrefix(location, "/") {
				t.Errorf("%s of %q leads to %q", template, target, location)
			}
		}
	}
}

func TestARouteRespondsWithItsBody(t *testing.T) {
	req := requestFor(t, "GET", "/x?<b>", "a.test")
	text := &route.Respond{Status: 200, Body: "{method} {uri} {{}\n"}
	r := ownAnswerOf(t, someone(), req, route.Config{Respond: text})
	if r.Status != 200 || r.Reason != "respond" || r.Form != upgrade.Whole || r.Text != "GET /x?%3Cb%3E {}\n" ||
		fieldOf(r, "Content-Type") != "text/plain; charset=utf-8" || fieldOf(r, "X-Content-Type-Options") != "nosniff" {
		t.Errorf("%+v", r)
	}
	r = ownAnswerOf(t, someone(), req, route.Config{Respond: text, ResponseHeader: map[string]string{"content_type": "a/b", "X-Host": "{host}", "X-None": "{query}"},
		RemoveResponseHeader: []string{"X-Content-Type-Options"}})
	if got := fmt.Sprint(r.Header); got != "[{content_type a/b} {X-Host a.test} {X-None <b>}]" {
		t.Errorf("header %s", got)
	}
	if r = ownAnswerOf(t, someone(), requestFor(t, "HEAD", "/", "a"), route.Config{Respond: text}); r.Form != upgrade.LengthOnly {
		t.Errorf("in answer to HEAD: %+v", r)
	}
	if r = ownAnswerOf(t, someone(), req, route.Config{Respond: &route.Respond{Status: 204}}); r.Status != 204 || r.Text != "" || len(r.Header) != 0 {
		t.Errorf("204: %+v", r)
	}
}

// A body may be HTML or JSON.
func TestNoValueIsMoreThanTextInABody(t *testing.T) {
	for _, target := range append(hostileTargets, `/'"<b>`, `/?'"<b>\`) {
		for _, placeholder := range allPlaceholders {
			config := route.Config{Name: "mine", Respond: &route.Respond{Status: 200, Body: placeholder}}
			if got := ownAnswerOf(t, hostile(), requestFor(t, "A'B", target, "a.test:80"), config).Text; strings.ContainsFunc(got, func(c rune) bool {
				return c <= ' ' || c > '~' || strings.ContainsRune("\"'<>\\`", c)
			}) {
				t.Errorf("%s of %q is %q", placeholder, target, got)
			}
		}
	}
}

func TestAPathIsRewrittenByWhatItsExpressionHasFound(t *testing.T) {
	for _, test := range []struct {
		regexp, rewrite, target string
		want                    string // "" for a refusal
	}{
		{`^/users/([0-9]+)/(.*)$`, "/api/$2/of/$1", "/users/7/ph%6Fto?x", "/api/ph%6Fto/of/7"},
		{`^/a(/.*)$`, "/b$1", "/a//c", "/b//c"},
		{`^/a(/.*)$`, "/$1", "/a/c", "/c"},
		{`(b+)`, "/$1", "/aa/bbb/c", "/bbb"},
		{`^/(x)?(.*)$`, "/$1-$2", "/y", "/-y"},
		{`^/(.*)$`, "/$1", "/a%2fb%5Cc/\xc3\xb6", "/a%2fb%5Cc/\xc3\xb6"},
		{`^/x(\.)y(\.)$`, "/$1$2/secret", "/x.y.", ""},   // a dot segment
		{`^/x(.)y(.)$`, "/$1$2/secret", "/x%2Ey%2e", ""}, // encoded
		{`^/(%).*$`, "/$1", "/%2f", ""},                  // a part of an encoded octet
		{`^/(.*)$`, "/a/$1/../b", "/x", ""},              // check refuses it, but it has to be refused here as well
		{`^/x/(.*)$`, "/$1", "/x//evil.example", "/evil.example"},
	} {
		r := route.New(&route.Config{Path: "/", Pool: "p", PathRegexp: test.regexp, RewritePath: test.rewrite}, nil, nil)
		req := requestFor(t, "GET", test.target, "a")
		c := new(Client)
		_, rejection := c.Admit(r, req)
		f := c.Forward(r, req, nil)
		got := string(req.AppendPath(nil, &f))
		if (rejection != nil) != (test.want == "") || rejection == nil && got != test.want {
			t.Errorf("%q with %s for %s becomes %q, %v; want %q", test.target, test.rewrite, test.regexp, got, rejection, test.want)
		}
	}
}

// A connection may carry requests of several routes.
func TestTheNextRequestHasAPathOfItsOwn(t *testing.T) {
	c := new(Client)
	_, _ = c.Admit(route.New(&route.Config{Path: "/", Pool: "p", PathExact: "/a", RewritePath: "/b"}, nil, nil), requestFor(t, "GET", "/a", "a"))
	if c.path != "/b" {
		t.Errorf("path %q", c.path)
	}
	_, _ = c.Admit(route.New(&route.Config{Path: "/", Pool: "p"}, nil, nil), requestFor(t, "GET", "/c", "a"))
	if c.path != "" {
		t.Errorf("path %q of a route that changes none", c.path)
	}
}
