//go:build unix

package test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// A manager is what systemd is to a service: a socket to which that tells its state.
type manager struct{ *net.UnixConn }

func newManager(t *testing.T) manager {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return manager{conn}
}

// wantState waits for a message that begins so, past those of the watchdog.
func (m manager) wantState(t *testing.T, want string) {
	t.Helper()
	_ = m.SetReadDeadline(time.Now().Add(patience))
	for {
		var buf [4096]byte
		n, err := m.Read(buf[:])
		if err != nil {
			t.Fatalf("no message, want %q: %v", want, err)
		}
		got := string(buf[:n])
		if got == "WATCHDOG=1" && got != want {
			continue
		}
		if !strings.HasPrefix(got, want) {
			t.Fatalf("message %q, want %q", got, want)
		}
		return
	}
}

func TestSystemdIsToldAndItsSocketIsTaken(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	backend := listenRaw(t)
	listener := listenRaw(t)
	socket, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	address := listener.Addr().String()
	_ = listener.Close() // the socket stays open, as systemd keeps it

	path := filepath.Join(t.TempDir(), "sluice.toml")
	config := strings.Replace(draining(`drain = "0s"`, backend.port()), "name = \"public\"\naddress = \"127.0.0.1:0\"", "name = \"public\"\naddress = \""+address+"\"", 1)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	// LISTEN_PID is the service's own, which only a shell that becomes it can tell.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" run -config "$1"`, sluice, path)
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1", "LISTEN_FDNAMES=unnamed", "NOTIFY_SOCKET="+m.LocalAddr().String(),
		"WATCHDOG_USEC="+strconv.Itoa(300_000))
	g := &gateway{program: start(t, cmd, nil), listeners: map[string]string{"public": address}}

	m.wantState(t, "READY=1")
	// Nobody else could have bound the address.
	c, b := open(t, g, backend, "/")
	m.wantState(t, "WATCHDOG=1")
	g.signal(t, syscall.SIGHUP)
	m.wantState(t, "RELOADING=1\nMONOTONIC_USEC=")
	m.wantState(t, "READY=1")
	c.send(t, c.frame(ws.OpText, "still here"))
	b.wantFrame(t, ws.OpText, "still here")
	open(t, g, backend, "/")
	g.signal(t, syscall.SIGTERM)
	m.wantState(t, "STOPPING=1\nEXTEND_TIMEOUT_USEC=")
	if code := g.exitCode(t, 2*patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}
