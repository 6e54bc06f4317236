package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// otherLayout is fields, by the file that declares them, to which another build gives other numbers: it sends fields that this one doesn't know,
// and doesn't know those that this one sends.
var otherLayout = map[string][]string{
	"proxy/session/handover.go": {"Path", "HasDeflate"},
	"proxy/relay/state.go":      {"RTTMicros", "Waits"},
	"proxy/driver/move.go":      {"KeysEarned"},
	"balancer/handover.go":      {"Ejections", "WarmFor"},
	"tls/tickets.go":            {"Left"},
	"handover/messages.go":      {"Build"},
}

// buildOtherLayout builds the program with otherLayout.
func buildOtherLayout(t *testing.T) (program string) {
	t.Helper()
	directory := t.TempDir()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	var overlay struct{ Replace map[string]string }
	overlay.Replace = map[string]string{}
	for name, fields := range otherLayout {
		path := filepath.Join(root, name)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range fields {
			declared := regexp.MustCompile("(\t" + field + " +[a-zA-Z0-9\\[\\]]+ +`cbor:\")([0-9]+,keyasint)")
			if !declared.Match(text) {
				t.Fatalf("%s declares no field %s", name, field)
			}
			text = declared.ReplaceAll(text, []byte("${1}10$2")) // 8 becomes 108
		}
		changed := filepath.Join(directory, fmt.Sprintf("%d.go", len(overlay.Replace)))
		if err := os.WriteFile(changed, text, 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[path] = changed
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(directory, "overlay.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(directory, "sluice")
	build := exec.Command("go", "build", "-overlay", filepath.Join(directory, "overlay.json"), "-o", program, "sluice/cmd/sluice")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build sluice: %v\n%s", err, out)
	}
	return program
}

// Sessions go to a build whose form of the state has other fields, and back, and back again.
func TestUpgradesToABuildWithOtherFieldsAndBack(t *testing.T) {
	t.Parallel()
	other := buildOtherLayout(t)
	u := runUpgradable(t, upgradeConfig(t))
	stopped := make(chan struct{})
	couriers := map[string]*courier{}
	add := func(from, to int) {
		for i := from; i < to; i++ {
			url := []string{"ws://" + u.listeners["public"] + "/", "wss://" + u.listeners["secure"] + "/", "wss://" + u.listeners["secure"] + "/secure"}[i%3]
			couriers[fmt.Sprintf("%d, %s", i, url)] = newCourier(t, url, &courier{name: uint64(i), mostPause: 20 * time.Millisecond, stopped: stopped})
		}
	}
	add(0, 12)
	v := newVisitors(t, 2, "wss://"+u.listeners["secure"]+"/")
	// A session's path is one of the fields that don't arrive: those sessions have none that another build has opened.
	for i, step := range []struct {
		program string
		want    int // sessions with a path
	}{{other, 0}, {sluice, 0}, {other, 0}, {sluice, 0}, {sluice, 3}} {
		v.more(t, 10)
		u.install(t, step.program)
		count := len(couriers)
		if report := u.upgrade(t); report.Moved < count {
			t.Errorf("upgrade %d: %d sessions moved, want %d at least: %+v", i, report.Moved, count, report)
		}
		if n := u.withPath(t, "%2Fsecure"); n != step.want {
			t.Errorf("upgrade %d: %d sessions at /secure have their path, want %d", i, n, step.want)
		}
		if i == 3 {
			add(count, count+9) // three of them at /secure
		} else {
			add(count, count+3)
		}
	}
	v.wantAllServed(t)
	close(stopped)
	for name, c := range couriers {
		c.wantWhole(t, name)
	}
	u.wantGone(t)
	eventually(t, upgradePatience, "no session is left", func() bool { return u.count(t, "sluice_sessions_active") == 0 })
}

// withPath returns how many sessions have a path.
func (u *upgradable) withPath(t *testing.T, path string) int {
	t.Helper()
	answer, err := http.Get("http://" + u.admin + "/api/v1/sessions?limit=1000&path=" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var page struct{ Sessions []struct{ ID string } }
	if err := json.NewDecoder(answer.Body).Decode(&page); err != nil {
		t.Fatal(err)
	}
	return len(page.Sessions)
}
