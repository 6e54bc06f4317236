package haproxy

import (
	"testing"

	"sluice/internal/migrate/migratetest"
)

func TestWhatKeepsClientsOutKeepsThemOut(t *testing.T) {
	for _, test := range []struct{ frontend, want string }{
		{"http-request auth unless { http_auth(users) }", "deny=all pool=b"},
		{"acl ok http_auth(users)\nhttp-request auth realm x if !ok", "deny=all pool=b"},
		{"acl ok http_auth(users)\nhttp-request auth if { path_beg /admin } !ok", "path_regexp=^/admin priority=1 deny=all pool=b\npool=b"},
		{"http-request auth unless { src 10.0.0.0/8 } or { http_auth(users) }", "allow=10.0.0.0/8 pool=b"},
		{"http-request return status 200 string up if { path /up }\nhttp-request auth unless { http_auth(users) }", "path_exact=/up respond=200,up\ndeny=all pool=b"},
		{"http-request auth unless { http_auth(users) }\nhttp-request return status 200 string up if { path /up }", "path_exact=/up respond=200,up deny=all\ndeny=all pool=b"},
		{"http-request deny if { path_beg /admin }", "path_regexp=^/admin priority=1 respond=403\npool=b"},
		{"http-request deny if { path_beg -i /admin }", "path_regexp=(?i)^/admin priority=1 respond=403\npool=b"},
		{"http-request deny if { path -i /admin }", "path_regexp=(?i)^/admin$ priority=1 respond=403\npool=b"},
		{"http-request deny if { path_beg /admin/ }", "path=/admin respond=403\npool=b"},
		{"http-request deny if { path_beg /adm }\nuse_backend c if { path_beg /admin }", "path_regexp=^/adm priority=1 respond=403\npath=/admin pool=c\npool=b"},
		{"http-request deny if { path_beg /admin } !{ src 10.0.0.0/8 }", "path_regexp=^/admin allow=10.0.0.0/8 priority=1 pool=b\npool=b"},
		{"http-request deny if { path_beg /admin } !{ src -f lan.lst }", "path_regexp=^/admin priority=1 deny=all pool=b\npool=b"},
		{"http-request deny unless { ssl_c_used }", "deny=all pool=b"},
		{"http-request deny if { ssl_c_used } !{ ssl_c_verify 0 }", "pool=b"},
		{"http-request deny if { path_reg ^/(?!public).*\\.php$ }", "path_regexp=^/.*\\.php$ priority=1 respond=403\npool=b"},
		{"http-request deny unless { path_reg ^/(?!x)a }", "deny=all pool=b"},
		{"http-request deny if { path_beg /admin/ } !{ src 10.0.0.0/8 }\nhttp-request deny if { hdr(x) y }",
			"path=/admin header=y respond=403\npath=/admin allow=10.0.0.0/8 pool=b\nheader=y respond=403\npool=b"},
		{"acl git hdr(host) git.test\nhttp-request auth if git !{ http_auth(u) } !{ src 10.0.0.0/8 }\nuse_backend b if git\nuse_backend c if { path_beg /c/ }",
			"host=git.test allow=10.0.0.0/8 pool=b\npath=/c pool=c\npool=b"},
		{"http-request deny if { src -f bad.lst }", "pool=b\nless strict: http-request deny if { src -f bad.lst }"},
		{"http-request deny if { src 192.0.2.1 }", "deny=192.0.2.1 pool=b"},
		{"http-request deny deny_status 404 if { src 192.0.2.1 }", "deny=192.0.2.1 pool=b"},
		{"http-request deny if { src 192.0.2.1 } { path_beg /a/ }\nuse_backend c if { hdr(upgrade) -i websocket }", "header=~(?i)websocket deny=192.0.2.1 pool=c\ndeny=192.0.2.1 pool=b"},
		{"http-request deny if { path_beg /m/ } !{ src 10.0.0.0/8 }\nhttp-request deny if { path_end .php }",
			"path_regexp=\\.php$ priority=1 respond=403\npath=/m allow=10.0.0.0/8 pool=b\npool=b"},
		{"tcp-request connection reject if { src 192.0.2.1 }", "deny=192.0.2.1 pool=b"},
		{"tcp-request content reject unless { src 10.0.0.0/8 }", "allow=10.0.0.0/8 pool=b"},
		{"http-request reject if { method TRACE }", "method=TRACE respond=403\npool=b"},
		{"http-request silent-drop if { method TRACE }", "method=TRACE respond=403\npool=b"},
		{"http-request deny deny_status 400 errorfile /x if { method TRACE }", "method=TRACE respond=400\npool=b"},
		{"http-request deny if { sc_http_req_rate(0) gt 20 }", "pool=b"},
		{"acl bad path_beg /x/\nacl bad src -f bad.lst\nhttp-request deny if bad", "path=/x respond=403\npool=b\nless strict: http-request deny if bad"},
		{"http-request deny if HTTP_1.0", "pool=b\nless strict: http-request deny if HTTP_1.0"},
		{"http-request set-path /x%[path]\nhttp-request deny if { path_beg /x/admin/ }", "path=/x/admin respond=403\nrewrite_path=/x pool=b\nless strict: http-request deny if { path_beg /x/admin/ }"},
		{"http-request if TRUE", "pool=b"},
	} {
		config := "frontend f\n mode http\n bind :8080\n" + test.frontend + "\n default_backend b\nbackend b\n mode http\n server b 127.0.0.1:1\nbackend c\n mode http\n server c 127.0.0.1:2\n"
		if got := migratetest.Routes(t, Read, "haproxy.cfg", config); got != test.want {
			t.Errorf("%s\ngot  %s\nwant %s", test.frontend, got, test.want)
		}
	}
}

func TestABackendKeepsClientsOut(t *testing.T) {
	const front = "frontend f\n mode http\n bind :8080\n default_backend b\nbackend b\n mode http\n server b 127.0.0.1:1\n"
	for _, test := range []struct{ config, want string }{
		{front + " http-request auth unless { http_auth(users) }", "pool=b deny=all"},
		{front + " http-request deny if { path_beg /x }", "path_regexp=^/x priority=1 respond=403\npool=b"},
		{"frontend f\n mode http\n bind /run/f.sock\n default_backend b\nbackend b\n mode http\n server b 127.0.0.1:1\n http-request auth", "pool=b allow=255.255.255.255"},
	} {
		if got := migratetest.Routes(t, Read, "haproxy.cfg", test.config); got != test.want {
			t.Errorf("%s\ngot  %s\nwant %s", test.config, got, test.want)
		}
	}
}
