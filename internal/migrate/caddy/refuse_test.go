package caddy

import (
	"testing"

	"sluice/internal/migrate/migratetest"
)

func TestWhatKeepsClientsOutKeepsThemOut(t *testing.T) {
	const proxy = "\nreverse_proxy b:1"
	for _, test := range []struct{ site, want string }{
		{"basic_auth {\nu x\n}" + proxy, "deny=all pool=b"},
		{"basicauth /admin* {\nu x\n}" + proxy, "path_regexp=(?i)^/admin priority=1 deny=all pool=b\npool=b"},
		{"forward_auth auth:9091 {\nuri /v\n}" + proxy, "deny=all pool=b"},
		{"forward_auth auth:9091 {\nuri /v\n}\nrespond hi", "respond=200,hi deny=all"},
		{"forward_auth auth:9091 {\nuri /v\n}\nredir https://x", "redirect=https://x"},
		{"handle /a/* {\nforward_auth auth:9091 {\nuri /v\n}" + proxy + "\n}\nhandle {" + proxy + "\n}", "path_regexp=(?i)^/a/ priority=1 deny=all pool=b\npool=b"},
		{"@out not remote_ip 10.0.0.0/8\nbasic_auth @out {\nu x\n}" + proxy, "allow=10.0.0.0/8 pool=b"},
		{"@api not path /public/*\nbasic_auth @api {\nu x\n}" + proxy, "path=/public pool=b\ndeny=all pool=b"},
		{"@x expression `true`\nbasic_auth @x {\nu x\n}" + proxy, "deny=all pool=b"},
		{"@x expression `true`\nrespond @x 403" + proxy, "pool=b\nless strict: respond @x 403"},
		{"@x {\npath /a/*\nexpression `true`\n}\nrespond @x 403" + proxy, "path_regexp=(?i)^/a/ priority=1 respond=403\npool=b"},
		{"@x not expression `true`\nabort @x" + proxy, "deny=all pool=b"},
		{"respond /admin* 403" + proxy, "path_regexp=(?i)^/admin priority=1 respond=403\npool=b"},
		{"respond /admin 404" + proxy, "path_regexp=(?i)^/admin$ priority=1 respond=404\npool=b"},
		{"@lan remote_ip 10.0.0.0/8\nhandle @lan {" + proxy + "\n}\nrespond 404", "allow=10.0.0.0/8 pool=b"},
		{"@lan not remote_ip 10.0.0.0/8\nredir @lan / 302" + proxy, "redirect=/"},
		{"@lan {\nnot remote_ip 10.0.0.0/8\npath /admin*\n}\nredir @lan / 302" + proxy, "path_regexp=(?i)^/admin allow=10.0.0.0/8 priority=1 pool=b\npool=b"},
		{"@bad remote_ip 192.0.2.1\nabort @bad" + proxy, "deny=192.0.2.1 pool=b"},
		{"rewrite /a /b\nrespond /b 403" + proxy, "path_regexp=(?i)^/b$ priority=1 respond=403\npath_exact=/a rewrite_path=/b pool=b\npool=b\nless strict: respond /b 403"},
	} {
		if got := migratetest.Routes(t, Read, "Caddyfile", "http://:8080 {\n"+test.site+"\n}\n"); got != test.want {
			t.Errorf("%s\ngot  %s\nwant %s", test.site, got, test.want)
		}
	}
}
