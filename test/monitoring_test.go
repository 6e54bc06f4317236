//go:build unix

package test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
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
	ca := newAuthority(t, directory, "authority")
	p := ca.issue(t, "chat")
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
http2 = "websocket"
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
	for path, status := range map[string]int{g.down: 502, "/a/../b": 400} {
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

var metricRow = regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| ([a-z, ]*) ?\\|")

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
