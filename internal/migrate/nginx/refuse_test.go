package nginx

import (
	"testing"

	"sluice/internal/migrate/migratetest"
)

func TestWhatKeepsClientsOutKeepsThemOut(t *testing.T) {
	const all = " location / { proxy_pass http://b; }"
	for _, test := range []struct{ server, want string }{
		{"auth_basic x;" + all, "deny=all pool=b"},
		{"auth_ldap x;" + all, "deny=all pool=b"},
		{"access_by_lua_block { ngx.exit(403) }" + all, "deny=all pool=b"},
		{"location /admin { return 403; }" + all, "path_regexp=^/admin priority=1 respond=403\npool=b"},
		{"location /admin { deny 10.0.0.0/8; proxy_pass http://b; }" + all, "path_regexp=^/admin priority=1 deny=10.0.0.0/8 pool=b\npool=b"},
		{"location /admin { deny 10.0.0.0/8; proxy_pass http://b; } location /admin/ { proxy_pass http://b; }" + all,
			"path_regexp=^/admin([^/]|$) priority=1 deny=10.0.0.0/8 pool=b\npath=/admin pool=b\npool=b"},
		{"location ~ ^/(?!public) { deny all; }" + all, "path_regexp=^/ priority=1 respond=403\npool=b"},
		{"location ~ ^/(a)\\1 { return 404; }" + all, "path_regexp=^/(a)(?s:.*) priority=1 respond=403\npool=b"},
		{"location ~ ^/(?!public) { proxy_pass http://c; }" + all, "pool=b"},
		{"location ~ ^/(?(1)a|b) { deny all; }" + all, "pool=b\nless strict: location ~ ^/(?(1)a|b) {…}"},
		{"if ($ssl_client_verify != SUCCESS) { return 403; }" + all, "deny=all pool=b"},
		{"if ($cookie_key != x) { return 403; } location = /a { return 200 x; } location = /b { return 301 /c; }" + all, "path_exact=/a respond=403\npath_exact=/b respond=403\ndeny=all pool=b"},
		{"location /a/ { if ($allowed = 0) { return 403; } proxy_pass http://b; }" + all, "path_exact=/a redirect=/a/?{query}\npath=/a deny=all pool=b\npool=b"},
		{"if ($bad) { return 444; }" + all, "pool=b\nless strict: if ($bad) {…}"},
		{"if (!-f /x) { return 404; }" + all, "pool=b"},
		{"location /a/ { limit_except GET { deny all; } proxy_pass http://b; }" + all, "path_exact=/a method=GET,HEAD redirect=/a/?{query}\npath=/a method=GET,HEAD pool=b\npath=/a respond=403\npool=b"},
		{"location /a/ { internal; proxy_pass http://b; }" + all, "path=/a respond=404\npool=b"},
	} {
		got := migratetest.Routes(t, Read, "nginx.conf", "upstream b { server b:1; } upstream c { server c:1; } server { listen 80; "+test.server+" }")
		if got != test.want {
			t.Errorf("%s\ngot  %s\nwant %s", test.server, got, test.want)
		}
	}
}
