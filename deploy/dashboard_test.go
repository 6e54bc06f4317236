package deploy

import (
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"sigs.k8s.io/yaml"
)

func TestTheDashboardIsOneOfGrafana(t *testing.T) {
	cog.NewRuntime().RegisterPanelcfgVariant(stat.VariantConfig())
	cog.NewRuntime().RegisterPanelcfgVariant(timeseries.VariantConfig())
	cog.NewRuntime().RegisterDataqueryVariant(prometheus.VariantConfig())
	text, err := os.ReadFile("grafana/sluice.json")
	if err != nil {
		t.Fatal(err)
	}
	//lint:ignore SA1019 what replaces it only the newest releases of Grafana read
	var d dashboard.Dashboard
	// The error is never nil.
	var problems cog.BuildErrors
	if err := d.UnmarshalJSONStrict(text); !errors.As(err, &problems) || len(problems) > 0 {
		t.Fatal(err)
	}
	var drawn struct {
		Panels []struct {
			ID      int
			Title   string
			Type    string
			Targets []json.RawMessage
			GridPos struct{ X, Y, W int }
		}
	}
	if err := json.Unmarshal(text, &drawn); err != nil {
		t.Fatal(err)
	}
	ids, places := map[int]bool{}, map[[2]int]bool{}
	for _, p := range drawn.Panels {
		place := [2]int{p.GridPos.X, p.GridPos.Y}
		if ids[p.ID] || places[place] || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("the panel %q has an id or a place that isn't its own", p.Title)
		}
		ids[p.ID], places[place] = true, true
		if len(p.Targets) == 0 && p.Type != "row" {
			t.Errorf("the panel %q asks for nothing", p.Title)
		}
	}
	if len(ids) < 20 {
		t.Errorf("%d panels", len(ids))
	}
}

// What Grafana provisions has the fields that it reads: it ignores others without a word.
func TestGrafanaFindsItsDataSourceAndTheDashboard(t *testing.T) {
	var sources struct {
		APIVersion  int `json:"apiVersion"`
		Datasources []struct {
			Name, Type, UID, Access, URL string
			IsDefault                    bool           `json:"isDefault"`
			JSONData                     map[string]any `json:"jsonData"`
		}
	}
	readStrict(t, "grafana/datasources.yml", &sources)
	if s := sources.Datasources; sources.APIVersion != 1 || len(s) != 1 || s[0].Type != "prometheus" || s[0].URL != "http://prometheus:9090" || !s[0].IsDefault {
		t.Errorf("%+v", sources)
	}
	var providers struct {
		APIVersion int `json:"apiVersion"`
		Providers  []struct {
			Name, Type string
			Options    struct{ Path string }
		}
	}
	readStrict(t, "grafana/dashboards.yml", &providers)
	if p := providers.Providers; providers.APIVersion != 1 || len(p) != 1 || p[0].Type != "file" || p[0].Options.Path == "" {
		t.Errorf("%+v", providers)
	}
	var scrapes struct {
		Global struct {
			ScrapeInterval string `json:"scrape_interval"`
		}
	}
	text, err := os.ReadFile("prometheus/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &scrapes); err != nil {
		t.Fatal(err)
	}
	if got := sources.Datasources[0].JSONData["timeInterval"]; got != scrapes.Global.ScrapeInterval {
		t.Errorf("Grafana thinks that scrapes are %v apart, they are %v", got, scrapes.Global.ScrapeInterval)
	}
}

func readStrict(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
