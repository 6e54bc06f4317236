package gateway

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// breakReloads makes reloads panic until mend is called.
func (g *Gateway) breakReloads() (mend func()) {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	s := g.security
	g.security = new(security) // whose suite is missing
	return func() {
		g.reloading.Lock()
		defer g.reloading.Unlock()
		g.security = s
	}
}

// append adds to the configuration's file.
func (g *Gateway) append(t *testing.T, text string) {
	t.Helper()
	before, err := os.ReadFile(g.options.Path)
	if err == nil {
		err = os.WriteFile(g.options.Path, append(before, text...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// countOf returns a counter that has one label with that value.
func countOf(t *testing.T, counter *prometheus.CounterVec, value string) (count float64) {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(counter)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families[0].GetMetric() {
		if m.GetLabel()[0].GetValue() == value {
			count = m.GetCounter().GetValue()
		}
	}
	return count
}

func TestAPanicOfAReloadIsToldAndChangesNothing(t *testing.T) {
	log := new(keptLog)
	g := startGateway(t, "", log)
	session := dial(t, g.Addr("public").String())
	mend, before := g.breakReloads(), g.file.Load()
	g.append(t, "[log]\nlevel = \"debug\"\n")
	answer, err := http.Post("http://"+g.AdminAddr().String()+"/api/v1/reload", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil || answer.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(string(text), errPanicked.Error()) {
		t.Errorf("POST /api/v1/reload: %d %s, %v", answer.StatusCode, text, err)
	}
	eventually(t, "a line of the panic", func() bool { return len(log.lines(t, panicLine)) > 0 })
	line := log.lines(t, panicLine)[0]
	if line["level"] != "error" || line["room"] != room || !strings.Contains(fmt.Sprint(line["panic"]), "nil pointer") || !strings.Contains(fmt.Sprint(line["stack"]), "(*security).prepare") {
		t.Errorf("the line of the panic is %v", line)
	}
	if n := len(log.lines(t, "reload refused, the configuration in use stays")); n != 1 {
		t.Errorf("%d lines of a refused reload, want 1", n)
	}
	if g.file.Load() != before || g.logs.level.Level() != zap.InfoLevel {
		t.Error("the new file is in use")
	}
	mend()
	if _, err := g.Reload(t.Context()); err != nil || g.logs.level.Level() != zap.DebugLevel {
		t.Errorf("the next reload: %v, level %v; want debug", err, g.logs.level)
	}
	if n := countOf(t, g.panics.CounterVec, room); n != 1 {
		t.Errorf("%v panics are counted, want 1", n)
	}
	wantEcho(t, session, "alive")
}

func TestTheFileIsWatchedOnAfterAPanic(t *testing.T) {
	g := startGateway(t, "watch = true", new(keptLog))
	mend := g.breakReloads()
	g.append(t, "# one\n")
	eventually(t, "a panic", func() bool { return countOf(t, g.panics.CounterVec, room) == 1 })
	mend()
	g.append(t, "# two\n")
	eventually(t, "a reload", func() bool { return countOf(t, g.reloads, reloadApplied) == 1 })
}

// A brokenCore is a log that panics.
type brokenCore struct{ zapcore.Core }

func (brokenCore) Enabled(zapcore.Level) bool { return true }

func (c brokenCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return checked.AddCore(e, c)
}

func (brokenCore) Write(zapcore.Entry, []zapcore.Field) error { panic("broken log") }

func TestAPanicOfTheLogIsCounted(t *testing.T) {
	p := newPanics(zap.New(brokenCore{zapcore.NewNopCore()}))
	p.Guard("proxy", func() { panic("boom") })
	for _, of := range []string{"proxy", room} {
		if n := countOf(t, p.CounterVec, of); n != 1 {
			t.Errorf("%v panics of room %s are counted, want 1", n, of)
		}
	}
}
