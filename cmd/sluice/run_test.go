package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"sluice/internal/config"
)

func TestSignalDrainsSessionsAndExitsClean(t *testing.T) {
	p := startProcess(t, `drain = "0s"`)
	session := dial(t, p.gateway)
	wantEcho(t, session, "hello")
	if got := readyStatus(t, p.admin); got != http.StatusOK {
		t.Errorf("GET /readyz = %d, want 200", got)
	}
	p.signal(syscall.SIGTERM)
	wantClose(t, session, 1012)
	if err := ws.WriteFrame(session, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1012, "")))); err != nil {
		t.Fatal(err)
	}
	rest, err := p.wait()
	if err != nil {
		t.Errorf("the process ended with %v, want exit code 0", err)
	}
	access := 0
	for _, line := range rest {
		if line["room"] == "access" {
			access++
		}
	}
	if access != 1 {
		t.Errorf("%d lines of access log, want 1", access)
	}
}

func TestReadinessGoesBeforeTheListeners(t *testing.T) {
	p := startProcess(t, "drain = \"0s\"\ndrain_delay = \"1h\"")
	p.signal(syscall.SIGINT)
	for p.next()["message"] != "stopping" {
	}
	for deadline := time.Now().Add(patience); readyStatus(t, p.admin) != http.StatusServiceUnavailable; {
		if time.Now().After(deadline) {
			t.Fatal("GET /readyz isn't 503 while draining")
		}
	}
	if conn, err := net.Dial("tcp", p.gateway); err != nil {
		t.Errorf("the listener is gone before drain_delay is over: %v", err)
	} else {
		_ = conn.Close()
	}
	p.signal(syscall.SIGINT)
	if _, err := p.wait(); err == nil {
		t.Error("the process ended clean before its drain had")
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	p := startProcess(t, `drain = "1h"`)
	session := dial(t, p.gateway)
	wantEcho(t, session, "hello")
	p.signal(syscall.SIGTERM)
	for p.next()["message"] != "draining" {
	}
	p.signal(syscall.SIGTERM)
	_, err := p.wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFailure {
		t.Errorf("the process ended with %v, want exit code %d", err, exitFailure)
	}
}

func TestProcsAreOneMoreThanWorkersUnlessTheEnvironmentDecides(t *testing.T) {
	for environment, want := range map[string]string{"GOMAXPROCS=": "go_sched_gomaxprocs_threads 4\n", "GOMAXPROCS=2": "go_sched_gomaxprocs_threads 2\n"} {
		p := startProcess(t, "workers = 3\ndrain = \"0s\"", environment)
		answer, err := http.Get("http://" + p.admin + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil || !strings.Contains(string(body), want) {
			t.Errorf("%s: metrics without %q, %v", environment, want, err)
		}
		if !strings.Contains(string(body), "sluice_build_info{") {
			t.Error("metrics without sluice_build_info")
		}
		p.signal(syscall.SIGTERM)
		if _, err := p.wait(); err != nil {
			t.Errorf("the process ended with %v", err)
		}
	}
}

func TestAddressInUseIsAFailureToRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sluice.toml")
	for _, section := range []string{"listener", "admin"} {
		taken, free := startEcho(t), "127.0.0.1:0"
		listener, admin := taken, free
		if section == "admin" {
			listener, admin = free, taken
		}
		text := fmt.Sprintf("admin.address = %q\n[[listener]]\nname = \"public\"\naddress = %q\n[[route]]\npool = \"p\"\n[[pool]]\nname = \"p\"\nbackend = [{ address = \"127.0.0.1:1\" }]\n", admin, listener)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, stderr := invoke("run", "-config", path); code != exitFailure || !strings.Contains(stderr, taken) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s at a taken address: exit code %d, %q; want 1 and a line with the address", section, code, stderr)
		}
	}
}

func TestQuickConfigIsThatOfAFile(t *testing.T) {
	got, err := config.Parse("quick", quickConfig("unix:/run/a \"quoted\" name", false, strings.Split("127.0.0.1:1, 127.0.0.1:2,unix:/b", ",")))
	if err != nil {
		t.Fatal(err)
	}
	want, err := config.Parse("file", []byte(`
[[listener]]
name = "quick"
address = 'unix:/run/a "quoted" name'
[[route]]
pool = "quick"
[[pool]]
name = "quick"
backend = [{ address = "127.0.0.1:1" }, { address = "127.0.0.1:2" }, { address = "unix:/b" }]
`))
	if err != nil {
		t.Fatal(err)
	}
	all := cmp.Exporter(func(reflect.Type) bool { return true })
	want.Origin = got.Origin
	if diff := cmp.Diff(want, got, all); diff != "" {
		t.Errorf("configuration of the flags (-want +got):\n%s", diff)
	}
}

func TestDemoShowsEachBackend(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	output, stdout := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serveDemo(ctx, stdout, failingLog{t}) }()
	lines := bufio.NewReader(output)
	url, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url = strings.TrimSpace(url)
	second, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	_, gateway, _ := strings.Cut(second, "ws://")
	gateway, _, _ = strings.Cut(gateway, "/")

	browser := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := browser.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	_, port, _ := net.SplitHostPort(gateway)
	if err != nil || answer.StatusCode != http.StatusOK || !strings.Contains(string(page), `data-gateway-port="`+port+`"`) {
		t.Errorf("GET %s: %d, %v, and the page doesn't name port %s", url, answer.StatusCode, err, port)
	}
	greetings := map[string]bool{}
	for range demoBackends {
		session := dial(t, gateway)
		greeting, err := wsutil.ReadServerText(session)
		if err != nil {
			t.Fatal(err)
		}
		greetings[string(greeting)] = true
		wantEcho(t, session, "hello")
		if err := ws.WriteFrame(session, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(4001, "enough")))); err != nil {
			t.Fatal(err)
		}
		wantClose(t, session, 4001)
	}
	if len(greetings) != demoBackends {
		t.Errorf("backends that answered %d sessions: %v, want each once", demoBackends, greetings)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("demo ended with %v", err)
	}
}
