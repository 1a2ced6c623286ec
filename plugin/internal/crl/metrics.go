package crl

import (
	"github.com/coredns/coredns/plugin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"coredns-smimea/plugin/internal/neighbour"
)

var (
	nextUpdate = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: "crl_next_update_timestamp_seconds",
		Help: "When a certificate revocation list is to be replaced by a newer one, as it says itself.",
	}, []string{"list"})
	failures = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: "crl_failures_total",
		Help: "Times that a certificate revocation list could not be got, or did not count.",
	}, []string{"list"})
)
