package plugin

import (
	"strconv"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"coredns-smimea/plugin/internal/answer"
	"coredns-smimea/plugin/internal/certhost"
	"coredns-smimea/plugin/internal/metric"
)

var (
	queries = metric.Counter("queries_total",
		"Queries in a zone by type (SMIMEA, TXT or other) and result.",
		"zone", "type", "result")
	laneQueries = metric.Counter("lane_queries_total",
		"Queries that came through the fast lane of an address, by how they went on: answered there, or passed to the plugins.",
		"server", "how")
)

var (
	httpRequests = metric.Counter("https_requests_total",
		"Requests to the HTTPS host by status code.",
		"code")
	handshakeErrors = metric.Counter("https_handshake_errors_total",
		"TLS handshakes with the HTTPS host that failed, by reason.",
		"reason")
	httpsConnections = metric.Gauge("https_connections",
		"Connections that a listener of the HTTPS host holds.",
		"address")
	tlsExpiry = metric.Gauge("tls_expiry_timestamp_seconds",
		"When the TLS certificate of a name of the HTTPS host expires.",
		"name")
	acmeEvents = metric.Counter("acme_events_total",
		"Events of the management of TLS certificates by ACME.",
		"event")
)

// hostMetrics implements certhost.Metrics.
type hostMetrics struct{}

func (hostMetrics) Request(code int) { httpRequests.WithLabelValues(strconv.Itoa(code)).Inc() }

func (hostMetrics) HandshakeError(reason string) { handshakeErrors.WithLabelValues(reason).Inc() }

func (hostMetrics) ACME(event string) { acmeEvents.WithLabelValues(event).Inc() }

// countACME begins the counting of ACME's events: of a counter that is not there before
// the first, Prometheus does not see that one.
func countACME() {
	for _, event := range certhost.Events {
		acmeEvents.WithLabelValues(event)
	}
}

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
