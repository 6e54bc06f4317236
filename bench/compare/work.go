package main

import "sluice/internal/load"

// work is one line of the work list: a load, and what is read off its report. Less is better in every figure.
type work struct {
	key     string
	title   string
	args    []string // of sluice bench
	isTLS   bool     // over wss, which the floor can't
	isFresh bool     // each sample takes a new process: its memory is what is measured
	workers int
	isShort bool // part of the short form
	figures []figure
}

// figure is a number of a report.
type figure struct {
	key   string
	title string
	unit  string
	value func(r *load.Report) *float64
}

var (
	cpuPerMessage   = figure{"cpu_us_per_message", "CPU a message", "µs", func(r *load.Report) *float64 { return r.CPUPerMessage }}
	cpuPerGB        = figure{"cpu_s_per_gb", "CPU a GB", "s", func(r *load.Report) *float64 { return r.CPUPerGB }}
	cpuPerHandshake = figure{"cpu_us_per_handshake", "CPU a handshake", "µs", func(r *load.Report) *float64 { return r.CPUPerHandshake }}
	rssPerSession   = figure{"rss_bytes_per_session", "memory a session", "bytes", func(r *load.Report) *float64 { return r.RSSPerSession }}
	latencyP50      = figure{"latency_us.p50", "latency, median", "µs", func(r *load.Report) *float64 { return quantile(r, func(q *load.Quantiles) *float64 { return &q.P50 }) }}
	latencyP99      = figure{"latency_us.p99", "latency, 99 %", "µs", func(r *load.Report) *float64 { return quantile(r, func(q *load.Quantiles) *float64 { return &q.P99 }) }}
)

func quantile(r *load.Report, pick func(*load.Quantiles) *float64) *float64 {
	if r.Latency == nil {
		return nil
	}
	return pick(r.Latency)
}

// workList returns all works, plain ones first.
func workList() []work {
	both := []work{
		{key: "echo-64", title: "64 B, 100 connections", args: []string{"-c", "100"}, isShort: true, figures: []figure{cpuPerMessage}},
		{key: "echo-64-window-16", title: "64 B, 100 connections, window 16", args: []string{"-c", "100", "-window", "16"}, figures: []figure{cpuPerMessage}},
		{key: "echo-16k", title: "16 KiB, 20 connections", args: []string{"-c", "20", "-size", "16KiB"}, isShort: true, figures: []figure{cpuPerGB}},
		{key: "push-1m", title: "1 MiB pushed, 8 connections", args: []string{"-mode", "push", "-c", "8", "-size", "1MiB"}, isShort: true, figures: []figure{cpuPerGB}},
		{key: "storm", title: "handshakes, 20 at once", args: []string{"-mode", "storm", "-c", "20"}, isShort: true, figures: []figure{cpuPerHandshake}},
		{key: "idle", title: "idle sessions, 1,000 to 6,000", args: []string{"-mode", "idle", "-c", "6000", "-from", "1000", "-size", "1KiB"}, isFresh: true, isShort: true,
			figures: []figure{rssPerSession}},
	}
	list := append([]work{}, both...)
	open := func(key, connections, title string, isShort bool, figures ...figure) work {
		return work{key: key, title: title, args: []string{"-c", connections, "-rate", "5000"}, isShort: isShort, figures: figures}
	}
	list = append(list,
		open("open-1000", "1000", "open loop, 5,000 messages a second, 1,000 connections", true, latencyP50, latencyP99, cpuPerMessage),
		open("open-100", "100", "open loop, 5,000 messages a second, 100 connections", false, cpuPerMessage),
		open("open-8000", "8000", "open loop, 5,000 messages a second, 8,000 connections", false, cpuPerMessage),
		work{key: "echo-64-workers-2", title: "64 B, 100 connections, 2 workers", args: []string{"-c", "100"}, workers: 2, figures: []figure{cpuPerMessage}},
	)
	for _, w := range both {
		w.key, w.title, w.isTLS = "tls-"+w.key, "TLS: "+w.title, true
		w.isShort = w.isShort && !w.isFresh // 6,000 handshakes for each sample
		list = append(list, w)
	}
	resumed := work{key: "tls-storm-resumed", title: "TLS: handshakes resumed, 20 at once", args: []string{"-mode", "storm", "-c", "20", "-resume"}, isTLS: true, isShort: true,
		figures: []figure{cpuPerHandshake}}
	list = append(list, resumed)
	for i := range list {
		list[i].workers = max(1, list[i].workers)
	}
	return list
}
