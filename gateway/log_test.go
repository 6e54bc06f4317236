package gateway

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"sluice/internal/config"
)

// logsTo opens logs that write into a buffer.
func logsTo(t *testing.T, section config.Log) (*logs, *bytes.Buffer) {
	t.Helper()
	section.Output = outputStderr
	var out bytes.Buffer
	l, err := openLogs(section, &out)
	if err != nil {
		t.Fatal(err)
	}
	return l, &out
}

func TestLoggerWritesAsTheSectionSays(t *testing.T) {
	l, out := logsTo(t, config.Log{Level: "warn", Format: "json"})
	l.main.Info("not written")
	l.main.Named("balancer").Warn("backend ejected", zap.String("backend", "b"))
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%q is no JSON object: %v", out.String(), err)
	}
	for key, want := range map[string]any{"level": "warn", "room": "balancer", "message": "backend ejected", "backend": "b"} {
		if line[key] != want {
			t.Errorf("%s = %v, want %v", key, line[key], want)
		}
	}
	out.Reset()
	l.level.SetLevel(zap.InfoLevel)
	l.main.Named("proxy").Info("written now")
	if got := out.String(); !strings.Contains(got, "written now") {
		t.Errorf("a lower level isn't obeyed by a named logger: %q", got)
	}
	l, out = logsTo(t, config.Log{Level: "debug", Format: "console"})
	l.main.Debug("written")
	if got := out.String(); !strings.Contains(got, "debug\twritten") {
		t.Errorf("console line %q", got)
	}
}

func TestAccessLinesDoNotDependOnTheLevel(t *testing.T) {
	l, out := logsTo(t, config.Log{Level: "error", Format: "json", Access: config.Access{AtEnd: true}})
	l.access.Info("session")
	if got := out.String(); !strings.Contains(got, `"room":"access"`) {
		t.Errorf("access line with level = error: %q", got)
	}
	l, out = logsTo(t, config.Log{Level: "debug", Format: "json"})
	l.access.Info("session")
	if out.Len() > 0 {
		t.Errorf("access line with access = false: %q", out.String())
	}
}

func TestLogFileThatWasMovedIsOpenedAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sluice.log")
	l, err := openLogs(config.Log{Level: "info", Format: "json", Output: path}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.out.close)
	l.main.Info("before")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	l.main.Info("still in the old one")
	if err := l.out.reopen(); err != nil {
		t.Fatal(err)
	}
	l.main.Info("after")
	wantFile(t, path+".1", "before", "still in the old one")
	wantFile(t, path, "after")

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := l.out.reopen(); err == nil {
		t.Error("a directory was opened")
	}
	l.main.Info("goes nowhere, and nothing breaks")
}

// wantFile checks which messages the lines of a file have.
func wantFile(t *testing.T, path string, want ...string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%s: %q, want lines of %q", path, text, want)
	}
	for i, line := range lines {
		if !strings.Contains(line, `"message":"`+want[i]+`"`) {
			t.Errorf("%s: line %q, want message %q", path, line, want[i])
		}
	}
}

func TestOutputThatCannotBeOpenedStartsNothing(t *testing.T) {
	_, err := openLogs(config.Log{Level: "info", Format: "json", Output: t.TempDir()}, io.Discard)
	if err == nil {
		t.Error("a directory was opened as a log")
	}
}
