package main

import (
	"fmt"
	"image/color"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// Colors that can be told apart on a light and on a dark page; the background is the page's.
var (
	ink        = color.RGBA{128, 128, 128, 255}
	peerColors = map[string]color.Color{
		"sluice":  color.RGBA{232, 89, 12, 255},
		"floor":   color.RGBA{134, 142, 150, 255},
		"nginx":   color.RGBA{47, 158, 68, 255},
		"haproxy": color.RGBA{28, 126, 214, 255},
		"caddy":   color.RGBA{174, 62, 201, 255},
	}
)

// legendRoom is by how much an axis is longer than its values, so that the legend stands above them.
const legendRoom = 1.5

// plot draws the rows in groups that go well together, and how cost grows with connections.
func (r *result) plot(dir string) error {
	var names []string
	rows := map[string][]*row{}
	for _, row := range r.Rows {
		name := row.plotName()
		if name == "" || len(row.Cells) == 0 {
			continue
		}
		if rows[name] == nil {
			names = append(names, name)
		}
		rows[name] = append(rows[name], row)
	}
	for _, name := range names {
		if err := r.plotBars(filepath.Join(dir, name), rows[name]); err != nil {
			return fmt.Errorf("plot %s: %w", name, err)
		}
	}
	if err := r.plotGrowth(filepath.Join(dir, "growth.svg")); err != nil {
		return fmt.Errorf("plot growth.svg: %w", err)
	}
	return nil
}

// plotName returns the file of the row's bars; "": it has none. Rows of one figure that are of another order stand apart.
func (r *row) plotName() string {
	name := strings.NewReplacer("_", "-", ".", "-").Replace(r.Figure)
	if _, isGrowth := growthWorks[r.Work]; isGrowth && r.Figure == cpuPerMessage.key {
		return ""
	}
	if strings.Contains(r.Work, "window") {
		name += "-window"
	}
	return name + ".svg"
}

// plotBars draws a group of bars for each row, a bar for each peer.
func (r *result) plotBars(path string, rows []*row) error {
	p := newPlot(rows[0].FigureTitle+", "+rows[0].Unit, len(r.Peers))
	p.Y.Min = 0
	width := vg.Points(14)
	for i, peer := range r.Peers {
		var values plotter.Values
		for _, row := range rows {
			v := 0.0
			if c := row.Cells[peer.Name]; c != nil {
				v = c.Median
			}
			values = append(values, v)
		}
		bars, err := plotter.NewBarChart(values, width)
		if err != nil {
			return err
		}
		bars.Color, bars.LineStyle.Width = peerColors[peer.Name], 0
		bars.Offset = width * vg.Length(float64(i)-float64(len(r.Peers)-1)/2)
		p.Add(bars)
		p.Legend.Add(peer.Name, bars)
	}
	var names []string
	for _, row := range rows {
		// Long titles stand under each other.
		names = append(names, strings.ReplaceAll(strings.ReplaceAll(row.Title, ", ", ",\n"), ": ", ":\n"))
	}
	p.NominalX(names...)
	p.X.Min, p.X.Max = -0.5, float64(len(rows))-0.5 // whole groups
	p.Y.Max *= legendRoom
	groups := vg.Length(len(rows))
	return p.Save(max(vg.Points(420), groups*width*vg.Length(len(r.Peers)+3)+vg.Points(120)), vg.Points(300), path)
}

// growthWorks are the rows of plotGrowth by their number of connections.
var growthWorks = map[string]float64{"open-100": 100, "open-1000": 1000, "open-8000": 8000}

// plotGrowth draws the CPU a message at the same rate over more and more connections.
func (r *result) plotGrowth(path string) error {
	p := newPlot("CPU a message at 5,000 messages a second, µs", len(r.Peers))
	p.X.Label.Text = "connections"
	p.X.Scale = plot.LogScale{}
	var ticks []plot.Tick
	for _, n := range growthWorks {
		ticks = append(ticks, plot.Tick{Value: n, Label: strconv.Itoa(int(n))})
	}
	p.X.Tick.Marker = plot.ConstantTicks(ticks)
	hasLines := false
	for _, peer := range r.Peers {
		var points plotter.XYs
		for _, row := range r.Rows {
			n, ok := growthWorks[row.Work]
			if c := row.Cells[peer.Name]; ok && c != nil && row.Figure == cpuPerMessage.key {
				points = append(points, plotter.XY{X: n, Y: c.Median})
			}
		}
		if len(points) < 2 {
			continue
		}
		slices.SortFunc(points, func(a, b plotter.XY) int { return int(a.X - b.X) })
		line, marks, err := plotter.NewLinePoints(points)
		if err != nil {
			return err
		}
		line.Color, line.Width = peerColors[peer.Name], vg.Points(2)
		marks.Color = peerColors[peer.Name]
		p.Add(line, marks)
		p.Legend.Add(peer.Name, line, marks)
		hasLines = true
	}
	if !hasLines {
		return nil // the short form
	}
	p.X.Max *= 1.3 // room for its label
	p.Y.Min = 0
	p.Y.Max *= legendRoom
	return p.Save(vg.Points(480), vg.Points(300), path)
}

func newPlot(title string, peers int) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.BackgroundColor = nil
	p.Title.TextStyle.Color, p.Legend.TextStyle.Color = ink, ink
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Color, axis.Label.TextStyle.Color = ink, ink
		axis.Tick.Color, axis.Tick.Label.Color = ink, ink
	}
	p.Title.Padding = vg.Points(float64(peers) * 2)
	p.Legend.Top = true
	p.Legend.ThumbnailWidth = vg.Points(12)
	return p
}
