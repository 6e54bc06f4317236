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

// textOf returns what the logs of a section write, to stderr, when use uses them.
func textOf(t *testing.T, section config.Log, use func(*logs)) string {
	t.Helper()
	section.Output = outputStderr
	var out bytes.Buffer
	l, err := openLogs(section, &out)
	if err != nil {
		t.Fatal(err)
	}
	use(l)
	l.out.close()
	<-l.out.ended
	return out.String()
}

func TestLoggerWritesAsTheSectionSays(t *testing.T) {
	text := textOf(t, config.Log{Level: "warn", Format: "json"}, func(l *logs) {
		l.main.Info("not written")
		l.main.Named("balancer").Warn("backend ejected", zap.String("backend", "b"))
	})
	var line map[string]any
	if err := json.Unmarshal([]byte(text), &line); err != nil {
		t.Fatalf("%q is no JSON object: %v", text, err)
	}
	for key, want := range map[string]any{"level": "warn", "room": "balancer", "message": "backend ejected", "backend": "b"} {
		if line[key] != want {
			t.Errorf("%s = %v, want %v", key, line[key], want)
		}
	}
	text = textOf(t, config.Log{Level: "warn", Format: "json"}, func(l *logs) {
		named := l.main.Named("proxy")
		l.level.SetLevel(zap.InfoLevel)
		named.Info("written now")
	})
	if !strings.Contains(text, "written now") {
		t.Errorf("a lower level isn't obeyed by a named logger: %q", text)
	}
	text = textOf(t, config.Log{Level: "debug", Format: "console"}, func(l *logs) { l.main.Debug("written") })
	if !strings.Contains(text, "debug\twritten") {
		t.Errorf("console line %q", text)
	}
}

// A client chooses texts of a line, and a terminal may show the line.
func TestALineHasNothingThatATerminalObeys(t *testing.T) {
	for _, format := range []string{"json", "console"} {
		const path = "/räume/\x1b[2J\u009b2J\u202egnp.exe\u2066\u200f\u2028名"
		got := textOf(t, config.Log{Level: "info", Format: format, Access: config.Access{AtEnd: true}}, func(l *logs) {
			for range 2 { // buffers are reused
				l.access.With(zap.String("listener", "\u0085")).Info("session", zap.String("path", path))
			}
		})
		if strings.Count(got, `"/räume/\u001b[2J\u009b2J\u202egnp.exe\u2066\u200f\u2028名"`) != 2 || strings.Count(got, `"\u0085"`) != 2 || strings.Count(got, "\n") != 2 {
			t.Errorf("%s: %q", format, got)
		}
		if format == "json" {
			var line struct{ Path string }
			if err := json.Unmarshal([]byte(got[:strings.Index(got, "\n")]), &line); err != nil || line.Path != path {
				t.Errorf("the path is %q, %v; want %q", line.Path, err, path)
			}
		}
	}
}

func TestAccessLinesDoNotDependOnTheLevel(t *testing.T) {
	access := func(l *logs) { l.access.Info("session") }
	if text := textOf(t, config.Log{Level: "error", Format: "json", Access: config.Access{AtEnd: true}}, access); !strings.Contains(text, `"room":"access"`) {
		t.Errorf("access line with level = error: %q", text)
	}
	if text := textOf(t, config.Log{Level: "debug", Format: "json"}, access); text != "" {
		t.Errorf("access line with access = false: %q", text)
	}
}

func TestLogFileThatWasMovedIsOpenedAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sluice.log")
	l, err := openLogs(config.Log{Level: "info", Format: "json", Output: path}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	l.main.Info("before")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	l.main.Info("still in the old one")
	if err := l.out.reopen(); err != nil {
		t.Fatal(err)
	}
	l.main.Info("after")
	l.out.close()
	<-l.out.ended
	wantFile(t, path+".1", "before", "still in the old one")
	wantFile(t, path, "after")
}

func TestLogGoesOnInTheOldFileWhereNoneCanBeOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sluice.log")
	l, err := openLogs(config.Log{Level: "info", Format: "json", Output: path}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := l.out.reopen(); err == nil {
		t.Error("a directory was opened")
	}
	l.main.Info("after")
	l.out.close()
	<-l.out.ended
	wantFile(t, path+".1", "after")
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
