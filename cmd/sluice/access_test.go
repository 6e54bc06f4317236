//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// nextAccess returns the next line of the access log.
func (p *process) nextAccess() map[string]any {
	p.t.Helper()
	for {
		if line := p.next(); line["room"] == "access" {
			return line
		}
	}
}

// talkOnce has a session that brings secrets along.
func talkOnce(t *testing.T, address string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dialer := ws.Dialer{Header: ws.HandshakeHeaderHTTP(http.Header{"Cookie": {"id=secret1"}, "Authorization": {"Bearer secret2"}})}
	conn, _, _, err := dialer.Dial(ctx, "ws://"+address+"/?room=7&token=secret3")
	if err != nil {
		t.Fatal(err)
	}
	wantEcho(t, client{conn, conn}, "secret4")
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAccessLinesComeWhenTheSectionSays(t *testing.T) {
	for access, want := range map[string][]string{`true`: {"session"}, `"start"`: {"session started"}, `"both"`: {"session started", "session"}} {
		p := startProcess(t, "drain = \"0s\"\n[log]\naccess_query = true\naccess = "+access)
		talkOnce(t, p.gateway)
		talkOnce(t, p.gateway)
		ids := map[any]int{}
		for range 2 * len(want) {
			line := p.nextAccess()
			ids[line["session"]]++
			if place := ids[line["session"]]; place > len(want) || line["message"] != want[place-1] {
				t.Errorf("access = %s: line %d of a session is %q, want of %q", access, place, line["message"], want)
			}
			if line["query"] != "room=7&token=***" || line["path"] != "/" || line["backend"] == "" {
				t.Errorf("access = %s: %v", access, line)
			}
			if text := fmt.Sprint(line); strings.Contains(text, "secret") {
				t.Errorf("access = %s: %s tells a secret", access, text)
			}
			if _, isEnd := line["frames_to_backend"]; isEnd != (line["message"] == "session") {
				t.Errorf("access = %s: frames in %v", access, line)
			}
			for earlier, now := range map[string]string{
				"frames_in": "frames_to_backend", "frames_out": "frames_to_client", "bytes_in": "bytes_to_backend", "bytes_out": "bytes_to_client", "closed_by": "initiator",
			} {
				if line[earlier] != line[now] {
					t.Errorf("access = %s: %s is %v, want %v as %s", access, earlier, line[earlier], line[now], now)
				}
			}
		}
		if len(ids) != 2 {
			t.Errorf("access = %s: lines of %d sessions, want of 2", access, len(ids))
		}
	}
}

func TestLogFileIsOpenedAnewBySignal(t *testing.T) {
	directory := t.TempDir()
	path, log := filepath.Join(directory, "sluice.toml"), filepath.Join(directory, "sluice.log")
	text := fmt.Sprintf("[gateway]\ndrain = \"0s\"\n[admin]\naddress = \"\"\n[log]\noutput = %q\n[[listener]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n"+
		"[[route]]\npool = \"echo\"\n[[pool]]\nname = \"echo\"\nbackend = [{ address = %q }]\n", log, startEcho(t))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(os.Args[0], "run", "-config", path)
	command.Env = append(os.Environ(), "SLUICE_TEST_AS_PROGRAM=1")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill() })

	address := lineOf(t, log, "listening")["address"].(string)
	talkOnce(t, address)
	before := lineOf(t, log, "session")["session"]
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	if err := command.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	lineOf(t, log, "log output opened anew")
	talkOnce(t, address)
	if after := lineOf(t, log, "session")["session"]; after == before {
		t.Errorf("session %v is in both files", before)
	}
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := command.Wait(); err != nil || stderr.Len() > 0 {
		t.Errorf("the process ended with %v, stderr %q", err, stderr.String())
	}
	lineOf(t, log, "drained")
}

// lineOf waits for a line with that message in a log's file, and returns it.
func lineOf(t *testing.T, path, message string) map[string]any {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		text, _ := os.ReadFile(path) // it may not be there yet
		for line := range strings.Lines(string(text)) {
			var fields map[string]any
			if json.Unmarshal([]byte(line), &fields) == nil && fields["message"] == message {
				return fields
			}
		}
	}
	t.Fatalf("no line %q in %s", message, path)
	return nil
}
