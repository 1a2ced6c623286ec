package plugin

import (
	"strconv"
	"time"

	"coredns-smimea/plugin/internal/answer"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var (
	queries = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "queries_total",
		Help: "Queries in a zone by type (SMIMEA, TXT or other) and result.",
	}, []string{"zone", "type", "result"})
	laneQueries = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "lane_queries_total",
		Help: "Queries that came through the fast lane of an address, by how they went on: answered there, or passed to the plugins.",
	}, []string{"server", "how"})
)

var (
	httpRequests = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "https_requests_total",
		Help: "Requests to the HTTPS host by status code.",
	}, []string{"code"})
	handshakeErrors = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "https_handshake_errors_total",
		Help: "TLS handshakes with the HTTPS host that failed, by reason.",
	}, []string{"reason"})
	httpsConnections = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "https_connections",
		Help: "Connections that a listener of the HTTPS host holds.",
	}, []string{"address"})
	tlsExpiry = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "tls_expiry_timestamp_seconds",
		Help: "When the TLS certificate of a name of the HTTPS host expires.",
	}, []string{"name"})
	acmeEvents = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "acme_events_total",
		Help: "Events of the management of TLS certificates by ACME.",
	}, []string{"event"})
)

// hostMetrics implements certhost.Metrics.
type hostMetrics struct{}

func (hostMetrics) Request(code int) { httpRequests.WithLabelValues(strconv.Itoa(code)).Inc() }

func (hostMetrics) HandshakeError(reason string) { handshakeErrors.WithLabelValues(reason).Inc() }

func (hostMetrics) ACME(event string) { acmeEvents.WithLabelValues(event).Inc() }

func (hostMetrics) Connections(address string, n int) {
	httpsConnections.WithLabelValues(address).Set(float64(n))
}

func (hostMetrics) TLSCertificate(name string, notAfter time.Time) {
	if notAfter.IsZero() {
		tlsExpiry.DeleteLabelValues(name)
		return
	}
	tlsExpiry.WithLabelValues(name).Set(float64(notAfter.Unix()))
}

// counters are a zone's query counters, by type and result.
type counters [3][answer.Results]prometheus.Counter

func newCounters(zone string) *counters {
	c := new(counters)
	for t, qtype := range []string{"SMIMEA", "TXT", "other"} {
		for r := range c[t] {
			c[t][r] = queries.WithLabelValues(zone, qtype, answer.Result(r).String())
		}
	}
	return c
}

func typeIndex(qtype uint16) int {
	switch qtype {
	case dns.TypeSMIMEA:
		return 0
	case dns.TypeTXT:
		return 1
	}
	return 2
}
