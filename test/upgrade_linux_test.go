package test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"sluice/internal/admin"
)

// An upgradable is a gateway whose process changes. Its program is a copy of the built one that a test may replace.
type upgradable struct {
	*gateway
	program string // the file
	config  string // the file
	pid     int    // of the process that serves
	pids    []int  // of all that have served and may still live
}

// upgradePatience bounds each wait for a process.
const upgradePatience = 60 * time.Second

// runUpgradable is runGateway with a log in a file: a pipe of the first process would stay open until the last one has ended.
func runUpgradable(t *testing.T, config string, env ...string) *upgradable {
	t.Helper()
	// The processes that upgrades start are then the test's to wait for, once their parents have ended.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	u := &upgradable{
		gateway: &gateway{listeners: map[string]string{}, log: new(tail)},
		program: filepath.Join(directory, "sluice"), config: filepath.Join(directory, "sluice.toml"),
	}
	u.install(t, sluice)
	u.rewrite(t, config)
	stderr, err := os.Create(filepath.Join(directory, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	cmd := &exec.Cmd{
		Path: u.program, Args: []string{"./" + filepath.Base(u.program), "run", "-config", filepath.Base(u.config)}, Dir: directory,
		Stderr: stderr, Env: append(os.Environ(), env...),
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	u.pid = cmd.Process.Pid
	t.Cleanup(func() {
		defer func() {
			log := u.lines(t)
			if strings.Contains(log, panicMessage) {
				t.Error("a gateway has recovered a panic: its log has the stack")
			}
			if t.Failed() {
				t.Logf("log of the gateways:\n%s", log[max(0, len(log)-2*mostReported):])
			}
		}()
		u.end(t)
	})
	eventually(t, upgradePatience, "the gateway listens", func() bool {
		for line := range strings.Lines(u.lines(t)) {
			var of logLine
			if json.Unmarshal([]byte(line), &of) != nil {
				continue
			}
			switch of.Message {
			case "admin listening":
				u.admin = of.Address
			case "listening":
				u.listeners[of.Listener] = of.Address
			}
		}
		return u.admin != "" && len(u.listeners) == strings.Count(config, "[[listener]]") && u.readiness() == http.StatusOK
	})
	return u
}

// lines returns the log of all processes.
func (u *upgradable) lines(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(u.config), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// install replaces the program's file, as a package does.
func (u *upgradable) install(t *testing.T, program string) {
	t.Helper()
	_ = os.Remove(u.program)
	if err := os.Symlink(program, u.program); err != nil {
		t.Fatal(err)
	}
}

// installScript replaces the program by a shell script.
func (u *upgradable) installScript(t *testing.T, text string) {
	t.Helper()
	_ = os.Remove(u.program)
	if err := os.WriteFile(u.program, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

func (u *upgradable) rewrite(t *testing.T, config string) {
	t.Helper()
	if err := os.WriteFile(u.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tryUpgrade runs `sluice upgrade`.
func (u *upgradable) tryUpgrade(t *testing.T) (report admin.Upgraded, err error) {
	t.Helper()
	cmd := exec.Command(sluice, "upgrade", "-json", "-admin", u.admin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return report, fmt.Errorf("%w: %s", err, &stderr)
	}
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatalf("report %s: %v", &stdout, err)
	}
	u.pids = append(u.pids, u.pid)
	u.pid = report.PID
	return report, nil
}

func (u *upgradable) upgrade(t *testing.T) admin.Upgraded {
	t.Helper()
	report, err := u.tryUpgrade(t)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// upgradeBySignal is upgrade by SIGUSR2.
func (u *upgradable) upgradeBySignal(t *testing.T) {
	t.Helper()
	seen := strings.Count(u.lines(t), handedOver)
	if err := syscall.Kill(u.pid, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	u.pids = append(u.pids, u.pid)
	eventually(t, upgradePatience, "a new process has taken over", func() bool {
		all := strings.Split(u.lines(t), handedOver)
		if len(all) < seen+2 {
			return false
		}
		n, err := fmt.Sscanf(all[seen+1], `,"pid":%d,`, &u.pid)
		return n == 1 && err == nil
	})
}

const handedOver = `"message":"handed over to a new process"`

// wantGone waits for the end of the processes that have handed over, and checks that each ended cleanly.
func (u *upgradable) wantGone(t *testing.T) {
	t.Helper()
	for _, pid := range u.pids {
		if status := waitFor(t, pid); status != 0 {
			t.Errorf("process %d, which has handed over, ended with status %d, want 0", pid, status)
		}
	}
	u.pids = nil
}

// waitFor waits for the end of a process that is a child or was left to the test.
func waitFor(t *testing.T, pid int) (status syscall.WaitStatus) {
	t.Helper()
	eventually(t, upgradePatience, fmt.Sprintf("process %d ends", pid), func() bool {
		got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, nil)
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return true // it ended while its parent, which has waited for it, lived
		}
		if err != nil && !errors.Is(err, syscall.ECHILD) && !errors.Is(err, syscall.EINTR) {
			t.Fatal(err)
		}
		return got == pid
	})
	return status
}

// end stops the gateway, and waits for all of its processes.
func (u *upgradable) end(t *testing.T) {
	t.Helper()
	if u.pid == 0 {
		return // the test has ended it
	}
	if err := syscall.Kill(u.pid, syscall.SIGTERM); err != nil {
		t.Errorf("process %d: %v", u.pid, err)
	}
	u.wantGone(t)
	if status := waitFor(t, u.pid); status != 0 {
		t.Errorf("the last process ended with status %d, want 0", status)
	}
	u.pid = 0
}

// A visitors is clients that come and go without a pause, each of which is echoed a message.
type visitors struct {
	stopped chan struct{}
	running sync.WaitGroup
	served  atomic.Int64
	failed  atomic.Int64
	failure atomic.Value // string; one of them
}

func newVisitors(t *testing.T, count int, address string) *visitors {
	v := &visitors{stopped: make(chan struct{})}
	for range count {
		v.running.Go(func() {
			for !isClosed(v.stopped) {
				if err := visit(address); err != nil {
					v.failed.Add(1)
					v.failure.Store(err.Error())
				} else {
					v.served.Add(1)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	t.Cleanup(v.stop)
	return v
}

func (v *visitors) stop() {
	if !isClosed(v.stopped) {
		close(v.stopped)
	}
	v.running.Wait()
}

// more waits until so many more were served.
func (v *visitors) more(t *testing.T, n int64) {
	t.Helper()
	want := v.served.Load() + n
	eventually(t, upgradePatience, "visitors are served", func() bool { return v.served.Load() >= want })
}

// wantAllServed ends the visits, and checks that none failed.
func (v *visitors) wantAllServed(t *testing.T) {
	t.Helper()
	v.stop()
	if n := v.failed.Load(); n > 0 {
		t.Errorf("%d visitors of %d failed, such as: %v", n, n+v.served.Load(), v.failure.Load())
	}
	t.Logf("%d visitors were served", v.served.Load())
}

// visitorsTickets lets visitors resume TLS sessions, which a process before may have begun.
var visitorsTickets = tls.NewLRUClientSessionCache(64)

// visit opens a session at "host:port", "wss://host:port/path" or "unix:/path", gets a message back and closes it; at "http://host:port/path"
// or "https://host:port/path" it makes a plain request with a connection of its own.
func visit(address string) error {
	if strings.HasPrefix(address, "http") {
		return visitPlainly(address)
	}
	dialer := ws.Dialer{Timeout: upgradePatience, TLSConfig: &tls.Config{InsecureSkipVerify: true, ClientSessionCache: visitorsTickets}}
	url := "ws://" + address + "/"
	if path, isUnix := strings.CutPrefix(address, "unix:"); isUnix {
		url = "ws://localhost/"
		dialer.NetDial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	}
	if strings.Contains(address, "://") {
		url = address
	}
	conn, _, _, err := dialer.Dial(context.Background(), url) // the backend sends nothing by itself
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(upgradePatience))
	if err := ws.WriteFrame(conn, ws.MaskFrame(ws.NewTextFrame([]byte("hello")))); err != nil {
		return err
	}
	f, err := readFrame(conn)
	if err != nil || f.Header.OpCode != ws.OpText || string(f.Payload) != "hello" {
		return fmt.Errorf("got %v %q, %v; want the echo", f.Header.OpCode, f.Payload, err)
	}
	_ = ws.WriteFrame(conn, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))))
	if f, err = readFrame(conn); err != nil || f.Header.OpCode != ws.OpClose {
		return fmt.Errorf("got %v, %v; want the close", f.Header.OpCode, err)
	}
	return nil
}

// visitPlainly sends a body and wants it back.
func visitPlainly(address string) error {
	client := http.Client{Timeout: upgradePatience, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	answer, err := client.Post(address, "text/plain", strings.NewReader("hello"))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || string(text) != "hello" {
		return fmt.Errorf("status %d, %q, %v; want the echo", answer.StatusCode, text, err)
	}
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// upgradeBasics are basics with a drain, so that what stays is not cut at once.
var upgradeBasics = strings.Replace(basics, `drain = "0s"`, `drain = "20s"`, 1)

func TestUpgradesRefuseNoConnection(t *testing.T) {
	t.Parallel()
	config := upgradeBasics + "[[route]]\npool = \"pool\"\n[[pool]]\nname = \"pool\"\nbackend = [{ address = \"" + runEcho(t) + "\" }]\n"
	u := runUpgradable(t, config)
	v := newVisitors(t, 4, u.listeners["public"])
	v.more(t, 20)
	for range 3 {
		before := u.pid
		report := u.upgrade(t)
		if report.PID == before || report.PID == 0 || report.Build == "" {
			t.Errorf("report %+v, want a new process", report)
		}
		if status := u.readiness(); status != http.StatusOK {
			t.Errorf("/readyz after an upgrade: %d", status)
		}
		v.more(t, 20)
	}
	u.upgradeBySignal(t)
	v.more(t, 20)
	v.wantAllServed(t)
	u.wantGone(t)
}

func TestAnUpgradeThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	backend := listenRaw(t)
	config := strings.Replace(upgradeBasics, "[gateway]\n", "[gateway]\nhandover_timeout = \"2s\"\n", 1) + toPool("/", "pool", backend.port())
	u := runUpgradable(t, config)
	c, b := open(t, u.gateway, backend, "/")
	taken := listenRaw(t)
	before, opened := u.measure(t), 0
	for _, test := range []struct {
		name  string
		setUp func()
		want  string
	}{
		{"a key that is unknown", func() { u.rewrite(t, config+"colour = 1\n") }, "colour: unknown key"},
		{"an address in use", func() {
			u.rewrite(t, config+fmt.Sprintf("[[listener]]\nname = \"more\"\naddress = %q\n", taken.Addr()))
		}, "address already in use"},
		{"another driver", func() { u.rewrite(t, strings.Replace(config, "[gateway]\n", "[gateway]\ndriver = \"goroutine\"\n", 1)) }, "driver"},
		{"a program that ends", func() { u.rewrite(t, config); u.installScript(t, "exit 3") }, "the new process has ended: exit status 3"},
		{"a program that hangs", func() { u.installScript(t, "exec sleep 1000") }, "does not answer within 2s"},
		{"a program that isn't there", func() { _ = os.Remove(u.program) }, "start the new process"},
	} {
		test.setUp()
		_, err := u.tryUpgrade(t)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want exit code 1 and %q", test.name, err, test.want)
		}
		c.send(t, c.frame(ws.OpText, test.name))
		b.wantFrame(t, ws.OpText, test.name)
		open(t, u.gateway, backend, "/")
		opened++
	}
	eventually(t, upgradePatience, "descriptors as before, and of the sessions since", func() bool {
		return u.measure(t).descriptors <= before.descriptors+2*opened
	})
	u.install(t, sluice)
	u.upgrade(t)
	open(t, u.gateway, backend, "/")
}

// upgradeConfig has listeners without and with TLS, and routes to an echo backend without and with it.
func upgradeConfig(t *testing.T) string {
	t.Helper()
	echo := runEcho(t)
	secure := secureGateway(t, "[listener.tls]\nself_signed = true\n", echo)
	return upgradeBasics + `[[listener]]
name = "secure"
address = "127.0.0.1:0"
[listener.tls]
self_signed = true
` + poolAt(echo) + fmt.Sprintf(`[[route]]
path = "/secure"
pool = "secure"
[[pool]]
name = "secure"
backend = [{ address = "wss://%s" }]
[pool.tls]
insecure = true
`, secure.listeners["public"])
}

func TestSessionsGoOnThroughUpgrades(t *testing.T) {
	t.Parallel()
	u := runUpgradable(t, upgradeConfig(t))
	f := newTraffic(t)
	stopped := make(chan struct{})
	couriers := map[string]*courier{}
	for i := range sessionCount(t, 30) {
		isSecure, path := i%3 > 0, "/"
		address, scheme := u.listeners["public"], "ws"
		if isSecure {
			address, scheme = u.listeners["secure"], "wss"
		}
		if i%3 == 2 {
			path = "/secure"
		}
		if i%2 == 0 {
			f.add(t, address, path, isSecure, i%4 == 0)
			continue
		}
		url := fmt.Sprintf("%s://%s%s", scheme, address, path)
		couriers[fmt.Sprintf("%d, %s", i, url)] = newCourier(t, url, &courier{name: uint64(i), mostPause: 10 * time.Millisecond, stopped: stopped})
	}
	count := len(f.talkers) + len(couriers)
	v := newVisitors(t, 2, u.listeners["public"])
	for range 5 {
		v.more(t, 10)
		report := u.upgrade(t)
		t.Logf("%+v", report)
		if report.Moved < count {
			t.Errorf("%d sessions moved, want %d at least: %+v", report.Moved, count, report)
		}
	}
	v.wantAllServed(t)
	close(stopped)
	f.wantWhole(t)
	for name, c := range couriers {
		c.wantWhole(t, name)
	}
	u.wantGone(t)
	eventually(t, upgradePatience, "the sessions of the talkers alone are left", func() bool {
		return u.count(t, "sluice_sessions_active") == len(f.talkers)
	})
}

func TestASessionOverTLS12StaysUntilItEnds(t *testing.T) {
	t.Parallel()
	u := runUpgradable(t, strings.Replace(upgradeConfig(t), `drain = "20s"`, `drain = "1h"`, 1))
	dialer := ws.Dialer{Timeout: upgradePatience, TLSConfig: &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}}
	conn, _, _, err := dialer.Dial(context.Background(), "wss://"+u.listeners["secure"]+"/") // the backend sends nothing by itself
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	wantEcho := func(text string) {
		t.Helper()
		_ = conn.SetDeadline(time.Now().Add(upgradePatience))
		if err := ws.WriteFrame(conn, ws.MaskFrame(ws.NewTextFrame([]byte(text)))); err != nil {
			t.Fatal(err)
		}
		if f, err := readFrame(conn); err != nil || string(f.Payload) != text {
			t.Fatalf("%q, %v; want the echo of %q", f.Payload, err, text)
		}
	}
	wantEcho("before")
	first := u.pid
	if report := u.upgrade(t); report.Moved != 0 || report.Stayed["tls_1_2"] != 1 || len(report.Stayed) != 1 {
		t.Errorf("report %+v, want one session over TLS 1.2 that stayed", report)
	}
	wantEcho("after an upgrade")
	u.upgrade(t)
	wantEcho("after another")
	// The second process has no session, but lives as long as the first one, whose sessions it reports.
	want := []admin.Older{{PID: u.pids[1], Sessions: 0}, {PID: first, Sessions: 1}}
	eventually(t, upgradePatience, "the status has the older processes", func() bool { return slices.Equal(u.status(t).Older, want) })
	_ = conn.Close()
	u.wantGone(t)
	eventually(t, upgradePatience, "the status has no older process", func() bool { return len(u.status(t).Older) == 0 })
}

func TestAStopEndsTheSessionsOfOlderProcessesToo(t *testing.T) {
	t.Parallel()
	config := strings.Replace(upgradeConfig(t), `drain = "20s"`, `drain = "1h"`, 1)
	u := runUpgradable(t, config)
	dialer := ws.Dialer{Timeout: upgradePatience, TLSConfig: &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}}
	conn, _, _, err := dialer.Dial(context.Background(), "wss://"+u.listeners["secure"]+"/") // the backend sends nothing by itself
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	u.upgrade(t)
	u.upgrade(t)
	if err := syscall.Kill(u.pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(upgradePatience))
	f, err := readFrame(conn)
	if code, _ := ws.ParseCloseFrameData(f.Payload); err != nil || f.Header.OpCode != ws.OpClose || code != 1012 {
		t.Errorf("frame %v with code %d, %v; want a close with 1012", f.Header.OpCode, code, err)
	}
	_ = conn.Close()
	u.wantGone(t)
	waitFor(t, u.pid)
	u.pid = 0
}

func (u *upgradable) status(t *testing.T) (s admin.Status) {
	t.Helper()
	answer, err := http.Get("http://" + u.admin + "/api/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSystemdFollowsAnUpgrade(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	backend := listenRaw(t)
	u := runUpgradable(t, basics+toPool("/", "pool", backend.port()), "NOTIFY_SOCKET="+m.LocalAddr().String(), "WATCHDOG_USEC=300000")
	m.wantState(t, "READY=1")
	for range 2 {
		report := u.upgrade(t)
		m.wantState(t, fmt.Sprintf("MAINPID=%d\nREADY=1", report.PID))
		u.wantGone(t)
		m.wantState(t, "WATCHDOG=1")
	}
	open(t, u.gateway, backend, "/")
	u.end(t)
	m.wantState(t, "STOPPING=1\nEXTEND_TIMEOUT_USEC=")
}

func TestAUnixSocketIsHandedOverWithItsFile(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "public.sock")
	config := upgradeBasics + "[[listener]]\nname = \"unix\"\naddress = \"unix:" + socket + "\"\nmode = \"0600\"\n" + poolAt(runEcho(t))
	u := runUpgradable(t, config)
	for range 2 {
		u.upgrade(t)
		u.wantGone(t)
		if err := visit("unix:" + socket); err != nil {
			t.Error(err)
		}
	}
	// The file goes with the listener, whichever process has made it.
	u.rewrite(t, upgradeBasics+poolAt(runEcho(t)))
	u.upgrade(t)
	u.wantGone(t)
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file of a removed listener's socket: %v, want none", err)
	}
}

func TestANewProcessThatRunsOutOfDescriptorsChangesNothing(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "public.sock")
	backend := listenRaw(t)
	config := upgradeBasics + toPool("/", "pool", backend.port())
	u := runUpgradable(t, config+"[[listener]]\nname = \"unix\"\naddress = \"unix:"+socket+"\"\n")
	var clients, backends []*wire
	for range 40 {
		c, b := open(t, u.gateway, backend, "/")
		clients, backends = append(clients, c), append(backends, b)
	}
	u.rewrite(t, config) // the file of the socket would go
	u.installScript(t, "ulimit -n 60\nexec "+sluice+` "$@"`)
	if _, err := u.tryUpgrade(t); err == nil || !strings.Contains(err.Error(), "descriptors are missing") {
		t.Errorf("an upgrade to a process that can't have the descriptors: %v", err)
	}
	if _, err := os.Stat(socket); err != nil {
		t.Error(err)
	}
	for i, c := range clients {
		c.send(t, c.frame(ws.OpText, "on"))
		backends[i].wantFrame(t, ws.OpText, "on")
	}
}

// upgradeWith begins an upgrade, calls act with the new process's PID once that is known, and returns the PID and the result.
func (u *upgradable) upgradeWith(t *testing.T, act func(pid int)) (pid int, err error) {
	t.Helper()
	seen := strings.Count(u.lines(t), upgradeBegins)
	result := make(chan error, 1)
	go func() {
		_, err := u.tryUpgrade(t)
		result <- err
	}()
	eventually(t, upgradePatience, "an upgrade begins", func() bool {
		all := strings.Split(u.lines(t), upgradeBegins)
		if len(all) < seen+2 {
			return false
		}
		n, err := fmt.Sscanf(all[seen+1], `,"pid":%d,`, &pid)
		return n == 1 && err == nil
	})
	act(pid)
	return pid, <-result
}

const upgradeBegins = `"message":"upgrade begins"`

// alive returns how many talkers have a session, once each of these has got a message back that it sent from now on.
func (f *traffic) alive(t *testing.T) (n int) {
	t.Helper()
	var before []int64
	for _, k := range f.talkers {
		before = append(before, k.sent.Load())
	}
	for i, k := range f.talkers {
		eventually(t, upgradePatience, fmt.Sprintf("session %d goes on or ends", i), func() bool { return isClosed(k.ended) || k.received.Load() > before[i]+1 })
		if !isClosed(k.ended) {
			n++
		} else if k.err != nil && strings.Contains(k.err.Error(), "as message") {
			t.Errorf("session %d: %v", i, k.err)
		}
	}
	return n
}

// killRounds is how many processes a test kills: so many, or what SLUICE_TEST_KILLS says.
func killRounds(t *testing.T, usual int) int {
	t.Helper()
	text := os.Getenv("SLUICE_TEST_KILLS")
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("SLUICE_TEST_KILLS: %v", err)
	}
	return n
}

// addForKill opens more sessions than a batch has, of all kinds.
func (f *traffic) addForKill(t *testing.T, u *upgradable) {
	t.Helper()
	for i := range 120 {
		f.add(t, u.listeners[[]string{"public", "secure"}[i%2]], []string{"/", "/secure"}[i/2%2], i%2 == 1, false)
	}
}

// someMoment waits for a random moment of an upgrade that has begun: half of the times after the new process has started.
func (u *upgradable) someMoment(t *testing.T) {
	t.Helper()
	if rand.IntN(2) == 0 {
		time.Sleep(time.Duration(rand.IntN(40_000)) * time.Microsecond)
		return
	}
	deadline := time.Now().Add(upgradePatience)
	for strings.Count(u.lines(t), `"message":"starting"`) < 2 && time.Now().Before(deadline) {
		time.Sleep(100 * time.Microsecond)
	}
	time.Sleep(time.Duration(rand.IntN(20_000)) * time.Microsecond)
}

func TestANewProcessThatIsKilledOrHangsTakesOnlyItsOwnSessionsAlong(t *testing.T) {
	t.Parallel()
	config := strings.NewReplacer(`drain = "20s"`, "drain = \"100ms\"\nhandover_timeout = \"500ms\"").Replace(upgradeConfig(t))
	outcomes := map[string]int{}
	for round := range killRounds(t, 5) {
		t.Run(strconv.Itoa(round), func(t *testing.T) { // what a round has opened is closed at its end
			u := runUpgradable(t, config)
			f := newTraffic(t)
			f.addForKill(t, u)
			old, end := u.pid, []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP}[round%2]
			pid, err := u.upgradeWith(t, func(pid int) {
				u.someMoment(t)
				_ = syscall.Kill(pid, end)
			})
			if err == nil { // it was in charge already: everything is its own
				outcomes["in charge"]++
				_ = syscall.Kill(pid, syscall.SIGKILL)
				u.wantGone(t)
				waitFor(t, pid)
				if n := f.alive(t); n > 0 {
					t.Errorf("%d sessions live without a process", n)
				}
				u.pid = 0
				return
			}
			moved := 0
			if _, rest, isThere := strings.Cut(err.Error(), "; "); isThere {
				_, _ = fmt.Sscanf(rest, "%d sessions had moved", &moved)
			}
			outcomes[fmt.Sprintf("%d moved", moved)]++
			if n := f.alive(t); n != len(f.talkers)-moved {
				t.Errorf("%v: %d sessions of %d live, and %d had moved: %v", end, n, len(f.talkers), moved, err)
			}
			if u.pid != old || u.readiness() != http.StatusOK {
				t.Errorf("the old process doesn't serve: %v", err)
			}
			if err := visit(u.listeners["public"]); err != nil {
				t.Errorf("a new client: %v", err)
			}
			u.end(t)
		})
	}
	t.Logf("%v", outcomes)
}

func TestAnOldProcessThatIsKilledTakesOnlyItsOwnSessionsAlong(t *testing.T) {
	t.Parallel()
	config := strings.Replace(upgradeConfig(t), `drain = "20s"`, `drain = "100ms"`, 1)
	outcomes := map[string]int{}
	for round := range killRounds(t, 5) {
		t.Run(strconv.Itoa(round), func(t *testing.T) { // what a round has opened is closed at its end
			u := runUpgradable(t, config)
			f := newTraffic(t)
			f.addForKill(t, u)
			old := u.pid
			pid, _ := u.upgradeWith(t, func(int) {
				u.someMoment(t)
				_ = syscall.Kill(old, syscall.SIGKILL)
			})
			if status := waitFor(t, old); !status.Signaled() && status != 0 {
				t.Errorf("status %v of the old process", status)
			}
			u.pid, u.pids = pid, nil
			lives := f.alive(t)
			if u.readiness() != http.StatusOK { // it wasn't told enough to take over
				outcomes["no process is left"]++
				if lives > 0 {
					t.Errorf("%d sessions live without a process", lives)
				}
				waitFor(t, pid)
				u.pid = 0
				return
			}
			outcomes[fmt.Sprintf("%d moved", lives)]++
			if n := u.count(t, "sluice_sessions_active"); n != lives {
				t.Errorf("the new process has %d sessions, and %d live", n, lives)
			}
			if err := visit(u.listeners["public"]); err != nil {
				t.Errorf("a new client: %v", err)
			}
			u.end(t)
		})
	}
	t.Logf("%v", outcomes)
}
