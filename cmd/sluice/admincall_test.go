package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"sluice/internal/config"
	"sluice/proxy/session"
)

// mustInvoke runs a command that has to succeed, and returns its output.
func mustInvoke(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := invoke(args...)
	if code != exitClean || stderr != "" {
		t.Fatalf("sluice %s: exit code %d, stderr %q", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

func TestStatusTellsWhatTheGatewayHas(t *testing.T) {
	p := startProcess(t, "")
	wantEcho(t, dial(t, p.gateway), "hello")
	text := mustInvoke(t, "status", "-admin", p.admin)
	for _, want := range []string{"gateway at " + p.admin + ": ready\nbuild .* go1.*, started 20.*:\\d\\d\n", "public    " + p.gateway, `/ +\(any\) +echo  1\n`, `echo +127\.0\.0\.1:\d+ +up +1 +1 +- +-\n`} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("status lacks %q:\n%s", want, text)
		}
	}
	var status gatewayStatus
	if err := json.Unmarshal([]byte(mustInvoke(t, "status", "-admin", p.admin, "-json")), &status); err != nil {
		t.Fatal(err)
	}
	if !status.IsReady || len(status.Status.Listeners.Listeners) != 1 || len(status.Routes.Routes) != 1 || status.Pools.Pools[0].Sessions != 1 {
		t.Errorf("status -json: %+v", status)
	}
}

func TestSessionsAreListedShownAndClosed(t *testing.T) {
	p := startProcess(t, "")
	var clients []client
	for range 3 {
		c := dial(t, p.gateway)
		wantEcho(t, c, "hello")
		clients = append(clients, c)
	}
	text := mustInvoke(t, "sessions", "-admin", p.admin)
	if !regexp.MustCompile(`[0-9a-f]{16}  127\.0\.0\.1:\d+ +/ +127\.0\.0\.1:\d+ .* 1/1 +5B/5B +/\n`).MatchString(text) || !strings.HasSuffix(text, "3 sessions\n") {
		t.Errorf("sessions:\n%s", text)
	}
	if text := mustInvoke(t, "sessions", "-admin", p.admin, "-limit", "2"); !strings.Contains(text, "2 sessions, and there are more") {
		t.Errorf("sessions -limit 2:\n%s", text)
	}
	if text := mustInvoke(t, "sessions", "-admin", p.admin, "-age", "1h"); !strings.HasSuffix(text, "0 sessions\n") {
		t.Errorf("sessions -age 1h:\n%s", text)
	}
	var page session.Page
	if err := json.Unmarshal([]byte(mustInvoke(t, "sessions", "-json", "-limit", "0", "-admin", p.admin)), &page); err != nil || len(page.Sessions) != 3 {
		t.Fatalf("sessions -json: %+v, %v", page, err)
	}
	first := page.Sessions[0].ID // the oldest
	text = mustInvoke(t, "sessions", first, "-admin", p.admin)
	for _, want := range []string{"session      " + first, "client       " + clients[0].LocalAddr().String(), "to backend   1 frames, 1 messages, 5B"} {
		if !strings.Contains(text, want) {
			t.Errorf("sessions ID lacks %q:\n%s", want, text)
		}
	}
	if text := mustInvoke(t, "sessions", "-admin", p.admin, "-close", "-code", "4000", first); text != "sessions closed: 1\n" {
		t.Errorf("sessions -close ID: %q", text)
	}
	wantClose(t, clients[0], 4000)
	if text := mustInvoke(t, "sessions", "-admin", p.admin, "-close", "-all"); !strings.HasPrefix(text, "sessions closed: ") {
		t.Errorf("sessions -close -all: %q", text)
	}
	wantClose(t, clients[1], ws.StatusCode(1012))
	wantClose(t, clients[2], ws.StatusCode(1012))
}

func TestDrainTakesABackendOutAndBackIn(t *testing.T) {
	p := startProcess(t, "")
	c := dial(t, p.gateway)
	wantEcho(t, c, "hello")
	var status gatewayStatus
	if err := json.Unmarshal([]byte(mustInvoke(t, "status", "-json", "-admin", p.admin)), &status); err != nil {
		t.Fatal(err)
	}
	backend := status.Pools.Pools[0].Backends[0].Address
	if text := mustInvoke(t, "drain", "echo", backend, "-admin", p.admin, "-over", "1ms"); !strings.Contains(text, "draining") {
		t.Errorf("drain: %q", text)
	}
	wantClose(t, c, 1012)
	if text := mustInvoke(t, "drain", "-admin", p.admin, "-undo", "echo", backend); !strings.Contains(text, ": up, ") {
		t.Errorf("drain -undo: %q", text)
	}
	code, _, stderr := invoke("drain", "echo", "127.0.0.1:1", "-admin", p.admin)
	if code != exitFailure || !strings.Contains(stderr, `no backend "127.0.0.1:1"`) {
		t.Errorf("drain of an unknown backend: %d %q", code, stderr)
	}
}

func TestUpgradeTellsWhatMovedWhatStayedAndWhyItFailed(t *testing.T) {
	for _, test := range []struct {
		status         int
		body           string
		code           int
		stdout, stderr string
	}{
		{200, `{"pid":42,"build":"v2 go1","moved":1,"stayed":{},"seconds":0.0124,"longest_pause_seconds":0.003}`, exitClean,
			"moved 1 session in 12ms (longest pause 3ms); new process 42, build v2 go1\n", ""},
		{200, `{"pid":42,"build":"v2","moved":4000,"stayed":{"tls_1_2":3,"handshake":1,"request":2,"closing":4,"goroutine":5,"http2":8,"refused":6,"new":7},"seconds":1,"longest_pause_seconds":0}`,
			exitClean, "moved 4000 sessions in 1s (longest pause 0s); stayed: 4 that are closing, 5 that no event loop has, 1 handshake under way, 8 over HTTP/2, 7 (new), " +
				"6 that the new process refused, 2 plain requests under way, 3 over TLS 1.2; new process 42, build v2\n", ""},
		{409, `{"error":"the new process has ended: exit status 2"}`, exitFailure, "", "sluice upgrade: the new process has ended: exit status 2\n"},
	} {
		gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != "POST" || r.URL.Path != "/api/v1/upgrade" {
				t.Errorf("%s %s", r.Method, r.URL)
			}
			w.WriteHeader(test.status)
			_, _ = w.Write([]byte(test.body))
		}))
		code, stdout, stderr := invoke("upgrade", "-admin", gateway.Listener.Addr().String())
		gateway.Close()
		if code != test.code || stdout != test.stdout || stderr != test.stderr {
			t.Errorf("upgrade answered with %d %s: %d %q %q, want %d %q %q", test.status, test.body, code, stdout, stderr, test.code, test.stdout, test.stderr)
		}
	}
}

func TestReloadTellsAsMuchAsTheGatewayDoes(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		status         int
		body           string
		code           int
		stdout, stderr string
	}{
		{200, `{"status":"applied","waiting":[]}`, exitClean, "the new configuration is in use\n", ""},
		// Faults C9.
		{200, `{"status":"applied","waiting":["gateway.workers","log.access"]}`, exitClean,
			"the new configuration is in use; these changed keys wait for a restart: gateway.workers, log.access\n", ""},
		{400, `{"error":"unknown parameter"}`, exitUsage, "", "sluice reload: unknown parameter\nusage: sluice reload [-admin ADDR]\n"},
		{422, `{"error":"sluice.toml:1: a: wrong\nsluice.toml:2: b: wrong"}`, exitUsage, "", "sluice.toml:1: a: wrong\nsluice.toml:2: b: wrong\n"},
		{401, `{"error":"a bearer token is required"}`, exitFailure, "", "sluice reload: a bearer token is required: name its file with -token-file\n"},
		{404, `nothing`, exitFailure, "", "sluice reload: status 404\n"},
	} {
		gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != "POST" || r.URL.Path != "/api/v1/reload" || r.Header.Get("Authorization") != "Bearer 0123456789abcdef" {
				t.Errorf("%s %s with %q", r.Method, r.URL, r.Header)
			}
			w.WriteHeader(test.status)
			_, _ = w.Write([]byte(test.body))
		}))
		code, stdout, stderr := invoke("reload", "-admin", gateway.Listener.Addr().String(), "-token-file", token)
		gateway.Close()
		if code != test.code || stdout != test.stdout || stderr != test.stderr {
			t.Errorf("reload answered with %d: %d %q %q, want %d %q %q", test.status, code, stdout, stderr, test.code, test.stdout, test.stderr)
		}
	}
}

func TestConfigPrintsWhatRuns(t *testing.T) {
	p := startProcess(t, "")
	text := mustInvoke(t, "config", "-admin", p.admin)
	file, err := config.Parse("printed", []byte(text))
	if err != nil || len(file.Pool) != 1 || file.Pool[0].Name != "echo" {
		t.Errorf("%v of what config prints:\n%s", err, text)
	}
	if !strings.HasPrefix(text, "# read from \"") {
		t.Errorf("config doesn't print what it was read from:\n%s", text)
	}
	var shown struct {
		Files         []string       `json:"files"`
		Configuration map[string]any `json:"configuration"`
	}
	if err := json.Unmarshal([]byte(mustInvoke(t, "config", "-json", "-admin", p.admin)), &shown); err != nil || len(shown.Files) != 1 || shown.Configuration["pool"] == nil {
		t.Errorf("config -json: %+v, %v", shown, err)
	}
}

func TestQuestionsThatNobodyAnswersFail(t *testing.T) {
	for _, test := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"status -admin 127.0.0.1:1", exitFailure, "no gateway answers at 127.0.0.1:1: connection refused\n"},
		{"status -admin [", exitUsage, "is not an address"},
		{"status x", exitUsage, `unexpected argument "x"`},
		{"status -token-file /no/such/file", exitFailure, "/no/such/file"},
		{"sessions a b", exitUsage, `unexpected argument "b"`},
		{"sessions a -route /", exitUsage, "can't be combined"},
		{"sessions -code 1000", exitUsage, "-code and -all need -close"},
		{"drain echo", exitUsage, "are missing"},
		{"drain echo b -undo -over 1s", exitUsage, "can't be combined"},
		{"drain a b c", exitUsage, `unexpected argument "c"`},
		{"reload now", exitUsage, `unexpected argument "now"`},
		// Faults D: mistakes in arguments, found before any gateway is asked.
		{"sessions -idle 5x", exitUsage, `idle="5x" is not a duration over 0s`},
		{"sessions -age 0s", exitUsage, `age="0s" is not a duration over 0s`},
		{"sessions -client here", exitUsage, `client="here" is not an address`},
		{"sessions -path chat", exitUsage, `path="chat" does not begin with a slash`},
		{"sessions -close -all -code 1006", exitUsage, `code="1006" is not a close code`},
		{"sessions -limit -1", exitUsage, "-limit is negative"},
		{"drain echo b -over 5", exitUsage, `over="5" is not a duration from 0s to 24h`},
		{"drain echo b -over 48h", exitUsage, `over="48h" is not a duration from 0s to 24h`},
		{"status -admin https://127.0.0.1:1", exitUsage, "-admin https://127.0.0.1:1 is not an address: want HOST:PORT"},
		{"status -admin http://127.0.0.1:1/", exitFailure, "no gateway answers at 127.0.0.1:1: connection refused"},
		{"status -health -admin 127.0.0.1:1", exitFailure, "no gateway answers at 127.0.0.1:1"},
		{"status -token-file /dev/zero -admin 127.0.0.1:1", exitFailure, "token file /dev/zero: not a file of at most 4096 bytes"},
	} {
		code, stdout, stderr := invoke(strings.Fields(test.args)...)
		if code != test.code || stdout != "" || !strings.Contains(stderr, test.stderr) {
			t.Errorf("sluice %s: %d %q %q, want %d with %q", test.args, code, stdout, stderr, test.code, test.stderr)
		}
	}
}

// Faults C12.
func TestHealthNeedsNoToken(t *testing.T) {
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" || r.Header.Get("Authorization") != "" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = w.Write([]byte(`{"status":"ok"}`))
	}))
	defer gateway.Close()
	if text := mustInvoke(t, "status", "-health", "-admin", gateway.URL); text != "" {
		t.Errorf("status -health prints %q", text)
	}
}

// Faults D.
func TestStatusWaitsFiveSecondsForAGatewayThatHangs(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, and nothing answers
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	start := time.Now()
	code, _, stderr := invoke("status", "-admin", listener.Addr().String())
	if code != exitFailure || !strings.Contains(stderr, "does not answer within 5s") || time.Since(start) > 40*time.Second {
		t.Errorf("status: %d %q after %v", code, stderr, time.Since(start))
	}
}

// Faults D.
func TestSessionsOfANameThatNothingHasAreAFailure(t *testing.T) {
	p := startProcess(t, "")
	code, stdout, stderr := invoke("sessions", "-pool", "typo", "-admin", p.admin)
	if code != exitFailure || stdout != "" || !strings.Contains(stderr, `no pool "typo"`) {
		t.Errorf("sessions -pool typo: %d %q %q", code, stdout, stderr)
	}
}

func TestWhatAPeerChoseDoesNotReachTheTerminal(t *testing.T) {
	if got := printable("/a\x1b[2J\t\u009b\n\u202egnp.\u200f\u2069é"); got != "/a?[2J????gnp.??é" {
		t.Errorf("printable = %q", got)
	}
}
