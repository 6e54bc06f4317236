//go:build unix

package test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// A panel is what is of interest in one of Grafana's.
type panel struct {
	Title   string
	Targets []struct{ Expr string }
}

// A board is what is of interest in Grafana's dashboard.
type board struct {
	Panels     []panel
	Templating struct {
		List []struct {
			Type       string
			Definition string
		}
	}
}

// A rule is an alert.
type rule struct{ Alert, Expr string }

// asked returns all that the dashboard and the alerts ask for, by where; Grafana's variables have values. values are the labels of
// which Grafana lists the values, by their metrics.
func asked(t *testing.T) (queries, values map[string]string) {
	t.Helper()
	var b board
	if err := json.Unmarshal([]byte(readDoc(t, "deploy/grafana/sluice.json")), &b); err != nil {
		t.Fatal(err)
	}
	queries, values = map[string]string{}, map[string]string{}
	variables := strings.NewReplacer("$__rate_interval", "10s", "$instance", ".*", "$pool", ".*")
	for _, p := range b.Panels {
		for i, target := range p.Targets {
			queries[fmt.Sprintf("panel %q, query %d", p.Title, i)] = variables.Replace(target.Expr)
		}
	}
	for _, v := range b.Templating.List {
		if match := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(v.Definition); match != nil {
			values[match[1]] = match[2]
		} else if v.Type == "query" {
			t.Errorf("the variable %q isn't understood", v.Definition)
		}
	}
	for _, r := range alerts(t) {
		queries["alert "+r.Alert] = r.Expr
	}
	if len(queries) < 40 || len(values) < 2 {
		t.Fatalf("%d queries, %d variables", len(queries), len(values))
	}
	return queries, values
}

func alerts(t *testing.T) []rule {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal([]byte(readDoc(t, "deploy/prometheus/alerts.yml")), &file); err != nil {
		t.Fatal(err)
	}
	return file.Groups[0].Rules
}

func TestTheDashboardAndTheAlertsAskForWhatThereIs(t *testing.T) {
	t.Parallel()
	g := monitor(t)
	g.exercise(t)
	real := g.metrics(t)
	queries, values := asked(t)
	for where, query := range queries {
		for _, problem := range unknownIn(query, real) {
			t.Errorf("%s: %s in %s", where, problem, query)
		}
	}
	for metric, label := range values {
		if real[metric] == nil || label != "instance" && !slices.Contains(real[metric], label) {
			t.Errorf("a variable has the values of %s of %s", label, metric)
		}
	}
	for query, want := range map[string]int{
		`sum(sluice_session_active)`:                                    1,
		`sum(rate(sluice_sessions_active{rout="/"}[5m]))`:               1,
		`sum by (le, rout) (rate(sluice_handshake_seconds_bucket[5m]))`: 1,
		`sum by (pool) (sluice_sessions_active{route="x"}) > 1e6`:       0,
	} {
		if got := unknownIn(query, real); len(got) != want {
			t.Errorf("%q: %q, want %d problems", query, got, want)
		}
	}
}

var (
	quoted     = regexp.MustCompile(`"[^"]*"`)
	grouping   = regexp.MustCompile(`\b(by|without) \(([^)]*)\)`)
	selector   = regexp.MustCompile(`\{([^}]*)\}`)
	window     = regexp.MustCompile(`\[[^]]*\]`)
	identifier = regexp.MustCompile(`\b[a-zA-Z_]\w*`)
	// promQL are the functions and words that the queries use.
	promQL = []string{"sum", "min", "max", "avg", "count", "rate", "increase", "histogram_quantile", "time", "and", "offset"}
)

// unknownIn tells which metrics and labels of a query aren't among the real ones. Any word that is no function is taken for one.
func unknownIn(query string, real map[string][]string) (problems []string) {
	rest := quoted.ReplaceAllString(query, "")
	var labels []string
	for _, part := range grouping.FindAllStringSubmatch(rest, -1) {
		labels = append(labels, identifier.FindAllString(part[2], -1)...)
	}
	rest = grouping.ReplaceAllString(rest, "")
	for _, part := range selector.FindAllStringSubmatch(rest, -1) {
		labels = append(labels, identifier.FindAllString(part[1], -1)...)
	}
	rest = window.ReplaceAllString(selector.ReplaceAllString(rest, ""), "")
	known := []string{"instance", "job"} // Prometheus's own
	for _, word := range identifier.FindAllString(rest, -1) {
		switch {
		case real[word] != nil:
			known = append(known, real[word]...)
		case word != "up" && !slices.Contains(promQL, word):
			problems = append(problems, "no metric "+word)
		}
	}
	for _, label := range labels {
		if !slices.Contains(known, label) {
			problems = append(problems, "no label "+label)
		}
	}
	return problems
}

// Each alert has a test in which it fires and one in which it doesn't, and an operator can read what to do.
func TestEveryAlertFiresAndIsExplained(t *testing.T) {
	t.Parallel()
	requires(t, needPromtool)
	for _, args := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		command := exec.Command("promtool", args...)
		command.Dir = "../deploy/prometheus"
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	var tests struct {
		Tests []struct {
			Rules []struct {
				Alert string `yaml:"alertname"`
				Want  []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal([]byte(readDoc(t, "deploy/prometheus/alerts_test.yml")), &tests); err != nil {
		t.Fatal(err)
	}
	fires, isQuiet := map[string]bool{}, map[string]bool{}
	for _, test := range tests.Tests {
		for _, r := range test.Rules {
			fires[r.Alert], isQuiet[r.Alert] = fires[r.Alert] || len(r.Want) > 0, isQuiet[r.Alert] || len(r.Want) == 0
		}
	}
	doc := readDoc(t, "docs/monitoring.md")
	for _, r := range alerts(t) {
		if !fires[r.Alert] || !isQuiet[r.Alert] {
			t.Errorf("%s isn't tested both ways", r.Alert)
		}
		if !strings.Contains(doc, "\n| `"+r.Alert+"` |") {
			t.Errorf("docs/monitoring.md doesn't explain %s", r.Alert)
		}
	}
	if explained, all := strings.Count(doc, "\n| `Sluice"), len(alerts(t)); explained != all {
		t.Errorf("docs/monitoring.md explains %d alerts, there are %d", explained, all)
	}
}
