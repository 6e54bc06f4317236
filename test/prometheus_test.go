//go:build unix

package test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var (
	needPrometheus = need{"Prometheus", "prometheus (Debian)", succeeds("prometheus", "--version")}
	needPromtool   = need{"promtool", "prometheus (Debian)", succeeds("promtool", "--version")}
)

// A prometheus is a running one.
type prometheus struct {
	*program
	address string
}

// runPrometheus runs Prometheus with the configuration of deploy/, less what names the containers of docker-compose.yml.
func runPrometheus(t *testing.T, g *monitored) *prometheus {
	t.Helper()
	directory := t.TempDir()
	config := readDoc(t, "deploy/prometheus/prometheus.yml")
	for _, change := range [][2]string{
		{"gateway:9901", g.admin}, {"/run/sluice/token", g.tokenFile}, {"scrape_interval: 15s", "scrape_interval: 200ms"}, {"evaluation_interval: 15s", "evaluation_interval: 200ms"},
	} {
		if strings.Count(config, change[0]) != 1 {
			t.Fatalf("%q isn't once in\n%s", change[0], config)
		}
		config = strings.Replace(config, change[0], change[1], 1)
	}
	for name, text := range map[string]string{"prometheus.yml": config, "alerts.yml": readDoc(t, "deploy/prometheus/alerts.yml")} {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("prometheus", "--config.file="+filepath.Join(directory, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(directory, "data"), "--web.listen-address=127.0.0.1:0")
	p := &prometheus{program: start(t, cmd, nil)}
	listening := regexp.MustCompile(`msg="Listening on" address=(\S+)`)
	eventually(t, 6*patience, "Prometheus listens", func() bool {
		if match := listening.FindStringSubmatch(p.stderr.String()); match != nil {
			p.address = match[1]
		}
		return p.address != ""
	})
	return p
}

// ask asks the API of Prometheus; value is what its data becomes. It reports whether there was an answer without an error.
func (p *prometheus) ask(t *testing.T, value any, path string, query url.Values) bool {
	t.Helper()
	response, err := http.Get("http://" + p.address + "/api/v1/" + path + "?" + query.Encode())
	if err != nil {
		return false // not yet
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode == http.StatusBadRequest || response.StatusCode == http.StatusUnprocessableEntity {
		t.Fatalf("%s: %s", query, text)
	}
	answer := struct{ Data any }{value}
	return response.StatusCode == http.StatusOK && json.Unmarshal(text, &answer) == nil
}

func TestPrometheusScrapesTakesTheAlertsAndAnswersTheDashboard(t *testing.T) {
	t.Parallel()
	requires(t, needPrometheus)
	g := monitor(t)
	p := runPrometheus(t, g)

	var targets struct {
		ActiveTargets []struct{ Health, LastError string }
	}
	eventually(t, 3*patience, "the gateway is up", func() bool {
		return p.ask(t, &targets, "targets", nil) && len(targets.ActiveTargets) == 1 && targets.ActiveTargets[0].Health == "up"
	})
	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	eventually(t, 3*patience, "every alert was evaluated", func() bool {
		if !p.ask(t, &rules, "rules", nil) || len(rules.Groups) != 1 || len(rules.Groups[0].Rules) != len(alerts(t)) {
			return false
		}
		for _, r := range rules.Groups[0].Rules {
			if r.LastError != "" {
				t.Fatalf("%s: %s", r.Name, r.LastError)
			}
			if r.Health != "ok" {
				return false
			}
		}
		return true
	})

	queries, values := asked(t)
	maps.DeleteFunc(queries, func(where, _ string) bool { return strings.HasPrefix(where, "alert ") })
	for end := time.Now().Add(6 * patience); len(queries) > 0; {
		g.exercise(t)
		for where, query := range queries {
			var found struct{ Result []any }
			if p.ask(t, &found, "query", url.Values{"query": {query}}) && len(found.Result) > 0 {
				delete(queries, where)
			}
		}
		if time.Now().After(end) {
			t.Fatalf("these queries find nothing: %q", queries)
		}
	}
	for metric, label := range values {
		var found []string
		if !p.ask(t, &found, "label/"+label+"/values", url.Values{"match[]": {metric}}) || len(found) == 0 {
			t.Errorf("%s has no values of %s", metric, label)
		}
	}
}

// Debian builds Prometheus without the discovery of Kubernetes: all but that is checked.
func TestPrometheusTakesTheConfigurationForKubernetes(t *testing.T) {
	t.Parallel()
	requires(t, needPromtool)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(adminToken), 0o600); err != nil {
		t.Fatal(err)
	}
	text := readDoc(t, "deploy/prometheus/kubernetes.yml")
	for _, change := range [][2]string{{"/run/sluice/token", token}, {"kubernetes_sd_configs:\n      - role: pod\n", "static_configs:\n      - targets: [a]\n"}} {
		if strings.Count(text, change[0]) != 1 {
			t.Fatalf("%q isn't once in\n%s", change[0], text)
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	path := filepath.Join(filepath.Dir(token), "prometheus.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("promtool", "check", "config", path).CombinedOutput(); err != nil {
		t.Errorf("promtool check config: %v\n%s", err, out)
	}
}
