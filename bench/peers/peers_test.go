package peers

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"sluice/internal/echo"
)

func TestEachPeerThatIsInstalledRelaysAndStops(t *testing.T) {
	if _, err := exec.LookPath("taskset"); err != nil {
		t.Skip("taskset is not installed")
	}
	dir := t.TempDir()
	sluice := filepath.Join(dir, "sluice")
	if out, err := exec.Command("go", "build", "-o", sluice, "sluice/cmd/sluice").CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	// What is in it is no matter: only the plain port is used.
	if out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost",
		"-keyout", filepath.Join(dir, "key.pem"), "-out", filepath.Join(dir, "cert.pem")).CombinedOutput(); err != nil {
		t.Skipf("openssl: %v: %s", err, out)
	}
	joinFiles(t, filepath.Join(dir, "both.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	s := Setup{Dir: dir, Sluice: sluice, Cores: "0", Workers: 1, Backend: startBackend(t)}
	for _, p := range All() {
		t.Run(p.Name, func(t *testing.T) {
			if _, _, err := p.Find(s); err != nil {
				t.Skip(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			process, err := p.Start(ctx, s)
			if err != nil {
				t.Fatal(err)
			}
			defer process.Stop()
			conn, _, _, err := ws.Dial(ctx, "ws://127.0.0.1:"+strconv.Itoa(process.Plain)+"/")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			if err := wsutil.WriteClientText(conn, []byte("hello")); err != nil {
				t.Fatal(err)
			}
			if p, err := wsutil.ReadServerText(conn); string(p) != "hello" || err != nil {
				t.Errorf("echo = %q, %v", p, err)
			}
			pids := process.PIDs()
			_ = conn.Close() // Sluice would drain it first
			process.Stop()
			for _, pid := range pids {
				if _, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/root/"); err == nil {
					t.Errorf("process %d is still there", pid)
				}
			}
		})
	}
}

func startBackend(t *testing.T) (port int) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- echo.Serve(ctx, ln, echo.Options{}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().(*net.TCPAddr).Port
}

func joinFiles(t *testing.T, to string, from ...string) {
	var all []byte
	for _, name := range from {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	if err := os.WriteFile(to, all, 0o600); err != nil {
		t.Fatal(err)
	}
}
