//go:build unix

package test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestChromiumTalksToABackendThroughTheDemoPage(t *testing.T) {
	t.Parallel()
	requires(t, needBrowser)
	demo, page := startDemo(t)

	screenshot := filepath.Join(t.TempDir(), "demo.png")
	var seen struct {
		Complaints                                         []string
		Title, Idle, Backend, Details, Closed, NextBackend string
	}
	drive(t, 18*time.Second, &seen, "peers/browser.js", page, screenshot)
	if len(seen.Complaints) > 0 {
		t.Errorf("Chromium complains:\n%s", strings.Join(seen.Complaints, "\n"))
	}
	for what, test := range map[string]struct{ got, want string }{
		"title":             {seen.Title, `^Sluice demo$`},
		"idle status":       {seen.Idle, `(?i)^not connected$`},
		"backend":           {seen.Backend, `^backend [123] \(127\.0\.0\.1:\d+\)$`},
		"subprotocol":       {seen.Details, `(?i)subprotocol\s+chat`},
		"count of messages": {seen.Details, `2 sent, 3 received`}, // the text and the page's ping, behind the greeting
		"close":             {seen.Closed, `^4001\b`},             // the reason is that of the answer,
		"next backend":      {seen.NextBackend, `^backend [123] \(127\.0\.0\.1:\d+\)$`},
	} {
		if !regexp.MustCompile(test.want).MatchString(test.got) {
			t.Errorf("%s: %q, want %s", what, test.got, test.want)
		}
	}
	if seen.NextBackend == seen.Backend {
		t.Errorf("both sessions are with %s", seen.Backend)
	}
	if picture, err := os.Stat(screenshot); err != nil || picture.Size() < 10_000 {
		t.Errorf("screenshot: %v, %v", picture, err)
	}
	demo.signal(t, syscall.SIGTERM)
	if code := demo.exitCode(t, patience); code != 0 {
		t.Errorf("exit code of the demo: %d, want 0", code)
	}
}

// startDemo starts `sluice demo` and returns the page's URL, the first line that it prints.
func startDemo(t *testing.T) (demo *program, url string) {
	t.Helper()
	cmd := exec.Command(sluice, "demo")
	var stdout io.Reader
	demo = start(t, cmd, func() (err error) {
		stdout, err = cmd.StdoutPipe()
		return err
	})
	line := make(chan string, 1)
	go readFirstLine(stdout, line)
	select {
	case url = <-line:
	case <-time.After(patience):
		t.Fatal("the demo prints nothing")
	}
	if !regexp.MustCompile(`^http://127\.0\.0\.1:\d+/$`).MatchString(url) {
		t.Fatalf("first line of the demo: %q, want the page's URL", url)
	}
	return demo, url
}

// readFirstLine tells the first line, and reads on so that the process isn't held up. It ends with the process.
func readFirstLine(stdout io.Reader, line chan<- string) {
	lines := bufio.NewScanner(stdout)
	lines.Scan()
	line <- lines.Text()
	for lines.Scan() {
	}
}
