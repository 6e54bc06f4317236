package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// markdown returns what was measured, on what and with what came of it, and where a peer is ahead.
func (r *result) markdown() string {
	var b strings.Builder
	kind := "whole"
	if r.IsShort {
		kind = "short"
	}
	fmt.Fprintf(&b, "%s form, %s, commit %s, %s with %d cores, %s, %s; %d rounds, %.3g s a sample, %.1f minutes in all.\n\n",
		strings.ToUpper(kind[:1])+kind[1:], r.Date.Format("2006-01-02"), r.Commit, r.Machine.CPU, r.Machine.Cores, r.Machine.Kernel, r.Machine.Go, r.Rounds, r.Seconds, r.Minutes)
	for _, p := range r.Peers {
		fmt.Fprintf(&b, "- %s: %s\n", p.Name, p.Version)
	}
	for _, m := range r.Missing {
		fmt.Fprintf(&b, "- left out: %s (%s)\n", m.Name, m.Why)
	}
	b.WriteString("\nMedians; in brackets the lower quartile and the spread, which is the largest less the smallest sample by the median; behind × the ratio to\n" +
		"Sluice. Less is better, and the least is bold.\n\n| work | figure |")
	for _, p := range r.Peers {
		fmt.Fprintf(&b, " %s |", p.Name)
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(r.Peers)) + "\n")
	for _, row := range r.Rows {
		fmt.Fprintf(&b, "| %s | %s, %s |", row.Title, row.FigureTitle, row.Unit)
		least := row.least()
		for _, p := range r.Peers {
			b.WriteString(" " + row.Cells[p.Name].markdown(p.Name, least) + " |")
		}
		b.WriteString("\n")
	}
	r.writeAhead(&b)
	if len(r.Skipped) > 0 {
		fmt.Fprintf(&b, "\nNot measured: %s.\n", strings.Join(r.Skipped, "; "))
	}
	for _, f := range r.Failed {
		fmt.Fprintf(&b, "\n%d samples of %s failed: %s: %s\n", f.Count, f.Peer, f.Work, f.Why)
	}
	return b.String()
}

// writeAhead names each row in which the median of a peer is less than that of Sluice.
func (r *result) writeAhead(b *strings.Builder) {
	b.WriteString("\nAhead of Sluice:\n\n")
	isNone := true
	for _, row := range r.Rows {
		var ahead []string
		for _, p := range r.Peers {
			if c := row.Cells[p.Name]; c != nil && c.Ratio > 0 && c.Ratio < 1 {
				ahead = append(ahead, fmt.Sprintf("%s ×%.2f", p.Name, c.Ratio))
			}
		}
		if len(ahead) > 0 {
			isNone = false
			fmt.Fprintf(b, "- %s, %s: %s\n", row.Title, row.FigureTitle, strings.Join(ahead, ", "))
		}
	}
	if isNone {
		b.WriteString("- nobody in any row\n")
	}
}

func (r *row) least() float64 {
	least := math.Inf(1)
	for _, c := range r.Cells {
		least = min(least, c.Median)
	}
	return least
}

func (c *cell) markdown(peer string, least float64) string {
	if c == nil {
		return "–"
	}
	median := number(c.Median)
	if c.Median == least {
		median = "**" + median + "**"
	}
	text := fmt.Sprintf("%s (%s, %.0f %%)", median, number(c.LowerQuartile), 100*c.Spread)
	if peer != "sluice" && c.Ratio > 0 {
		text += fmt.Sprintf(" ×%.2f", c.Ratio)
	}
	return text
}

// number writes three digits, all of those before the point.
func number(v float64) string {
	if math.Abs(v) >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
