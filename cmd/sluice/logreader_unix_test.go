//go:build unix

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// A quietProcess is sluice run whose log the test doesn't read. Its listener is a Unix socket, since no line tells of an address.
type quietProcess struct {
	*exec.Cmd
	socket string
}

// startQuiet runs sluice with stderr as given, and a [log] section.
func startQuiet(t *testing.T, stderr *os.File, log string) quietProcess {
	t.Helper()
	directory := t.TempDir()
	path, socket := filepath.Join(directory, "sluice.toml"), filepath.Join(directory, "s")
	text := fmt.Sprintf("[gateway]\ndrain = \"0s\"\n[admin]\naddress = \"\"\n[log]\n%s\n[[listener]]\nname = \"public\"\naddress = %q\n"+
		"[[route]]\npool = \"echo\"\n[[pool]]\nname = \"echo\"\nbackend = [{ address = %q }]\n", log, "unix:"+socket, startEcho(t))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := quietProcess{exec.Command(os.Args[0], "run", "-config", path), socket}
	p.Env, p.Stderr = append(os.Environ(), "SLUICE_TEST_AS_PROGRAM=1"), stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() })
	return p
}

// talk opens a session, once the process listens, and ends it.
func (p quietProcess) talk(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dialer := ws.Dialer{NetDial: p.connect}
	conn, _, _, err := dialer.Dial(ctx, "ws://gateway/")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	wantEcho(t, client{conn, conn}, "hello")
}

// connect waits until the process listens.
func (p quietProcess) connect(ctx context.Context, _, _ string) (net.Conn, error) {
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", p.socket)
		if err == nil || ctx.Err() != nil {
			return conn, err
		}
		time.Sleep(time.Millisecond)
	}
}

// endsBySIGTERM checks that a stop ends the process, with exit code 0.
func (p quietProcess) endsBySIGTERM(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the process ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("the process doesn't end")
	}
}

// fill writes into a pipe until it takes no more.
func fill(t *testing.T, pipe *os.File) {
	t.Helper()
	raw, err := pipe.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Write(func(fd uintptr) bool {
		for _, size := range []int{4096, 1} {
			for errWrite := error(nil); errWrite == nil; {
				_, errWrite = syscall.Write(int(fd), make([]byte, size))
			}
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
}

// pipe returns a pipe for the log of a process.
func pipe(t *testing.T) (reader, writer *os.File) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = reader.Close(), writer.Close() })
	return reader, writer
}

// Faults C4.
func TestALogReaderThatStandsStillStopsNeitherClientsNorAStop(t *testing.T) {
	_, stderr := pipe(t)
	fill(t, stderr)
	p := startQuiet(t, stderr, "")
	for range 3 {
		p.talk(t)
	}
	p.endsBySIGTERM(t)
}

// Faults C4.
func TestALogReaderThatEndsDoesNotEndTheGateway(t *testing.T) {
	reader, stderr := pipe(t)
	p := startQuiet(t, stderr, "")
	p.talk(t)
	_ = reader.Close()
	_ = stderr.Close()
	for range 3 {
		p.talk(t)
	}
	p.endsBySIGTERM(t)
}

// Faults C4.
func TestAFullDiskIsToldByOneLineOfStderr(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("this system has no /dev/full")
	}
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	p := startQuiet(t, stderr, `output = "/dev/full"`)
	for range 3 {
		p.talk(t)
	}
	p.endsBySIGTERM(t)
	text, err := os.ReadFile(stderr.Name())
	if err != nil || strings.Count(string(text), "\n") != 1 || !strings.Contains(string(text), "/dev/full: no space left on device") {
		t.Errorf("stderr is %q, %v; want one line that names the file and the cause", text, err)
	}
}
