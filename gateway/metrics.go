package gateway

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"

	"sluice/proxy/driver"
	"sluice/tls/record"
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

// newRecordLayer returns the gauge that says whose records sessions over TLS 1.3 have, and warns if loops can't have those of package record.
func (g *Gateway) newRecordLayer() prometheus.Collector {
	layer := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sluice_tls_record_layer", Help: "1: sessions over TLS 1.3 have the record layer of Sluice. 0: that of crypto/tls.",
	})
	if _, isGoroutine := g.driver.(*driver.Goroutine); isGoroutine {
		return layer
	}
	if err := record.Works(); err != nil {
		g.log.Warn("sessions over TLS 1.3 keep the record layer of crypto/tls, and take more memory", zap.Error(err))
		return layer
	}
	layer.Set(1)
	return layer
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
