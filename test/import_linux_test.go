package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sluice/internal/config"
	"sluice/internal/migrate"
	"sluice/internal/migrate/caddy"
	"sluice/internal/migrate/haproxy"
	"sluice/internal/migrate/nginx"
)

// What `sluice import` writes is compared with the configuration that it was made of: the original proxy runs it, then Sluice runs the import,
// at the same addresses and before the same backends, and each gets the same requests. A migration is one configuration as people run it. Its
// addresses become those of the test, and what the test lacks is taken out before the import: original and import are of one text.

// An original is a proxy whose configurations are imported.
type original struct {
	need    need
	read    func(files []string) (*migrate.Draft, error)
	prepare func(s *stage, text string) string // makes a text one that runs here
	args    func(path string) []string
	program string
}

var originals = map[string]original{
	"nginx": {needNginx, nginx.Read, prepareNginx, func(path string) []string {
		return []string{"-p", filepath.Dir(path), "-c", path, "-g", "daemon off; master_process off;"}
	}, "/usr/sbin/nginx"},
	"caddy":   {needCaddy, caddy.Read, prepareCaddy, func(path string) []string { return []string{"run", "--adapter", "caddyfile", "--config", path} }, "/usr/bin/caddy"},
	"haproxy": {needHAProxy, haproxy.Read, prepareHAProxy, func(path string) []string { return []string{"-db", "-f", path} }, "/usr/sbin/haproxy"},
}

// A migration is a configuration below internal/migrate/PROXY/testdata.
type migration struct {
	proxy, file string
	without     []string // beginnings of lines that are taken out: what this test, or the installed version, can't have
	paths       []string // of requests, beside those of the import's routes
	differs     []difference
}

// A difference is one that is known.
type difference struct {
	pattern string // a regular expression that the request and what differs, joined by ": ", match
	reason  string
}

// everywhere are the differences of all configurations of a proxy; those of "" are of all proxies. docs/moving.md has them too.
var everywhere = map[string][]difference{
	"": {
		{`x-content-type-options: nosniff, want $`, "Sluice's own answers have X-Content-Type-Options: nosniff"},
		{`location: /\S*, want https?://`, "a redirection to a path is sent as a path, not as a URL with the listener's port"},
		{`^WebSocket.*: answer's field \S+: .+, want $`, "response_header applies to the 101 as well"},
	},
	"nginx": {
		{`^WebSocket.*: status: 101, want 200$`, "Upgrade passes on every route; nginx passes it only where proxy_set_header says so"},
	},
	"caddy": {
		{`: field accept-encoding: , want gzip$`, "Accept-Encoding is the client's; Caddy sends its own"},
		{`: status: 404, want 200$`, "a host that no route has gets 404; Caddy answers it with an empty 200"},
	},
}

// The reasons that several configurations share.
const (
	bySegments   = "a path is a prefix of whole segments: /chat is not /chatter"
	withoutSlash = "a path without its last slash matches too: /chat/ has the requests of /chat"
	noFiles      = "Sluice serves no files"
)

var migrations = []migration{
	{proxy: "nginx", file: "socketio/nginx.conf"},
	{proxy: "nginx", file: "mattermost/nginx.conf", without: []string{"add_header X-Early-Data"}, paths: []string{"/api/v4/websocket", "/api/v4/users/websocket", "/api/v4/websocketx"}},
	{proxy: "nginx", file: "mastodon/nginx.conf", without: []string{"error_page"}, paths: []string{"/assets/app.js"}, differs: []difference{
		{`/acme-challenge: status: 404, want 301`, withoutSlash},
		{`/streamingx: pool: `, bySegments},
	}},
	{proxy: "nginx", file: "realip/nginx.conf", paths: []string{"/rooms/a/1", "/ROOMS/a/1", "/rooms/a/b"}, differs: []difference{
		{`/(v1|both)x: `, bySegments},
	}},
	{proxy: "nginx", file: "rocketchat/nginx.conf", paths: []string{"/blog/a"}, differs: []difference{
		{`: status: 404, want 0$`, "Sluice answers each request; return 444 ends the connection"},
	}},
	{proxy: "nginx", file: "grafana/nginx.conf", differs: []difference{
		{` /: status: 404, want 200`, noFiles},
	}},
	{proxy: "nginx", file: "home-assistant/nginx.conf"},
	{proxy: "nginx", file: "vaultwarden/nginx.conf"},
	{proxy: "nginx", file: "portainer/nginx.conf"},
	{proxy: "nginx", file: "jitsi/nginx.conf", without: []string{"stream {"}, paths: []string{"/colibri-ws/default-id/a/b", "/room"}, differs: []difference{
		{`/acme-challenge: status: 404, want 301`, withoutSlash},
		{`field vary: , want Accept-Encoding`, "Sluice does not compress"},
		{`/http-bind: `, "no route has a pool by the value of a variable"},
	}},
	{proxy: "nginx", file: "jupyter/nginx.conf", paths: []string{"/jupyter/api/kernels/1/channels", "/jupyter/terminals/websocket/1"}, differs: []difference{
		{`^GET.*/(channels|1): `, "a backend is asked for an upgrade only if the client asks for it"},
	}},
	{proxy: "nginx", file: "swag/nginx.conf", without: []string{"include resolver.conf", "resolver "}, paths: []string{"/films/socket", "/socket"}},
	{proxy: "haproxy", file: "chat.cfg", differs: []difference{
		{`/acme-challenge: `, withoutSlash},
		{`/api: pool: `, withoutSlash},
	}},
	{proxy: "haproxy", file: "home.cfg", differs: []difference{
		{`^(GET|WebSocket) nodered\.test .*: status: 301, want 403`, "redirect_https comes first; http-request rules come before redirect"},
		{`/hubx: pool: `, bySegments},
	}},
	{proxy: "haproxy", file: "paths.cfg", without: []string{"use_backend %[", "default_backend web", "http-request deny deny_status 429"}, paths: []string{"/grafana/api/live/ws", "/a.js"}, differs: []difference{
		{` //: `, "a run of slashes counts as one"},
		{`/haproxy-alive: body: `, "the answer of monitor-uri has no HTML"},
		{`: status: 404, want 503`, "without a default backend there is no route: 404"},
		{`/jupyterx: `, bySegments},
		{`/(vnc|jupyter): `, withoutSlash},
		{`^GET.*/live/ws: target: `, "replace-path is not carried over to a route with path_regexp"},
		{`x-frame-options: SAMEORIGIN, want $`, "a condition on the path holds for the answer too; HAProxy has no path by then"},
	}},
	{proxy: "haproxy", file: "video.cfg", without: []string{"bind unix@"}, differs: []difference{
		{`/(jvb1x|jvb2x|http-bindx|xmpp-websocketx): `, bySegments},
		{`/(colibri-ws|jvb1|jvb2): `, withoutSlash},
	}},
	{proxy: "caddy", file: "chat.Caddyfile", without: []string{"log {"}, differs: []difference{
		{`/api: pool: `, withoutSlash},
	}},
	{proxy: "caddy", file: "home.Caddyfile", differs: []difference{
		{`: status: 403, want 0$`, "Sluice answers each request; abort ends the connection"},
	}},
	{proxy: "caddy", file: "paths.Caddyfile", without: []string{"basicauth {", "admin $2a", "route /console/* {"}, differs: []difference{
		{`/(docs|grafana|jupyter|old|static): `, withoutSlash},
	}},
	{proxy: "caddy", file: "meet.Caddyfile", without: []string{"servers {", "dynamic a"}},
}

func TestAnImportDoesWhatItsOriginalDoes(t *testing.T) {
	for _, s := range migrations {
		t.Run(s.proxy+"/"+strings.TrimSuffix(s.file, "/nginx.conf"), func(t *testing.T) { s.play(t) })
	}
}

// play compares the answers of the original and of the import.
func (s *migration) play(t *testing.T) {
	from := originals[s.proxy]
	requires(t, from.need)
	t.Setenv("CONNECT_TIMEOUT", "3s") // which one of them asks for
	stage := newStage(t)
	path := stage.copy(t, filepath.Join("../internal/migrate", s.proxy, "testdata", s.file), func(text string) string {
		return from.prepare(stage, withoutLines(text, s.without))
	}, func(text string) string {
		if s.proxy == "nginx" {
			return completeNginx(stage, text)
		}
		return text
	})
	draft, err := from.read([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := draft.WriteTOML(&text); err != nil {
		t.Fatal(err)
	}
	imported := stage.withSecret(text.Bytes())
	file, err := config.Parse("the import", imported)
	if err != nil {
		t.Fatalf("%v\n%s", err, text.Bytes())
	}
	stage.wantOwnBackends(file)
	asked := requestsFor(file, s.paths)

	process := start(t, exec.Command(from.program, from.args(path)...), nil)
	stage.await(t, file, process)
	want := stage.ask(asked)
	process.signal(t, syscall.SIGTERM)
	process.exitCode(t, patience)

	path = filepath.Join(t.TempDir(), "sluice.toml")
	if err := os.WriteFile(path, append([]byte("admin.address = \"\"\ngateway.drain = \"0s\"\n"), imported...), 0o600); err != nil {
		t.Fatal(err)
	}
	gateway := exec.Command(sluice, "run", "-config", path)
	gateway.Env = append(os.Environ(), "SSL_CERT_FILE="+stage.authority.cert)
	process = start(t, gateway, nil)
	stage.await(t, file, process)
	got := stage.ask(asked)
	process.signal(t, syscall.SIGTERM)
	process.exitCode(t, patience)

	pools := poolsOf(file)
	used := map[string]bool{}
	for i, q := range asked {
		for _, what := range want[i].compare(&got[i], pools) {
			what = q.String() + ": " + what
			if d := s.known(what); d != nil {
				used[d.pattern] = true
			} else {
				t.Error(what)
			}
		}
	}
	for _, d := range s.differs {
		if !used[d.pattern] {
			t.Errorf("no difference matches %q any more: %s", d.pattern, d.reason)
		}
	}
	if t.Failed() {
		t.Logf("the import:\n%s", text.Bytes())
	}
}

// known returns the known difference that one is, or nil.
func (s *migration) known(what string) *difference {
	all := slices.Concat(s.differs, everywhere[""], everywhere[s.proxy])
	i := slices.IndexFunc(all, func(d difference) bool { return regexp.MustCompile(d.pattern).MatchString(what) })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// compare describes how an answer of the import differs from the original's.
func (want *reply) compare(got *reply, pools map[string]string) (differences []string) {
	differ := func(what string, a, b any) {
		if fmt.Sprint(a) != fmt.Sprint(b) {
			differences = append(differences, fmt.Sprintf("%s: %v, want %v", what, b, a))
		}
	}
	differ("status", want.Status, got.Status)
	differ("pool", pools[want.Backend], pools[got.Backend])
	if want.Status != got.Status || pools[want.Backend] != pools[got.Backend] {
		return differences
	}
	differ("target", want.Target, got.Target)
	differ("method", want.Method, got.Method)
	if want.Status == 200 && want.Backend == "" {
		differ("body", want.Body, got.Body)
	}
	for name := range union(want.Asked, got.Asked) {
		if _, isSet := want.Asked[name]; isSet || !ownFields[name] {
			differ("field "+name, want.Asked[name], got.Asked[name])
		}
	}
	for name := range union(want.Answered, got.Answered) {
		differ("answer's field "+name, want.Answered[name], got.Answered[name])
	}
	return differences
}

// ownFields are fields that Sluice adds to every request.
var ownFields = map[string]bool{"x-forwarded-for": true, "x-forwarded-proto": true, "x-forwarded-host": true, "x-real-ip": true}

func union(a, b map[string]string) map[string]bool {
	names := map[string]bool{}
	for name := range a {
		names[name] = true
	}
	for name := range b {
		names[name] = true
	}
	return names
}

// poolsOf returns the first pool that has each address of a backend.
func poolsOf(file *config.File) map[string]string {
	pools := map[string]string{}
	for i := range file.Pool {
		for _, b := range file.Pool[i].Backend {
			address := strings.TrimPrefix(b.Address, "wss://")
			if pools[address] == "" {
				pools[address] = file.Pool[i].Name
			}
		}
	}
	return pools
}
