package systemd

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// listenForStates binds a socket as systemd does, and names it in the environment.
func listenForStates(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", name)
	return conn
}

// next returns the next message.
func next(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	var buf [4096]byte
	n, err := conn.Read(buf[:])
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestStatesAreSentAsDatagrams(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "notify"), "@sluice-test-" + strconv.Itoa(os.Getpid())} {
		conn := listenForStates(t, name)
		t.Setenv("WATCHDOG_USEC", "2000000")
		t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
		n := NewNotifier()
		if os.Getenv("NOTIFY_SOCKET") != "" || os.Getenv("WATCHDOG_USEC") != "" {
			t.Error("a process that this one starts would notify in its place")
		}
		if got, want := n.WatchdogInterval(), 2*time.Second; got != want {
			t.Errorf("WatchdogInterval() = %v, want %v", got, want)
		}
		for _, test := range []struct {
			send func() error
			want string // how the message begins
		}{
			{func() error { return n.Ready("serving") }, "READY=1\nSTATUS=serving"},
			{n.Reloading, "RELOADING=1\nMONOTONIC_USEC="},
			{n.Alive, "WATCHDOG=1"},
			{func() error { return n.TakenOver("serving") }, fmt.Sprintf("MAINPID=%d\nREADY=1\nSTATUS=serving", os.Getpid())},
			{func() error { return n.Stopping(time.Minute) }, "STOPPING=1\nEXTEND_TIMEOUT_USEC=60000000"},
		} {
			if err := test.send(); err != nil {
				t.Fatal(err)
			}
			if got := next(t, conn); !strings.HasPrefix(got, test.want) {
				t.Errorf("message %q, want %q", got, test.want)
			}
		}
		_ = conn.Close()
		if err := n.Ready(""); err == nil {
			t.Error("no error when no systemd listens")
		}
	}
}

func TestWithoutSystemdNothingIsSent(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "2000000")
	n := NewNotifier()
	if err := n.Ready(""); err != nil || n.WatchdogInterval() != 0 {
		t.Errorf("Ready = %v, WatchdogInterval = %v; want nil, 0", err, n.WatchdogInterval())
	}
}

func TestAProcessThatTakesTheServiceOverFindsTheEnvironment(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	listenForStates(t, name)
	t.Setenv("WATCHDOG_USEC", "2000000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	want := []string{"NOTIFY_SOCKET=" + name, "WATCHDOG_USEC=2000000"}
	if got := NewNotifier().Environment(); !slices.Equal(got, want) {
		t.Errorf("Environment() = %q, want %q", got, want)
	}
	if got := NewNotifier().Environment(); len(got) > 0 {
		t.Errorf("Environment() = %q without systemd, want nothing", got)
	}
}

func TestWatchdogOfAnotherProcessIsIgnored(t *testing.T) {
	listenForStates(t, filepath.Join(t.TempDir(), "notify"))
	t.Setenv("WATCHDOG_USEC", "2000000")
	t.Setenv("WATCHDOG_PID", "1")
	if got := NewNotifier().WatchdogInterval(); got != 0 {
		t.Errorf("WatchdogInterval() = %v, want 0", got)
	}
}
