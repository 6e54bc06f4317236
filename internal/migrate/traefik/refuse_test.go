package traefik

import (
	"strings"
	"testing"

	"sluice/internal/migrate/migratetest"
)

func TestWhatKeepsClientsOutKeepsThemOut(t *testing.T) {
	for _, test := range []struct{ rule, middlewares, want string }{
		{"Host(`a`)", "m: {basicAuth: {users: [x]}}", "host=a deny=all pool=b"},
		{"Host(`a`)", "m: {digestAuth: {users: [x]}}", "host=a deny=all pool=b"},
		{"Host(`a`)", "m: {forwardAuth: {address: 'http://x'}}", "host=a deny=all pool=b"},
		{"Host(`a`)", "m: {chain: {middlewares: [n]}}\n    n: {basicAuth: {users: [x]}}", "host=a deny=all pool=b"},
		{"Host(`a`)", "m: {chain: {middlewares: [n]}}", "host=a deny=all pool=b"},
		{"Host(`a`)", "other: {basicAuth: {users: [x]}}", "host=a deny=all pool=b"},
		{"Host(`a`)", "m: {plugin: {bouncer: {enabled: true}}}", "host=a deny=all pool=b"},
		{"PathPrefix(`/admin`)", "m: {basicAuth: {users: [x]}}", "path_regexp=^/admin deny=all pool=b"},
		{"PathPrefix(`/admin`)", "m: {ipAllowList: {sourceRange: [10.0.0.0/8]}}", "path_regexp=^/admin allow=10.0.0.0/8 pool=b"},
		{"Host(`a`)", "m: {ipAllowList: {sourceRange: []}}", "host=a deny=all pool=b"},
		{"Host(`a`) && ClientIP(`10.0.0.0/8`)", "m: {ipAllowList: {sourceRange: [10.1.0.0/16]}}", "host=a deny=all pool=b"},
		{"Host(`a`) && ClientIP(`10.0.0.0/8`)", "m: {headers: {frameDeny: true}}", "host=a allow=10.0.0.0/8 pool=b"},
	} {
		text := "http:\n  routers:\n    r: {rule: '" + test.rule + "', service: b, middlewares: [m]}\n  middlewares:\n    " + test.middlewares +
			"\n  services:\n    b: {loadBalancer: {servers: [{url: 'http://b:1'}]}}\n"
		if got := migratetest.Routes(t, Read, "a.yml", text); got != test.want {
			t.Errorf("%s, %s\ngot  %s\nwant %s", test.rule, test.middlewares, got, test.want)
		}
	}
}

func TestRedirectionsByURLAreRoutes(t *testing.T) {
	for _, test := range []struct{ expression, replacement, want string }{
		{"^https?://a.test/(.*)", "https://b.test/${1}", "host=a.test redirect=https://b.test{uri}"},
		{"^http://(.*)", "https://$1", "host=a.test redirect=https://{host}{uri}"},
		{"https?://(.*)/.well-known/(?:card|cal)dav", "https://${1}/remote.php/dav/", "host=a.test path_regexp=^/.well-known/(?:card|cal)dav priority=1 redirect=https://{host}/remote.php/dav/\nhost=a.test pool=b"},
		{"^https?://a.test/old/(.*)$", "http://a.test/new/$1", "host=a.test path_regexp=^/old/(.*) priority=1 redirect=http://a.test/new/${1}\nhost=a.test pool=b"},
		{"^https://a.test/(.*)", "https://b.test/${1}", "host=a.test pool=b"},
		{"^https?://other/(.*)", "https://b.test/${1}", "host=a.test pool=b"},
		{"^https?://(?P<name>.*)/x", "https://${name}/y", "host=a.test pool=b"},
		{"^https?://a.test/(.*)\\.x/y", "https://$1/", "host=a.test pool=b"},
	} {
		text := "http:\n  routers:\n    r: {rule: 'Host(`a.test`)', service: b, middlewares: [m]}\n  middlewares:\n    m: {redirectRegex: {regex: '" + test.expression +
			"', replacement: '" + test.replacement + "'}}\n  services:\n    b: {loadBalancer: {servers: [{url: 'http://b:1'}]}}\n"
		if got := migratetest.Routes(t, Read, "a.yml", text); strings.ReplaceAll(got, "$${", "${") != test.want {
			t.Errorf("%s\ngot  %s\nwant %s", test.expression, got, test.want)
		}
	}
}
