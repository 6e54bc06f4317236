package migrate

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"testing"
)

func TestAWiderExpressionFindsAllThatTheOneOfPCREDoes(t *testing.T) {
	for _, test := range []struct{ expression, want string }{
		{`^/a(.*)$`, `^/a(.*)$`},
		{`/\.(?!well-known)`, `/\.`},
		{`^/(?=x(y|[)]))a`, `^/a`},
		{`(?<!x)a(?<=a)$`, `a$`},
		{`(?>a|b)c++`, `(?:a|b)c+`},
		{`^/(a)/\1$`, `^/(a)/(?s:.*)$`},
		{`[\1(?=]a(?!b)`, ""},
		{`[](?!]a(?!b)`, `[](?!]a`},
		{`a\hb\Z`, `a[ \t]b\z`},
		{`a(?!b`, ""},
		{`(?(1)a|b)`, ""},
		{`\k<x>`, ""},
	} {
		got, isWider, err := Widen(test.expression)
		if got != test.want || (err != nil) != (test.want == "") || isWider != (test.want != test.expression) {
			t.Errorf("Widen(%s) = %s, %v, %v; want %s", test.expression, got, isWider, err, test.want)
		}
	}
}

func FuzzWiden(f *testing.F) {
	for _, seed := range []string{`(?!a)`, `[](?!]a`, `(?>a)++\1`, `\`, `[\`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, expression string) {
		wide, _, err := Widen(expression)
		if err != nil {
			return
		}
		if _, err := regexp.Compile(wide); err != nil {
			t.Errorf("Widen(%q) = %q: %v", expression, wide, err)
		}
	})
}

func TestWhatIsLessStrictIsListedFirst(t *testing.T) {
	d := Draft{Origin: "x"}
	at := Place{"f", 2}
	d.Skip(nil, Place{"f", 1}, "a", "no counterpart")
	d.SkipRefusal(at, "deny", "no condition of a route")
	var list, toml bytes.Buffer
	if err := d.WriteSkipped(&list); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteTOML(&toml); err != nil {
		t.Fatal(err)
	}
	if want := lessStrict + "\nf:2: deny: no condition of a route\n" + others + "\nf:1: a: no counterpart\n"; list.String() != want {
		t.Errorf("list:\n%swant:\n%s", list.String(), want)
	}
	want := "\n# " + lessStrict + "\n# - no condition of a route\n#     f:2: deny\n\n# " + others + "\n# - no counterpart\n#     f:1: a\n"
	if !bytes.HasSuffix(toml.Bytes(), []byte(want)) {
		t.Errorf("draft:\n%swant at its end:\n%s", toml.String(), want)
	}
}

func TestNoSecretIsListed(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{`proxy_set_header Authorization "Basic hidden";`, `proxy_set_header Authorization ***`},
		{"http-request set-header X-Api-Key hidden if { path /x }", "http-request set-header X-Api-Key ***"},
		{"http-request deny unless { req.hdr(X-Token) -m str hidden }", "http-request deny unless { req.hdr(X-Token) ***"},
		{`if ($cookie_key != hidden) {…}`, "if ($cookie_key != ***"},
		{"header_up Authorization Bearer hidden", "header_up Authorization ***"},
		{"customrequestheaders.x-auth-token: hidden", "customrequestheaders.x-auth-token: ***"},
		{"return 200 Bearer hidden;", "return 200 Bearer ***"},
		{"proxy_pass http://user:hidden@b/x;", "proxy_pass http://***@b/x;"},
		{"secretName: ***", "secretName: ***"},
		{"http-request set-header X-Key hidden", "http-request set-header X-Key ***"},
		{"proxy_cookie_path /a/ /;", "proxy_cookie_path /a/ /;"},
		{"cookie SERVERID insert indirect", "cookie SERVERID insert indirect"},
		{"auth_basic off;", "auth_basic off;"},
		{"server_tokens off;", "server_tokens off;"},
	} {
		if got := Masked(test.text); got != test.want {
			t.Errorf("Masked(%s) = %s; want %s", test.text, got, test.want)
		}
	}
}

func TestVariablesOfTheEnvironmentStay(t *testing.T) {
	if got := LowerHost("App.${DOMAIN:-Example.COM}.Test"); got != "app.${DOMAIN:-Example.COM}.test" {
		t.Errorf("LowerHost: %s", got)
	}
	d := Draft{Routes: []*Section{{Keys: []Key{{Name: "hosts", Value: Texts([]string{"a.${X}", "${Y:-b.test}"})}}}}}
	var with, without bytes.Buffer
	if err := errors.Join(d.WriteTOML(&with), d.WithoutFiles().WriteTOML(&without)); err != nil {
		t.Fatal(err)
	}
	if want := `hosts = ["a.${X}", "${Y:-b.test}"]`; !strings.Contains(with.String(), want) {
		t.Errorf("%s: want in it %s", with.String(), want)
	}
	if want := `hosts = ["a.1", "b.test"]`; !strings.Contains(without.String(), want) {
		t.Errorf("%s: want in it %s", without.String(), want)
	}
}
