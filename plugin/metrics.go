package plugin

import (
	"strconv"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"coredns-smimea/smimea/zone"
)

var (
	certificates = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "certificates",
		Help: "Certificates published in a zone.",
	}, []string{"zone"})
	addresses = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "addresses",
		Help: "Addresses of published certificates in a zone.",
	}, []string{"zone"})
	serials = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "zone_serial",
		Help: "Serial of a zone.",
	}, []string{"zone"})
	failing = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "failing_files",
		Help: "Files of a directory that are left out, or cannot be read as they are now, by reason.",
	}, []string{"dir", "reason"})
	held = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "held_withdrawals",
		Help: "Withdrawals of certificates that max_withdraw holds back.",
	}, []string{"dir"})
	lastLook = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "last_look_timestamp_seconds",
		Help: "When the directory was looked at last with success.",
	}, []string{"dir"})
	lastChange = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "last_change_timestamp_seconds",
		Help: "When what a directory publishes changed last.",
	}, []string{"dir"})
	lookDuration = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "look_duration_seconds",
		Help:    "Time that looks at a whole directory took.",
		Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
	}, []string{"dir"})
	lastSave = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "last_save_timestamp_seconds",
		Help: "When the state of a directory was saved last.",
	}, []string{"dir"})
	filesRead = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "files_read_total",
		Help: "Files of a directory that were read, because they were new or had changed.",
	}, []string{"dir"})
	changes = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "changes_total",
		Help: "Certificates that were added, changed, withdrawn, or have expired.",
	}, []string{"dir", "kind"})
	expiring = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "expiring_certificates",
		Help: "Published certificates that are withdrawn within some days, because they expire.",
	}, []string{"dir", "days"})
	nextExpiry = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "next_expiry_seconds",
		Help: "Seconds until the next certificate is withdrawn because it expires, as of the last look.",
	}, []string{"dir"})
	queries = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "queries_total",
		Help: "Queries in a zone by type (SMIMEA, TXT or other) and result.",
	}, []string{"zone", "type", "result"})
	transfersTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "transfers_total",
		Help: "Transfers of a zone to secondaries, by how they went: axfr, ixfr, current (nothing to send), refused, cut, broken.",
	}, []string{"zone", "kind"})
	laneQueries = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "lane_queries_total",
		Help: "Queries that came through the fast lane of an address, by how they went on: answered there, or passed to the plugins.",
	}, []string{"server", "how"})
	signatures = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: name, Name: "signatures_total",
		Help: "Signatures made by dnssec for this plugin, ahead of queries or for one.",
	}, []string{"when"})
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

// result is how a query was answered. Its order is that of its names.
type result uint8

const (
	answered result = iota
	noData
	nameError
	truncated
	failed
	results
)

var resultNames = [results]string{"success", "nodata", "nxdomain", "truncated", "failure"}

// counters are a zone's query counters, by type and result.
type counters [3][results]prometheus.Counter

func newCounters(zone string) *counters {
	c := new(counters)
	for t, qtype := range []string{"SMIMEA", "TXT", "other"} {
		for r := range c[t] {
			c[t][r] = queries.WithLabelValues(zone, qtype, resultNames[r])
		}
	}
	return c
}

func (c count) publish(z *zone.Zone) {
	certificates.WithLabelValues(z.Origin).Set(float64(c.certificates))
	addresses.WithLabelValues(z.Origin).Set(float64(c.addresses))
	serials.WithLabelValues(z.Origin).Set(float64(z.Serial))
}

// measure sets the gauges of the directory.
func (p *publisher) measure(success bool) {
	dir, now := p.config.dir, time.Now()
	if success {
		lastLook.WithLabelValues(dir).SetToCurrentTime()
	}
	held.WithLabelValues(dir).Set(float64(p.held))
	failing.DeletePartialMatch(prometheus.Labels{"dir": dir})
	for reason, n := range p.directory.Failing() {
		failing.WithLabelValues(dir, string(reason)).Set(float64(n))
	}
	if p.foreign > 0 {
		failing.WithLabelValues(dir, "foreign_domain").Set(float64(p.foreign))
	}
	expiring.WithLabelValues(dir, "7").Set(float64(p.directory.Expiring(now.AddDate(0, 0, 7))))
	expiring.WithLabelValues(dir, "30").Set(float64(p.directory.Expiring(now.AddDate(0, 0, 30))))
	if next := p.directory.NextExpiry(); next.IsZero() {
		nextExpiry.DeleteLabelValues(dir)
	} else {
		nextExpiry.WithLabelValues(dir).Set(next.Sub(now).Seconds())
	}
}

// forget deletes the metrics of a publisher that has ended, unless another
// one has taken its directory and zones over.
func (p *publisher) forget() {
	publishers.Lock()
	defer publishers.Unlock()
	dirs, zones := map[string]bool{}, map[string]bool{}
	for _, other := range publishers.byKey {
		dirs[other.config.dir] = true
		for _, place := range other.places {
			zones[place.Origin] = true
		}
	}
	if !dirs[p.config.dir] {
		labels := prometheus.Labels{"dir": p.config.dir}
		for _, vec := range []*prometheus.GaugeVec{failing, held, lastLook, lastChange, lastSave, expiring, nextExpiry} {
			vec.DeletePartialMatch(labels)
		}
	}
	for _, place := range p.places {
		if !zones[place.Origin] {
			for _, vec := range []*prometheus.GaugeVec{certificates, addresses, serials} {
				vec.DeleteLabelValues(place.Origin)
			}
		}
	}
}
