package main

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/internal/load"
)

func TestCellsHaveMedianQuartileSpreadAndRatio(t *testing.T) {
	r := sampleResult()
	r.summarize()
	c := r.Rows[0].Cells["nginx"]
	if c.Median != 20 || c.LowerQuartile != 15 || c.Spread != 1 || c.Ratio != 2 {
		t.Errorf("cell = %+v; want median 20, lower quartile 15, spread 1, ratio 2", c)
	}
	if c := r.Rows[0].Cells["sluice"]; c.Median != 10 || c.Ratio != 1 {
		t.Errorf("cell of sluice = %+v; want median 10, ratio 1", c)
	}
}

func TestResultIsWrittenAsJSONMarkdownAndPlots(t *testing.T) {
	dir := t.TempDir()
	if err := sampleResult().write(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var back result
	if err := json.Unmarshal(text, &back); err != nil || len(back.Rows) != 5 {
		t.Errorf("results.json = %s, %v; want 5 rows", text, err)
	}
	table, err := os.ReadFile(filepath.Join(dir, "results.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| **10** (10, 0 %) | 20 (15, 100 %) ×2.00 |", "- e, CPU a GB: nginx ×0.50\n", "left out: caddy (caddy is not installed)", "Not measured: TLS: handshakes", "1 samples of nginx failed", "| – |"} {
		if !strings.Contains(string(table), want) {
			t.Errorf("results.md lacks %q:\n%s", want, table)
		}
	}
	for _, name := range []string{"cpu-us-per-message.svg", "cpu-s-per-gb.svg", "growth.svg"} {
		if svg, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.Contains(string(svg), "</svg>") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEveryWorkIsALoadThatThereIs(t *testing.T) {
	keys := map[string]bool{}
	for _, w := range workList() {
		if keys[w.key] || len(w.figures) == 0 || w.workers < 1 {
			t.Errorf("work %+v: its key is there twice, or it has no figure, or no worker", w)
		}
		keys[w.key] = true
		var o load.Options
		flags := flag.NewFlagSet(w.key, flag.ContinueOnError)
		o.AddFlags(flags)
		if err := flags.Parse(append([]string{"-url", map[bool]string{false: "ws://127.0.0.1/", true: "wss://127.0.0.1/"}[w.isTLS]}, w.args...)); err != nil {
			t.Errorf("%s: %v", w.key, err)
		}
		if err := o.Check(); err != nil {
			t.Errorf("%s: %v", w.key, err)
		}
	}
	for key := range growthWorks {
		if !keys[key] {
			t.Errorf("the plot of growth wants the work %s, which there is not", key)
		}
	}
}

func sampleResult() *result {
	cells := func(sluice, nginx []float64) map[string]*cell {
		m := map[string]*cell{"sluice": {Samples: sluice}}
		if nginx != nil {
			m["nginx"] = &cell{Samples: nginx}
		}
		return m
	}
	r := &result{
		Peers:   []peerInfo{{"sluice", "1"}, {"nginx", "2"}},
		Missing: []missing{{"caddy", "caddy is not installed"}},
		Skipped: []string{"TLS: handshakes"},
		Rows: []*row{
			{Work: "open-100", Figure: cpuPerMessage.key, Title: "a", FigureTitle: "CPU a message", Unit: "µs", Cells: cells([]float64{10}, []float64{30, 10, 20})},
			{Work: "open-1000", Figure: cpuPerMessage.key, Title: "b", FigureTitle: "CPU a message", Unit: "µs", Cells: cells([]float64{11, 12}, nil)},
			{Work: "echo-64", Figure: cpuPerMessage.key, Title: "d", FigureTitle: "CPU a message", Unit: "µs", Cells: cells([]float64{1}, []float64{2})},
			{Work: "push-1m", Figure: cpuPerGB.key, Title: "e", FigureTitle: "CPU a GB", Unit: "s", Cells: cells([]float64{2}, []float64{1})},
			{Work: "idle", Figure: rssPerSession.key, Title: "c", FigureTitle: "memory", Unit: "bytes", Cells: map[string]*cell{}},
		},
	}
	r.fail("nginx", "idle", errors.New("503"))
	return r
}
