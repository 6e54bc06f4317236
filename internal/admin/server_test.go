package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"
)

const token = "0123456789abcdef"

func writeToken(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// start runs a server in front of an idle gateway until the test ends and returns its address and what its readiness is.
func start(t *testing.T, config Config) (address string, isReady *atomic.Bool) {
	t.Helper()
	g := startGateway(t, config, nil)
	return g.admin, g.isReady
}

// ask sends a request and returns the answer with its body.
func ask(t *testing.T, method, url, host, authorization string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if host != "" {
		request.Host = host
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	return send(t, request)
}

// send sends a request, returns the answer with its body, and holds it against the description of the API.
func send(t *testing.T, request *http.Request) (*http.Response, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	checkDescribed(t, request, answer, body)
	return answer, string(body)
}

// wantError checks that an answer is the JSON of an error.
func wantError(t *testing.T, answer *http.Response, body string, status int) {
	t.Helper()
	var got map[string]string
	if err := json.Unmarshal([]byte(body), &got); err != nil || got["error"] == "" || len(got) != 1 {
		t.Errorf("body %q, want {\"error\": \"…\"}", body)
	}
	if answer.StatusCode != status || answer.Header.Get("Content-Type") != "application/json" {
		t.Errorf("status %d, type %q; want %d, application/json", answer.StatusCode, answer.Header.Get("Content-Type"), status)
	}
}

func TestProbesAndMetricsAnswer(t *testing.T) {
	defer goleak.VerifyNone(t)
	t.Run("", func(t *testing.T) {
		address, isReady := start(t, Config{Address: "127.0.0.1:0"})
		for path, want := range map[string]string{"/healthz": `"ok"`, "/readyz": `"ready"`, "/metrics": "sluice_test_total 0"} {
			if answer, body := ask(t, "GET", "http://"+address+path, "", ""); answer.StatusCode != 200 || !strings.Contains(body, want) {
				t.Errorf("GET %s: %d %q, want 200 with %q", path, answer.StatusCode, body, want)
			}
		}
		isReady.Store(false)
		answer, body := ask(t, "GET", "http://"+address+"/readyz", "", "")
		wantError(t, answer, body, http.StatusServiceUnavailable)
		if answer, _ := ask(t, "GET", "http://"+address+"/healthz", "", ""); answer.StatusCode != 200 {
			t.Errorf("GET /healthz while draining: %d, want 200", answer.StatusCode)
		}
	})
}

// Faults D: /readyz with a pool wholly down.
func TestReadyMayNeedAnAvailableBackendInEachPool(t *testing.T) {
	for needs, want := range map[string]int{"": http.StatusOK, "pools": http.StatusServiceUnavailable} {
		g := startGateway(t, Config{Address: "127.0.0.1:0", ReadyNeeds: needs}, nil)
		ready := func() (*http.Response, string) { return ask(t, "GET", "http://"+g.admin+"/readyz", "", "") }
		for i, backend := range g.backends {
			if answer, body := ready(); answer.StatusCode != http.StatusOK {
				t.Errorf("needs %q, %d backends drained: %d %q, want 200", needs, i, answer.StatusCode, body)
			}
			if err := g.proxy.Drain("echo", backend, 0); err != nil {
				t.Fatal(err)
			}
		}
		answer, body := ready()
		if answer.StatusCode != want {
			t.Errorf("needs %q, no backend available: %d %q, want %d", needs, answer.StatusCode, body, want)
		}
		if want == http.StatusServiceUnavailable {
			wantError(t, answer, body, want)
			if !strings.Contains(body, "echo") {
				t.Errorf("%q doesn't name the pool", body)
			}
		}
		if err := g.proxy.Undrain("echo", g.backends[0]); err != nil {
			t.Fatal(err)
		}
		if answer, body := ready(); answer.StatusCode != http.StatusOK {
			t.Errorf("needs %q, a backend back: %d %q, want 200", needs, answer.StatusCode, body)
		}
	}
}

func TestRefusalsAreJSON(t *testing.T) {
	address, _ := start(t, Config{Address: "127.0.0.1:0"})
	for _, path := range []string{"/index.html", "/page.js", "/health", "/metrics/x", "/api/v1", "/api/v1/", "/api/v1/sessions/", "/api/v1/session", "//metrics", "/metrics/", "/api/v1/pools/echo",
		"/api/../metrics", "/debug/pprof/", "/debug/pprof/heap"} {
		answer, body := ask(t, "GET", "http://"+address+path, "", "")
		wantError(t, answer, body, http.StatusNotFound)
	}
	answer, body := ask(t, "POST", "http://"+address+"/metrics", "", "")
	wantError(t, answer, body, http.StatusMethodNotAllowed)
	if got := answer.Header.Get("Allow"); got != "GET, HEAD" {
		t.Errorf("Allow = %q, want GET, HEAD", got)
	}
	for path, want := range map[string]string{"/api/v1/sessions": "DELETE, GET, HEAD", "/api/v1/log/level": "GET, HEAD, PUT", "/api/v1/pools/a/backends/b/drain": "POST"} {
		answer, body := ask(t, "PATCH", "http://"+address+path, "", "")
		wantError(t, answer, body, http.StatusMethodNotAllowed)
		if got := answer.Header.Get("Allow"); got != want {
			t.Errorf("%s: Allow = %q, want %s", path, got, want)
		}
	}
}

func TestPagesOfOtherSitesAreRefusedOnLoopback(t *testing.T) {
	address, _ := start(t, Config{Address: "127.0.0.1:0"})
	tests := []struct {
		method, origin, site string
		want                 int
	}{
		{"GET", "", "", 200},
		{"GET", "http://" + address, "same-origin", 200},
		{"GET", "", "cross-site", 200}, // a link
		{"GET", "https://evil.example", "", 403},
		{"GET", "null", "", 403},
		{"GET", "http://127.0.0.1:1", "", 403},
		{"GET", "http://" + address + ".evil.example", "", 403},
		{"PUT", "https://evil.example", "cross-site", 403},
		{"PUT", "", "cross-site", 403},
		{"PUT", "", "same-site", 403},
		{"PUT", "http://" + address, "same-origin", 200},
	}
	for _, test := range tests {
		request, err := http.NewRequest(test.method, "http://"+address+"/api/v1/log/level", strings.NewReader(`{"level":"info"}`))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"Origin": test.origin, "Sec-Fetch-Site": test.site} {
			if value != "" {
				request.Header.Set(name, value)
			}
		}
		answer, body := send(t, request)
		if answer.StatusCode != test.want {
			t.Errorf("%+v: %d %s", test, answer.StatusCode, body)
		}
	}
}

func TestProfilesAreBehindASwitch(t *testing.T) {
	address, _ := start(t, Config{Address: "127.0.0.1:0", Pprof: true})
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/goroutine?debug=1", "/debug/pprof/cmdline"} {
		if answer, _ := ask(t, "GET", "http://"+address+path, "", ""); answer.StatusCode != 200 {
			t.Errorf("GET %s: %d, want 200", path, answer.StatusCode)
		}
	}
	answer, body := ask(t, "GET", "http://"+address+"/debug/pprof/nothing", "", "")
	wantError(t, answer, body, http.StatusNotFound)
}

func TestLoopbackAnswersItsOwnNamesOnly(t *testing.T) {
	address, _ := start(t, Config{Address: "127.0.0.1:0"})
	for host, want := range map[string]int{
		"localhost": 200, "LOCALHOST:9901": 200, "127.0.0.1": 200, "127.8.8.8:1": 200, "[::1]:9901": 200, "[::1]": 200,
		"rebound.example": 403, "127.0.0.1.example:9901": 403, "localhost.example": 403, "10.0.0.1": 403,
	} {
		answer, body := ask(t, "GET", "http://"+address+"/metrics", host, "")
		if answer.StatusCode != want {
			t.Errorf("Host %q: %d, want %d", host, answer.StatusCode, want)
		}
		if want == http.StatusForbidden {
			wantError(t, answer, body, want)
		}
	}
}

func TestTokenOpensAllButProbes(t *testing.T) {
	address, _ := start(t, Config{Address: "127.0.0.1:0", TokenFile: writeToken(t, " "+token+"\n")})
	for _, authorization := range []string{"", "Bearer", "Bearer " + token + "x", "Bearer " + token[1:], "Basic " + token, token} {
		answer, body := ask(t, "GET", "http://"+address+"/metrics", "", authorization)
		wantError(t, answer, body, http.StatusUnauthorized)
		if answer.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("Authorization %q: refused without WWW-Authenticate", authorization)
		}
	}
	for _, authorization := range []string{"Bearer " + token, "bearer " + token} {
		if answer, _ := ask(t, "GET", "http://"+address+"/metrics", "", authorization); answer.StatusCode != 200 {
			t.Errorf("Authorization %q: %d, want 200", authorization, answer.StatusCode)
		}
	}
	for _, path := range []string{"/", "/healthz", "/readyz"} {
		if answer, _ := ask(t, "GET", "http://"+address+path, "", ""); answer.StatusCode != 200 {
			t.Errorf("GET %s without a token: %d, want 200", path, answer.StatusCode)
		}
	}
	for _, path := range []string{"/healthz/../metrics", "/index.html", "/api/v1/totals", "/api/v1/closes", "/api/v1/sessions"} {
		answer, body := ask(t, "GET", "http://"+address+path, "", "")
		wantError(t, answer, body, http.StatusUnauthorized)
	}
}

func TestDashboardIsServedAndToldWhetherATokenIsNeeded(t *testing.T) {
	open, _ := start(t, Config{Address: "127.0.0.1:0"})
	closed, _ := start(t, Config{Address: "127.0.0.1:0", TokenFile: writeToken(t, token)})
	for address, want := range map[string]string{open: `data-needs-token="false"`, closed: `data-needs-token="true"`} {
		answer, body := ask(t, "GET", "http://"+address+"/", "", "")
		if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(body, want) {
			t.Errorf("GET /: %d %q, want a page with %s", answer.StatusCode, answer.Header.Get("Content-Type"), want)
		}
		if answer.Header.Get("Cache-Control") != "no-store" || answer.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("GET /: headers %v", answer.Header)
		}
		if strings.Contains(body, token) {
			t.Error("the page tells the token")
		}
	}
	answer, body := ask(t, "GET", "http://"+open+"/", "rebound.example", "")
	wantError(t, answer, body, http.StatusForbidden)
	answer, body = ask(t, "POST", "http://"+open+"/", "", "")
	wantError(t, answer, body, http.StatusMethodNotAllowed)
}

func TestAddressInUseIsAnError(t *testing.T) {
	address, isReady := start(t, Config{Address: "127.0.0.1:0"})
	_, err := Listen(Options{Config: Config{Address: address}, Gatherer: prometheus.NewRegistry(), IsReady: isReady.Load, Log: zaptest.NewLogger(t)})
	if err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("Listen on a taken address: %v", err)
	}
}

func TestCheckReportsWhatIsUnsafe(t *testing.T) {
	good, short, spaced := writeToken(t, token), writeToken(t, "short"), writeToken(t, "two words of a token")
	tests := []struct {
		config Config
		want   string // keys
	}{
		{Config{Address: ""}, ""},
		{Config{Address: "127.0.0.1:9901"}, ""},
		{Config{Address: "localhost:0"}, ""},
		{Config{Address: "[::1]:9901"}, ""},
		{Config{Address: "0.0.0.0:9901", TokenFile: good}, ""},
		{Config{Address: "0.0.0.0:9901"}, "token_file"},
		{Config{Address: ":9901"}, "token_file"},
		{Config{Address: "example.com:9901"}, "token_file"},
		{Config{Address: "9901"}, "address"},
		{Config{Address: "127.0.0.1:http"}, "address"},
		{Config{Address: "127.0.0.1:65536"}, "address"},
		{Config{Address: "127.0.0.1:9901", TokenFile: short}, "token_file"},
		{Config{Address: "127.0.0.1:9901", TokenFile: spaced}, "token_file"},
		{Config{Address: "127.0.0.1:9901", TokenFile: t.TempDir()}, "token_file"},
		{Config{Address: "", TokenFile: "/no/such/file"}, "token_file"},
	}
	for _, test := range tests {
		var keys []string
		test.config.Check(func(key, problem string, got any, want string) {
			keys = append(keys, key)
			if problem == "" || want == "" {
				t.Errorf("%+v: problem %q (want %q)", test.config, problem, want)
			}
		})
		if got := strings.Join(keys, " "); got != test.want {
			t.Errorf("%+v: problems of %q, want of %q", test.config, got, test.want)
		}
	}
}

func TestAConnectionThatWasAcceptedIsAnsweredDuringTheShutdown(t *testing.T) {
	g := startGateway(t, Config{Address: "127.0.0.1:0"}, nil)
	dial := func() (net.Conn, *bufio.Reader) {
		conn, err := net.Dial("tcp", g.admin)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(patience))
		return conn, bufio.NewReader(conn)
	}
	get := func(conn net.Conn, reader *bufio.Reader) {
		t.Helper()
		if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusOK {
			t.Errorf("status %d, %v", answer.StatusCode, err)
		}
	}
	silent, answers := dial()
	idle, rest := dial()
	get(idle, rest) // the silent one was accepted before it
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- g.server.Shutdown(ctx) }()
	if _, err := rest.ReadByte(); err != io.EOF {
		t.Errorf("an idle connection ends with %v during the shutdown, want EOF", err)
	}
	get(silent, answers)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
