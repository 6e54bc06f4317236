// Package peers starts the gateways that Sluice is compared with, and Sluice itself, each set up for a fair comparison: as many workers,
// no access log, least connections, long time-outs, the same certificate, TLS 1.3 with AES-128-GCM and X25519 and session tickets.
//
// It installs nothing: a program that is missing is an error of Find. The configurations are in conf/, with ports and workers filled in
// as text/template does. conf/floor.c is the least that a userland relay can do, without TLS.
package peers

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"embed"
	"errors"
	"fmt"
	"go/build"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"
)

//go:embed conf
var conf embed.FS

// Setup is what all peers of a comparison have in common.
type Setup struct {
	Dir     string // for configurations and temporary files, with cert.pem, key.pem and both.pem
	Sluice  string // the program
	Cores   string // that the peers are pinned to, as taskset has them: "0", "0,1"
	Workers int
	Backend int // port
}

// Peer is a gateway that can be started.
type Peer struct {
	Name       string
	HasTLS     bool
	HasWorkers bool // as many as are wanted: the floor has one

	program string   // how it is found in PATH
	version []string // arguments that make it tell its version
	config  string   // in conf/
	args    []string // that start it beside its configuration
	env     func(Setup) []string
}

// All returns the peers in the order of tables.
func All() []Peer {
	return []Peer{
		{Name: "sluice", HasTLS: true, HasWorkers: true, version: []string{"version"}, config: "sluice.toml", args: []string{"run", "-config", "sluice.toml"}},
		{Name: "floor", program: "cc", version: []string{"--version"}, config: "floor.c"},
		{Name: "nginx", HasTLS: true, HasWorkers: true, program: "nginx", version: []string{"-v"}, config: "nginx.conf", args: []string{"-p", "./", "-e", "stderr", "-c", "nginx.conf"}},
		{Name: "haproxy", HasTLS: true, HasWorkers: true, program: "haproxy", version: []string{"-v"}, config: "haproxy.cfg", args: []string{"-f", "haproxy.cfg"}},
		{Name: "caddy", HasTLS: true, HasWorkers: true, program: "caddy", version: []string{"version"}, config: "Caddyfile", args: []string{"run", "--config", "Caddyfile"},
			env: func(s Setup) []string { return []string{"GOMAXPROCS=" + strconv.Itoa(s.Workers), "HOME=" + s.Dir} }},
	}
}

// Find returns the path of the peer's program (that of the compiler for the floor) and its version, or why it can't be run.
func (p Peer) Find(s Setup) (path, version string, err error) {
	path = s.Sluice
	if p.program != "" {
		if path = find(p.program); path == "" {
			return "", "", fmt.Errorf("%s is not installed", p.program)
		}
	}
	out, err := exec.Command(path, p.version...).CombinedOutput()
	if err != nil {
		return "", "", fmt.Errorf("%s %s: %w", path, strings.Join(p.version, " "), err)
	}
	version, _, _ = strings.Cut(strings.TrimSpace(string(out)), "\n")
	// A Caddy that `go install` built doesn't know; its build information does.
	if info, err := buildinfo.ReadFile(path); version == "unknown" && err == nil {
		version = info.Main.Version
	}
	return path, version, nil
}

// find looks in PATH, and where Debian has its servers and "go install" puts programs, which is not in everybody's PATH.
func find(program string) (path string) {
	for _, dir := range []string{"", "/usr/sbin", filepath.Join(build.Default.GOPATH, "bin")} {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path
		}
	}
	return ""
}

// Process is a peer that runs.
type Process struct {
	Plain, TLS int // ports
	dir        string
	cmd        *exec.Cmd
	done       chan struct{} // closed once it has ended
	log        bytes.Buffer  // of its stderr; to be read once it has ended
}

// Start starts the peer in a directory of its own and waits until it relays.
func (p Peer) Start(ctx context.Context, s Setup) (_ *Process, err error) {
	path, _, err := p.Find(s)
	if err != nil {
		return nil, err
	}
	r := &Process{done: make(chan struct{})}
	if r.dir, err = os.MkdirTemp(s.Dir, p.Name+"-"); err != nil {
		return nil, err
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	r.Plain, r.TLS = ports[0], ports[1]
	if err := r.writeFiles(p, s); err != nil {
		return nil, err
	}
	args := p.args
	if p.config == "floor.c" {
		if out, err := r.command(ctx, path, "-O2", "-o", "floor", "floor.c").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("compile the floor: %w: %s", err, out)
		}
		path, args = filepath.Join(r.dir, "floor"), []string{strconv.Itoa(r.Plain), strconv.Itoa(s.Backend)}
	}
	r.cmd = r.command(ctx, "taskset", append([]string{"-c", s.Cores, path}, args...)...)
	r.cmd.Stderr = &r.log
	r.cmd.Cancel = func() error { return r.cmd.Process.Signal(syscall.SIGTERM) }
	r.cmd.WaitDelay = 5 * time.Second
	if p.env != nil {
		r.cmd.Env = append(os.Environ(), p.env(s)...)
	}
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name, err)
	}
	go r.wait()
	if err := r.waitUntilReady(ctx); err != nil {
		r.Stop()
		return nil, fmt.Errorf("start %s: %w: %s", p.Name, err, bytes.TrimSpace(r.log.Bytes()))
	}
	return r, nil
}

func (r *Process) wait() {
	defer close(r.done)
	_ = r.cmd.Wait() // how it ends is how it was told to
}

func (r *Process) command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = r.dir
	return cmd
}

// writeFiles puts the configuration and the certificate into the peer's directory.
func (r *Process) writeFiles(p Peer, s Setup) error {
	text, err := conf.ReadFile("conf/" + p.config)
	if err != nil {
		return err
	}
	if p.config != "floor.c" {
		t, err := template.New(p.config).Parse(string(text))
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, map[string]any{"Plain": r.Plain, "TLS": r.TLS, "Workers": s.Workers, "Backend": s.Backend}); err != nil {
			return err
		}
		text = b.Bytes()
	}
	if err := os.WriteFile(filepath.Join(r.dir, p.config), text, 0o644); err != nil {
		return err
	}
	for _, name := range []string{"cert.pem", "key.pem", "both.pem"} {
		if err := os.Symlink(filepath.Join(s.Dir, name), filepath.Join(r.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// waitUntilReady waits for the backend's answer through the peer: a socket listens before nginx has workers.
func (r *Process) waitUntilReady(ctx context.Context) error {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	deadline := time.After(10 * time.Second)
	for {
		answer, err := client.Get("http://127.0.0.1:" + strconv.Itoa(r.Plain) + "/")
		if err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(answer.Status)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-r.done:
			return errors.New("it ended")
		case <-deadline:
			return fmt.Errorf("it doesn't relay: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// PIDs returns the process and those that it has started: what is measured.
func (r *Process) PIDs() []int {
	// taskset becomes the program, so this is the peer's own.
	pids := []int{r.cmd.Process.Pid}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pids[0]))
	if err != nil {
		return pids
	}
	for field := range strings.FieldsSeq(string(children)) {
		if pid, err := strconv.Atoi(field); err == nil {
			pids = append(pids, pid)
		}
	}
	return slices.Compact(pids)
}

// Stop ends the peer and waits for its end, 5 seconds at most before it is killed.
func (r *Process) Stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.done:
	case <-time.After(5 * time.Second):
		_ = r.cmd.Process.Kill()
		<-r.done
	}
}

// freePorts returns ports that nobody listens on at the moment. They are below the range from which a kernel takes ports for programs that
// ask for any, so that no such program takes one before the peer does.
func freePorts(count int) (ports []int, err error) {
	const first, end, tries = 20_000, 32_000, 100
	for range tries {
		port := first + rand.IntN(end-first)
		ln, listenErr := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if listenErr != nil {
			err = listenErr
			continue
		}
		defer ln.Close()
		if ports = append(ports, port); len(ports) == count {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("no free port after %d tries: %w", tries, err)
}
