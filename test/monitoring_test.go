package test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"
)

var (
	needPrometheus = need{"Prometheus", "prometheus (Debian)", succeeds("prometheus", "--version")}
	needPromtool   = need{"promtool", "prometheus (Debian)", succeeds("promtool", "--version")}
)

// A monitored is a gateway of which every metric that there is has a value.
type monitored struct {
	*gateway
	tokenFile string
	down      string // the path of a route whose backend is down
}

const adminToken = "0123456789abcdef0123456789abcdef"

func monitor(t *testing.T) *monitored {
	t.Helper()
	directory := t.TempDir()
	p := writePair(t, directory, "chat", "chat.example.com")
	tokenFile := filepath.Join(directory, "token")
	if err := os.WriteFile(tokenFile, []byte(adminToken), 0o600); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	config := strings.Replace(basics, "[admin]\n", fmt.Sprintf("[admin]\ntoken_file = %q\n", tokenFile), 1) + fmt.Sprintf(`
[[listener]]
name = "secure"
address = "127.0.0.1:0"
tls = { certificate = [{ cert = %q, key = %q }] }
[[route]]
pool = "echo"
ping_interval = "100ms"
[[route]]
path = "/down"
pool = "down"
[[pool]]
name = "echo"
backend = [{ address = %q }]
[[pool]]
name = "down"
backend = [{ address = %q }]
`, p.cert, p.key, runEcho(t), ln.Addr())
	return &monitored{gateway: runGateway(t, config), tokenFile: tokenFile, down: "/down"}
}

// exercise has everything happen once that is counted.
func (g *monitored) exercise(t *testing.T) {
	t.Helper()
	for path, status := range map[string]int{g.down: 502, "/a%2fb": 400} {
		c := dial(t, g.listeners["public"])
		c.send(t, request(path))
		if answer := c.answer(t); answer.StatusCode != status {
			t.Fatalf("%s: %d, want %d", path, answer.StatusCode, status)
		}
		_ = c.Close()
	}
	answer, err := http.Get("http://" + g.listeners["public"] + "/")
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()

	f := newTraffic(t)
	f.add(t, g.listeners["secure"], "/", true, true)
	closes, breaks := dial(t, g.listeners["public"]), dial(t, g.listeners["public"])
	for c, last := range map[*wire]string{closes: closes.closeFrame(1000, ""), breaks: string(ws.MustCompileFrame(ws.NewTextFrame([]byte("not masked"))))} {
		c.send(t, request("/"))
		c.wantOpen(t)
		c.send(t, c.frame(ws.OpText, "hello"))
		c.wantFrame(t, ws.OpText, "hello")
		c.send(t, last)
		for isOver := false; !isOver; {
			opcode, _ := c.nextFrame(t)
			isOver = opcode == ws.OpClose
		}
		_ = c.Close()
	}
	eventually(t, patience, "what has happened is counted", func() bool {
		real := g.metrics(t)
		return !slices.ContainsFunc(onceCounted, func(name string) bool { return real[name] == nil })
	})
}

// onceCounted are the metrics that aren't there before something happens, which may be counted behind what its peer sees of it.
var onceCounted = []string{"sluice_closes_total", "sluice_handshakes_rejected_total", "sluice_http_requests_total", "sluice_tls_handshakes_total"}

// metrics returns all metrics with their labels; a histogram is in it by the names of its series.
func (g *monitored) metrics(t *testing.T) map[string][]string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+g.admin+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+adminToken)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("/metrics: %d, %v", response.StatusCode, err)
	}
	found := map[string][]string{}
	for name, family := range families {
		labels := []string{}
		for _, pair := range family.Metric[0].Label {
			labels = append(labels, pair.GetName())
		}
		found[name] = labels
		if family.Metric[0].Histogram != nil {
			found[name+"_sum"], found[name+"_count"], found[name+"_bucket"] = labels, labels, append(slices.Clone(labels), "le")
		}
	}
	return found
}

var metricRow = regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([a-z, ]*) ?\\|")

// The table is complete: whoever adds a metric says what it means.
func TestEveryMetricIsExplained(t *testing.T) {
	t.Parallel()
	g := monitor(t)
	g.exercise(t)
	real := g.metrics(t)
	documented := map[string][]string{}
	for _, row := range metricRow.FindAllStringSubmatch(readDoc(t, "docs/monitoring.md"), -1) {
		labels := strings.FieldsFunc(row[2], func(r rune) bool { return r == ',' || r == ' ' })
		slices.Sort(labels)
		documented[row[1]] = append([]string{}, labels...)
	}
	for name, labels := range real {
		base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_sum"), "_count"), "_bucket")
		switch {
		case base != name && real[base] != nil:
			delete(real, name) // a series of a histogram
		case strings.HasPrefix(name, "sluice_"):
			slices.Sort(labels)
		case strings.HasPrefix(name, "go_"), strings.HasPrefix(name, "process_"):
			// Those of the runtime and of the process are known elsewhere: the table has those to look at.
			if documented[name] == nil {
				delete(real, name)
			}
		}
	}
	if diff := cmp.Diff(real, documented); diff != "" {
		t.Errorf("the gateway exports (-) and docs/monitoring.md explains (+):\n%s", diff)
	}
}

// readDoc reads a file of the project.
func readDoc(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

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
