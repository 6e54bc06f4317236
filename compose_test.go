//go:build unix

package sluice_test

import (
	"bufio"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v3"
)

// patience bounds each wait for something that is expected at once. The machine may be busy.
const patience = 10 * time.Second

// A composeFile is what is of interest in docker-compose.yml.
type composeFile struct {
	Services map[string]composeService
}

type composeService struct {
	Build struct {
		Context string
		Args    map[string]string
	}
	Image           string
	Entrypoint      []string
	Command         []string
	Ports           []string
	Expose          []string
	Volumes         []string
	Healthcheck     struct{ Test []string }
	DependsOn       map[string]struct{ Condition string } `yaml:"depends_on"`
	StopGracePeriod time.Duration                         `yaml:"stop_grace_period"`
	ReadOnly        bool                                  `yaml:"read_only"`
}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	var c composeFile
	if err := yaml.Unmarshal([]byte(read(t, "docker-compose.yml")), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What docker-compose.yml, its configuration and the Dockerfile say of each other has to fit: images can't be had everywhere, so
// nothing else finds out before an operator does.
func TestComposeFitsItsConfigurationAndTheDockerfile(t *testing.T) {
	c := readCompose(t)
	gateway, isThere := c.Services["gateway"]
	if !isThere {
		t.Fatalf("services %v, want a gateway", c.Services)
	}
	if gateway.Build.Context != "." || gateway.Image == "" {
		t.Errorf("the gateway is built from %q as %q", gateway.Build.Context, gateway.Image)
	}
	if !slices.Contains(gateway.Volumes, "./deploy/compose.toml:"+gateway.Command[len(gateway.Command)-1]+":ro") {
		t.Errorf("volumes %q aren't where the command %q looks", gateway.Volumes, gateway.Command)
	}

	var file struct {
		Gateway  struct{ Drain string }
		Listener []struct{ Address string }
		Pool     []struct {
			Backend []struct{ Address string }
		}
	}
	if err := toml.Unmarshal([]byte(read(t, "deploy/compose.toml")), &file); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(file.Listener[0].Address)
	if err != nil || len(gateway.Ports) != 1 || !strings.HasSuffix(gateway.Ports[0], ":"+port) {
		t.Errorf("ports %q, and the gateway listens at %q", gateway.Ports, file.Listener[0].Address)
	}
	if gateway.StopGracePeriod < 95*time.Second {
		t.Errorf("%v until SIGKILL, less than a drain of 30s, a close_timeout of 5s and a write_timeout of 60s", gateway.StopGracePeriod)
	}
	for _, backend := range file.Pool[0].Backend {
		name, port, _ := net.SplitHostPort(backend.Address)
		service, isThere := c.Services[name]
		if !isThere || !slices.Equal(service.Command, []string{"echo", "-listen", "0.0.0.0:" + port}) || !slices.Equal(service.Expose, []string{port}) || service.Image != gateway.Image {
			t.Errorf("backend %s is the service %+v", backend.Address, service)
		}
		if gateway.DependsOn[name].Condition != "service_healthy" {
			t.Errorf("the gateway doesn't wait for %s", name)
		}
	}
	if len(file.Pool[0].Backend) != 3 {
		t.Errorf("%d backends, want 3", len(file.Pool[0].Backend))
	}
	for name, service := range c.Services {
		if service.Image != gateway.Image {
			continue // not ours: TestComposeIsWatched
		}
		if len(service.Healthcheck.Test) < 2 || service.Healthcheck.Test[0] != "CMD" || service.Healthcheck.Test[1] != "/sluice" || !service.ReadOnly {
			t.Errorf("service %s: %+v", name, service)
		}
	}

	docker := read(t, "Dockerfile")
	for _, want := range []string{
		"CGO_ENABLED=0 go build ", "\nFROM scratch\n", "\nUSER 65532:65532\n", "\nEXPOSE " + port + "\n", `ENTRYPOINT ["/sluice"]`,
		fmt.Sprintf("CMD [%q, %q, %q]\n", gateway.Command[0], gateway.Command[1], gateway.Command[2]), `CMD ["/sluice", "status", "-health"]`, // Faults C12.
	} {
		if !strings.Contains(docker, want) {
			t.Errorf("the Dockerfile lacks %q", want)
		}
	}
	if version := "FROM golang:" + goVersion(t) + " AS build"; !strings.Contains(docker, version) {
		t.Errorf("the Dockerfile lacks %q, as go.mod wants", version)
	}
}

// goVersion returns the minor version of go.mod.
func goVersion(t *testing.T) string {
	t.Helper()
	for line := range strings.Lines(read(t, "go.mod")) {
		if version, isIt := strings.CutPrefix(line, "go "); isIt {
			return strings.Join(strings.Split(strings.TrimSpace(version), ".")[:2], ".")
		}
	}
	t.Fatal("go.mod names no version")
	return ""
}

// buildStatic builds the program as the Dockerfile does, into a directory that has nothing else.
func buildStatic(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sluice")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", ldflags(t), "-o", path, "./cmd/sluice")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// The version and the revision that the tests stamp.
const stampedVersion, stampedRevision = "v1.2.3-test", "0123abcd"

// ldflags returns the flags of the Dockerfile's build, with its arguments.
func ldflags(t *testing.T) string {
	t.Helper()
	_, rest, _ := strings.Cut(read(t, "Dockerfile"), `-ldflags "`)
	flags, _, isThere := strings.Cut(rest, `"`)
	if !isThere {
		t.Fatal("the Dockerfile has no -ldflags")
	}
	return strings.NewReplacer("$VERSION", stampedVersion, "$REVISION", stampedRevision).Replace(flags)
}

// Faults C13.
func TestAnImageKnowsItsVersion(t *testing.T) {
	for _, file := range []string{"Dockerfile", "Makefile", "docker-compose.yml"} {
		for _, arg := range []string{"VERSION", "REVISION"} {
			if !strings.Contains(read(t, file), arg) {
				t.Errorf("%s doesn't name the argument %s", file, arg)
			}
		}
	}
	out, err := exec.Command(buildStatic(t), "version").CombinedOutput()
	if want := "sluice " + stampedVersion + " revision " + stampedRevision; err != nil || !strings.HasPrefix(string(out), want) {
		t.Errorf("sluice version: %q, %v; want %q", out, err, want)
	}
}

// An image has nothing but the binary: so has the root in which its commands and health checks are run here, by nobody.
func TestTheStaticBinaryRunsInAnEmptyRoot(t *testing.T) {
	path := buildStatic(t)
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the binary wants a dynamic linker")
		}
	}
	_ = file.Close()
	if os.Getuid() != 0 {
		t.Skip("only root may change the root of a process; left out: " + t.Name())
	}
	c := readCompose(t)
	r := emptyRoot{filepath.Dir(path)}

	// As the compose file starts and checks them, but at ports of the kernel's choice.
	echoArgs, checkEcho := c.Services["echo1"].Command, c.Services["echo1"].Healthcheck.Test[2:]
	echo := r.start(t, echoArgs[0], echoArgs[1], "127.0.0.1:0")
	backend := strings.TrimPrefix(echo.line(t, "echo backend at "), "echo backend at ")
	for i := range checkEcho {
		checkEcho[i] = strings.Replace(checkEcho[i], "127.0.0.1:9000", backend, 1)
	}
	if out, err := r.command(checkEcho...).CombinedOutput(); err != nil {
		t.Errorf("%q: %v\n%s", checkEcho, err, out)
	}

	tokenFile := "run/sluice/token"
	makeToken(t, c, filepath.Join(r.directory, filepath.Dir(tokenFile)))
	config := fmt.Sprintf("[admin]\naddress = \"127.0.0.1:0\"\ntoken_file = \"/"+tokenFile+"\"\n[[listener]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n[[route]]\npool = \"p\"\n[[pool]]\nname = \"p\"\nbackend = [{ address = %q }]\n", backend)
	if err := os.WriteFile(filepath.Join(r.directory, "sluice.toml"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	gateway := r.start(t, "run", "-config", "/sluice.toml")
	admin := gateway.address(t, "admin listening")
	conn, _, _, err := ws.Dial(t.Context(), "ws://"+gateway.address(t, "listening")+"/")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if err := wsutil.WriteClientText(conn, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if text, err := wsutil.ReadServerText(conn); err != nil || string(text) != "hello" {
		t.Errorf("echo %q, %v", text, err)
	}
	checkGateway := append(slices.Clone(c.Services["gateway"].Healthcheck.Test[2:]), "-admin", admin)
	if out, err := r.command(checkGateway...).CombinedOutput(); err != nil {
		t.Errorf("%q: %v\n%s", checkGateway, err, out)
	}

	for _, stopped := range []*rooted{echo, gateway} {
		stopped.stop(t)
	}
	for _, check := range [][]string{checkEcho, checkGateway} {
		if out, err := r.command(check...).CombinedOutput(); err == nil {
			t.Errorf("%q is healthy without a process: %s", check, out)
		}
	}
	if response, err := http.Get("http://" + admin + "/healthz"); err == nil {
		_ = response.Body.Close()
		t.Error("the gateway has not ended")
	}
}

// An emptyRoot is a directory with a static binary, as the root of processes.
type emptyRoot struct{ directory string }

func (r emptyRoot) command(args ...string) *exec.Cmd {
	cmd := exec.Command("/sluice", args...)
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: r.directory, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	return cmd
}

// A rooted is a process in an emptyRoot.
type rooted struct {
	*exec.Cmd
	lines    chan string
	isWaited bool
}

func (r emptyRoot) start(t *testing.T, args ...string) *rooted {
	t.Helper()
	p := &rooted{Cmd: r.command(args...), lines: make(chan string, 100)}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.Stdout, p.Stderr = in, in
	err = p.Start()
	_ = in.Close()
	if err != nil {
		t.Fatal(err)
	}
	go p.read(out)
	t.Cleanup(func() {
		if !p.isWaited {
			_ = p.Process.Kill()
			_ = p.Wait()
		}
	})
	return p
}

// read passes on what the process writes, as far as anybody wants it. It ends with the process.
func (p *rooted) read(out io.ReadCloser) {
	defer out.Close()
	for scanner := bufio.NewScanner(out); scanner.Scan(); {
		select {
		case p.lines <- scanner.Text():
		default:
		}
	}
}

// line waits for a line with that text.
func (p *rooted) line(t *testing.T, text string) string {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case line := <-p.lines:
			if strings.Contains(line, text) {
				return line
			}
		case <-late:
			t.Fatalf("%v went by without %q of %q", patience, text, p.Args)
		}
	}
}

// address waits for the address that a line of the log tells.
func (p *rooted) address(t *testing.T, message string) string {
	t.Helper()
	var line struct{ Address string }
	if text := p.line(t, fmt.Sprintf("%q", message)); json.Unmarshal([]byte(text), &line) != nil || line.Address == "" {
		t.Fatalf("no address in %s", text)
	}
	return line.Address
}

// stop ends the process as an operator does.
func (p *rooted) stop(t *testing.T) {
	t.Helper()
	_ = p.Process.Signal(syscall.SIGTERM)
	_ = p.Process.Signal(syscall.SIGTERM) // and does not wait for sessions
	_ = p.Wait()
	p.isWaited = true
}
