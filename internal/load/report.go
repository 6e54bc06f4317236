package load

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Report is the result of a load. Its JSON keys are a contract: docs/benchmarks.md explains them.
type Report struct {
	Mode        Mode    `json:"mode"`
	URL         string  `json:"url"`
	Connections int     `json:"connections"`
	Seed        *uint64 `json:"seed,omitempty"`
	Seconds     float64 `json:"seconds"`

	Messages            int64   `json:"messages"`
	MessagesPerSecond   float64 `json:"messages_per_second"`
	BytesSent           int64   `json:"bytes_sent"`
	BytesReceived       int64   `json:"bytes_received"`
	BytesPerSecond      float64 `json:"bytes_per_second"`
	Handshakes          int64   `json:"handshakes"`
	HandshakesPerSecond float64 `json:"handshakes_per_second"`

	Latency   *Quantiles `json:"latency_us,omitempty"`
	Handshake *Quantiles `json:"handshake_us,omitempty"`

	Errors       int64                  `json:"errors"`
	ErrorsByKind map[string]*FaultCount `json:"errors_by_kind"`

	Processes          []Process `json:"processes,omitempty"`
	CPUPerMessage      *float64  `json:"cpu_us_per_message,omitempty"`
	CPUPerHandshake    *float64  `json:"cpu_us_per_handshake,omitempty"`
	CPUPerGB           *float64  `json:"cpu_s_per_gb,omitempty"`
	RSSPerSession      *float64  `json:"rss_bytes_per_session,omitempty"`
	LoadCPU            *float64  `json:"load_cpu_s,omitempty"`
	LoadCPUUtilization *float64  `json:"load_cpu_utilization,omitempty"`
}

// Quantiles are of latencies, in microseconds.
type Quantiles struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

// Process is the use of CPU and memory by one process of -pid.
type Process struct {
	PID       int     `json:"pid"`
	CPU       float64 `json:"cpu_s"`
	RSSBefore int64   `json:"rss_bytes_before"`
	RSS       int64   `json:"rss_bytes"`
}

func (m *measurement) report() *Report {
	r := m.run
	total := r.counts()
	span := m.ended.counts.sub(m.began.counts)
	seconds := (m.ended.at - m.began.at).Seconds()
	rep := &Report{
		Mode: r.o.Mode, URL: r.o.URL, Connections: r.o.Connections, Seconds: seconds,
		Messages: span.messages, BytesSent: span.sentBytes, BytesReceived: span.receivedBytes,
		Handshakes: span.handshakes, Errors: total.errors, ErrorsByKind: map[string]*FaultCount{},
		MessagesPerSecond: float64(span.messages) / seconds, BytesPerSecond: float64(span.sentBytes+span.receivedBytes) / seconds,
	}
	if r.o.Mode == Soak {
		rep.Seed = &r.o.Seed
	}
	if r.o.Mode == Storm {
		rep.HandshakesPerSecond = float64(span.handshakes) / seconds
	} else {
		rep.Handshakes = total.handshakes // they were made before the measured time
	}
	latency, handshake := newHistogram(), newHistogram()
	for _, rec := range r.recorders {
		latency.Merge(rec.latency)
		handshake.Merge(rec.handshake)
		for kind, f := range rec.faults {
			if rep.ErrorsByKind[kind] == nil {
				rep.ErrorsByKind[kind] = &FaultCount{First: f.First}
			}
			rep.ErrorsByKind[kind].Count += f.Count
		}
	}
	rep.Latency, rep.Handshake = newQuantiles(latency), newQuantiles(handshake)
	m.addProcesses(rep, span, seconds)
	return rep
}

// addProcesses adds the use of the processes, in all and per message, handshake, GB and session.
func (m *measurement) addProcesses(rep *Report, span counts, seconds float64) {
	if len(m.run.o.PIDs) == 0 {
		return
	}
	var cpu time.Duration
	var grown int64
	for i, pid := range m.run.o.PIDs {
		used := m.ended.cpu[i] - m.began.cpu[i]
		cpu += used
		grown += m.rss[i] - m.rssBefore[i]
		rep.Processes = append(rep.Processes, Process{PID: pid, CPU: used.Seconds(), RSSBefore: m.rssBefore[i], RSS: m.rss[i]})
	}
	per := func(d time.Duration, unit time.Duration, n float64) *float64 {
		if n == 0 {
			return nil
		}
		v := float64(d) / float64(unit) / n
		return &v
	}
	rep.CPUPerMessage = per(cpu, time.Microsecond, float64(span.messages))
	rep.CPUPerGB = per(cpu, time.Second, float64(span.sentBytes+span.receivedBytes)/1e9)
	rep.RSSPerSession = per(time.Duration(grown), 1, float64(m.run.o.Connections-m.run.o.From))
	if m.run.o.Mode == Storm {
		rep.CPUPerHandshake = per(cpu, time.Microsecond, float64(span.handshakes))
	}
	own := m.ended.own - m.began.own
	rep.LoadCPU = per(own, time.Second, 1)
	rep.LoadCPUUtilization = per(own, time.Second, seconds)
}

func newQuantiles(h *hdrhistogram.Histogram) *Quantiles {
	if h.TotalCount() == 0 {
		return nil
	}
	us := func(ns int64) float64 { return float64(ns) / 1e3 }
	return &Quantiles{us(h.ValueAtQuantile(50)), us(h.ValueAtQuantile(90)), us(h.ValueAtQuantile(99)), us(h.ValueAtQuantile(99.9)), us(h.Max())}
}

// Print writes the report as a table.
func (r *Report) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("load", "%s of %s, %d connections, %.1f s", r.Mode, r.URL, r.Connections, r.Seconds)
	if r.Seed != nil {
		row("seed", "%d", *r.Seed)
	}
	if r.Mode != Storm {
		row("messages", "%d, %.0f a second", r.Messages, r.MessagesPerSecond)
		row("payload", "%d bytes sent, %d received, %.1f MB a second", r.BytesSent, r.BytesReceived, r.BytesPerSecond/1e6)
		row("handshakes", "%d", r.Handshakes)
	} else {
		row("handshakes", "%d, %.0f a second", r.Handshakes, r.HandshakesPerSecond)
	}
	quantiles := func(name string, q *Quantiles) {
		if q != nil {
			row(name, "p50 %.0f  p90 %.0f  p99 %.0f  p99.9 %.0f  max %.0f µs", q.P50, q.P90, q.P99, q.P999, q.Max)
		}
	}
	quantiles("latency", r.Latency)
	quantiles("handshake", r.Handshake)
	for _, p := range r.Processes {
		row(fmt.Sprintf("process %d", p.PID), "%.2f s of CPU, %d bytes resident (%d before)", p.CPU, p.RSS, p.RSSBefore)
	}
	cost := func(name, unit string, v *float64) {
		if v != nil {
			row(name, "%.3g %s", *v, unit)
		}
	}
	cost("CPU a message", "µs", r.CPUPerMessage)
	cost("CPU a handshake", "µs", r.CPUPerHandshake)
	cost("CPU a GB", "s", r.CPUPerGB)
	if r.RSSPerSession != nil {
		row("memory a session", "%.0f bytes resident", *r.RSSPerSession)
	}
	cost("CPU of the load", "s", r.LoadCPU)
	row("errors", "%d", r.Errors)
	for _, kind := range slices.Sorted(maps.Keys(r.ErrorsByKind)) {
		f := r.ErrorsByKind[kind]
		row("  "+kind, "%d; the first: %s", f.Count, f.First)
	}
	return t.Flush()
}
