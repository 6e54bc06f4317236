//go:build unix

package test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// needCharts is what the embedded charts are compared with.
var needCharts = need{"uPlot", "nodejs npm (Debian), then `npm ci` in test/", hasFile("node_modules/uplot/package.json")}

// drive runs a script that drives Chromium, and reads what it has seen.
func drive(t *testing.T, within time.Duration, seen any, args ...string) {
	t.Helper()
	requires(t, needBrowser)
	limit, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	cmd := exec.CommandContext(limit, "node", args...)
	// So asked, Playwright takes its Chromium with it.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Second
	var complaints tail
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", args[0], err, complaints.last())
	}
	if err := json.Unmarshal(out, seen); err != nil {
		t.Fatalf("%s says %q: %v", args[0], out, err)
	}
}

// With SLUICE_TEST_LONG=true there are as many sessions as fit into 20,000 descriptors of the gateway.
func TestChromiumSeesAndChangesAGatewayByItsDashboard(t *testing.T) {
	t.Parallel()
	requires(t, needBrowser)
	sessions := sized(9000, 500)
	_, one := startEcho(t, "127.0.0.1:0")
	_, other := startEcho(t, "127.0.0.1:0")
	g := runGateway(t, poolOf(`policy = "round_robin"`, one, other))
	guests := g.inviteMany(t, sessions)
	for _, guest := range guests {
		if err := guest.say("hello"); err != nil {
			t.Fatal(err)
		}
	}
	var seen struct {
		Complaints, Twice, Covered                         []string
		Rows, CloseCode, Canvases, Overflow, Broken        int
		State, Pools, Title, Problem, Found, Dialog, Focus string
		CodeProblem, Close, Drained, Plots, Lost, LostAt   string
		IsLostHidden                                       bool
		Milliseconds                                       map[string]int
	}
	drive(t, 3*time.Minute, &seen, "peers/dashboard.js", "http://"+g.admin+"/", g.url("/rooms/7"), strconv.Itoa(sessions))
	t.Logf("with %d sessions, milliseconds: %v", sessions, seen.Milliseconds)
	if len(seen.Complaints) > 0 {
		t.Errorf("Chromium complains:\n%s", strings.Join(seen.Complaints, "\n"))
	}
	half := strconv.Itoa(sessions / 2)
	if sessions > 1999 {
		half = half[:1] + "," + half[1:]
	}
	for what, test := range map[string]struct{ got, want string }{
		"state":           {seen.State, `^ready$`},
		"pools":           {seen.Pools, `(?s)2 of 2 available.*` + regexp.QuoteMeta(one) + `\s+up\s+` + half + `\s`},
		"title":           {seen.Title, `^[\d,]+1 sessions · Sluice$`},
		"wrong search":    {seen.Problem, `“nonsense” is no client address`},
		"found":           {seen.Found, `^[0-9a-f]{16}\s+the client\s+/rooms/7\s+pool 127`},
		"dialog":          {seen.Dialog, `(?s)Close this session\?.*127\.0\.0\.77:\d+.*/rooms/7`},
		"focus":           {seen.Focus, `^Close session [0-9a-f]{16}$`},
		"wrong code":      {seen.CodeProblem, `^1006 can't be sent in a close\.$`},
		"last close":      {seen.Close, `4321 private\s+gateway\s+operator\s+127\.0\.0\.77:\d+\s+/rooms/7`},
		"drained backend": {seen.Drained, `^` + regexp.QuoteMeta(one) + `$`},
		"plots":           {seen.Plots, `(?s)Sessions.*Frames.*Bytes.*Round trips of pings.*Closes by code.*1012 service restart\s+` + half + `.*4321 private\s+1\b`},
		"loss":            {seen.Lost, `^The gateway does not answer\. What is shown is of \d\d:\d\d:\d\d`},
	} {
		if !regexp.MustCompile(test.want).MatchString(test.got) {
			t.Errorf("%s: %q, want %s", what, test.got, test.want)
		}
	}
	if seen.CloseCode != 4321 {
		t.Errorf("the client's session ended with %d, want 4321", seen.CloseCode)
	}
	if seen.Rows != 25 || len(seen.Twice) > 0 || seen.Canvases != 5 || seen.Overflow > 0 || !seen.IsLostHidden {
		t.Errorf("%d rows, on two pages %q, %d plots, %d pixels too wide, loss hidden: %t", seen.Rows, seen.Twice, seen.Canvases, seen.Overflow, seen.IsLostHidden)
	}
	if len(seen.Covered) > 0 || seen.Broken > 0 || seen.LostAt != "in sight" {
		t.Errorf("rows whose failures lie below a button %q, broken numbers %d, the banner is %s; want none, none, in sight", seen.Covered, seen.Broken, seen.LostAt)
	}
	ended := slices.DeleteFunc(guests, func(guest *guest) bool { return !guest.hasEnded() })
	if len(ended) != sessions/2 {
		t.Errorf("%d of %d sessions were drained, want half", len(ended), sessions)
	}
	for _, guest := range ended {
		if guest.code != ws.StatusCode(1012) {
			t.Fatalf("a drained session ended with %d, want 1012", guest.code)
		}
	}
}

func TestDashboardAsksForTheTokenAndKeepsItInItsTab(t *testing.T) {
	t.Parallel()
	requires(t, needBrowser)
	const secret = "a-token-of-the-test"
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	_, address := startEcho(t, "127.0.0.1:0")
	g := runGateway(t, strings.Replace(poolOf("", address), "[admin]\n", "[admin]\ntoken_file = \""+path+"\"\n", 1))
	var seen struct {
		Asked       []string
		AskedBefore int
		Problem     string
		Stored      []any
	}
	drive(t, time.Minute, &seen, "peers/token.js", "http://"+g.admin+"/", secret)
	if seen.AskedBefore != 0 {
		t.Errorf("%d requests without a token", seen.AskedBefore)
	}
	if seen.Problem != "The gateway refused this token." {
		t.Errorf("of a wrong token the page says %q", seen.Problem)
	}
	if last := seen.Asked[len(seen.Asked)-1]; last != "Bearer "+secret {
		t.Errorf("the last request carried %q", last)
	}
	if want := []any{1.0, 0.0, ""}; !slices.Equal(seen.Stored, want) {
		t.Errorf("entries in sessionStorage and localStorage, and cookies: %v, want %v", seen.Stored, want)
	}
}

func TestTheDashboardsFiguresAreRight(t *testing.T) {
	requires(t, need{"Node", "nodejs (Debian)", succeeds("node", "--version")})
	if out, err := exec.Command("node", "peers/figures.js", "../internal/dashboard").CombinedOutput(); err != nil {
		t.Errorf("figures.js: %v\n%s", err, out)
	}
}

func TestTheEmbeddedChartsAreThoseOfTheLockFile(t *testing.T) {
	requires(t, needCharts)
	for name, origin := range map[string]string{"uPlot.iife.min.js": "dist/uPlot.iife.min.js", "uPlot.min.css": "dist/uPlot.min.css", "LICENSE": "LICENSE"} {
		embedded, err := os.ReadFile(filepath.Join("../internal/dashboard/uplot", name))
		if err != nil {
			t.Fatal(err)
		}
		installed, err := os.ReadFile(filepath.Join("node_modules/uplot", origin))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(embedded, installed) {
			t.Errorf("%s differs from what npm installs: `make charts` renews it", name)
		}
	}
}
