package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// result is what a comparison writes down. Its JSON is results.json.
type result struct {
	Date    time.Time  `json:"date"`
	Commit  string     `json:"commit"`
	Machine machine    `json:"machine"`
	IsShort bool       `json:"short"`
	Rounds  int        `json:"rounds"`
	Seconds float64    `json:"seconds_a_sample"`
	Minutes float64    `json:"minutes"` // that it all took
	Peers   []peerInfo `json:"peers"`
	Missing []missing  `json:"missing,omitempty"`
	Skipped []string   `json:"skipped,omitempty"`
	Failed  []failed   `json:"failed,omitempty"`
	Rows    []*row     `json:"rows"`
}

type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
}

type peerInfo struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

type missing struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

type failed struct {
	Peer  string `json:"peer"`
	Work  string `json:"work"`
	Why   string `json:"why"`
	Count int    `json:"count"`
}

// row is one figure of one work, a cell a peer.
type row struct {
	Work        string           `json:"work"`
	Figure      string           `json:"figure"`
	Title       string           `json:"title"`
	FigureTitle string           `json:"figure_title"`
	Unit        string           `json:"unit"`
	Cells       map[string]*cell `json:"cells"`
}

// cell is the samples of one peer and what is made of them.
type cell struct {
	Samples       []float64 `json:"samples"`
	Median        float64   `json:"median"`
	LowerQuartile float64   `json:"lower_quartile"`
	Spread        float64   `json:"spread"`          // largest less smallest sample, by the median
	Ratio         float64   `json:"ratio_to_sluice"` // of medians; 0: there is none
}

func newResult(ctx context.Context, o options) *result {
	return &result{Date: time.Now().UTC().Truncate(time.Second), Commit: commit(ctx), Machine: thisMachine(ctx), IsShort: o.isShort, Seconds: o.duration.Seconds()}
}

// commit returns the commit that is measured, with "+" if the tree has changes.
func commit(ctx context.Context) string {
	hash := output(ctx, "git", "rev-parse", "--short=12", "HEAD")
	if hash != "" && output(ctx, "git", "status", "--porcelain", "--untracked-files=no") != "" {
		hash += "+"
	}
	return hash
}

func thisMachine(ctx context.Context) machine {
	m := machine{Cores: runtime.NumCPU(), Kernel: output(ctx, "uname", "-sr"), Go: runtime.Version()}
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan() && m.CPU == ""; {
			if name, value, _ := strings.Cut(s.Text(), ":"); strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(value)
			}
		}
	}
	return m
}

// output returns what a command prints, "" if it fails.
func output(ctx context.Context, name string, args ...string) string {
	out, _ := exec.CommandContext(ctx, name, args...).Output()
	return strings.TrimSpace(string(out))
}

func (r *result) add(work, figure, peer string, v float64) {
	for _, row := range r.Rows {
		if row.Work == work && row.Figure == figure {
			if row.Cells[peer] == nil {
				row.Cells[peer] = &cell{}
			}
			row.Cells[peer].Samples = append(row.Cells[peer].Samples, v)
		}
	}
}

func (r *result) fail(peer, work string, err error) {
	for i := range r.Failed {
		if f := &r.Failed[i]; f.Peer == peer && f.Work == work {
			f.Count++
			return
		}
	}
	r.Failed = append(r.Failed, failed{peer, work, err.Error(), 1})
}

// summarize makes of the samples what the tables show.
func (r *result) summarize() {
	for _, row := range r.Rows {
		for _, c := range row.Cells {
			sorted := slices.Sorted(slices.Values(c.Samples))
			c.Median, c.LowerQuartile = quantileOf(sorted, 0.5), quantileOf(sorted, 0.25)
			if c.Median > 0 {
				c.Spread = (sorted[len(sorted)-1] - sorted[0]) / c.Median
			}
		}
		ours := row.Cells["sluice"]
		for _, c := range row.Cells {
			if ours != nil && ours.Median > 0 {
				c.Ratio = c.Median / ours.Median
			}
		}
	}
}

// quantileOf interpolates between the two samples beside the quantile.
func quantileOf(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[i]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// write puts results.json, results.md and the plots into dir.
func (r *result) write(dir string) error {
	r.summarize()
	r.Minutes = time.Since(r.Date).Minutes()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results.md"), []byte(r.markdown()), 0o644); err != nil {
		return err
	}
	if err := r.plot(dir); err != nil {
		return err
	}
	fmt.Printf("%s\nwritten to %s\n", r.markdown(), dir)
	return nil
}
