// Package metric makes the metrics of the plugin: each is coredns_smimea_NAME, with labels,
// and is registered where CoreDNS's *prometheus* finds it.
package metric

import (
	"github.com/coredns/coredns/plugin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"coredns-smimea/plugin/internal/neighbour"
)

func opts(name, help string) prometheus.Opts {
	return prometheus.Opts{Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: name, Help: help}
}

// Counter makes a counter.
func Counter(name, help string, labels ...string) *prometheus.CounterVec {
	return promauto.NewCounterVec(prometheus.CounterOpts(opts(name, help)), labels)
}

// Gauge makes a gauge.
func Gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	return promauto.NewGaugeVec(prometheus.GaugeOpts(opts(name, help)), labels)
}

// Histogram makes a histogram with the upper bounds of its buckets.
func Histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	o := opts(name, help)
	return promauto.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: o.Namespace, Subsystem: o.Subsystem, Name: o.Name, Help: o.Help, Buckets: buckets,
	}, labels)
}
