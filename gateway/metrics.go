package gateway

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// newRegistry returns a registry of all metrics, with those of the process in it.
func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	b := ReadBuild()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "sluice_build_info",
		Help:        "Which build this is: always 1.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "go": b.GoVersion},
	})
	info.Set(1)
	registry.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// The results of a reload, as labels of sluice_config_reloads_total.
const (
	reloadApplied = "applied"
	reloadRefused = "refused"
)

// newReloads returns the counter of reloads.
func newReloads() *prometheus.CounterVec {
	reloads := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_config_reloads_total", Help: "Reloads of the configuration by their result.",
	}, []string{"result"})
	for _, result := range []string{reloadApplied, reloadRefused} {
		reloads.WithLabelValues(result)
	}
	return reloads
}
