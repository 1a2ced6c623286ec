package main

import (
	"fmt"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"coredns-smimea/discover"
	"coredns-smimea/ldap"
	"coredns-smimea/ldap/world"
)

// ldapMetrics count what smimea ldap does.
type ldapMetrics struct {
	registry *prometheus.Registry
	factory  promauto.Factory
	searches *prometheus.CounterVec   // by resultCode
	seconds  prometheus.Histogram     // of searches that looked something up
	entries  prometheus.Counter       //
	lookups  *prometheus.CounterVec   // by verdict
	lookTime *prometheus.HistogramVec // by verdict
	failures prometheus.Counter       // of connections

	mu       sync.Mutex
	answered int // searches
	verdicts map[discover.Verdict]int
}

func newLDAPMetrics() *ldapMetrics {
	m := &ldapMetrics{registry: prometheus.NewRegistry(), verdicts: map[discover.Verdict]int{}}
	m.factory = promauto.With(m.registry)
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "smimea", Subsystem: "ldap", Name: name, Help: help}
	}
	histogram := func(name, help string) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Namespace: "smimea", Subsystem: "ldap", Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.001, 4, 8)}
	}
	m.searches = m.factory.NewCounterVec(prometheus.CounterOpts(opts("searches_total", "Searches that were answered, by resultCode.")), []string{"code"})
	m.seconds = m.factory.NewHistogram(histogram("search_duration_seconds", "Time until searches for addresses were answered."))
	m.entries = m.factory.NewCounter(prometheus.CounterOpts(opts("entries_total", "Entries that were returned, each with one certificate.")))
	m.lookups = m.factory.NewCounterVec(prometheus.CounterOpts(opts("lookups_total", "Look-ups in the DNS, by verdict.")), []string{"verdict"})
	m.lookTime = m.factory.NewHistogramVec(histogram("lookup_duration_seconds", "Time that look-ups took, by verdict."), []string{"verdict"})
	m.failures = m.factory.NewCounter(prometheus.CounterOpts(opts("connection_failures_total", "Connections that ended because of what the client sent, or over TLS.")))
	return m
}

func (m *ldapMetrics) watch(server *ldap.Server) {
	m.factory.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "smimea", Subsystem: "ldap", Name: "connections", Help: "Connections that are open."},
		func() float64 { return float64(server.Connections()) })
}

func (m *ldapMetrics) searched(s ldap.Search) {
	m.searches.WithLabelValues(fmt.Sprint(s.Code)).Inc()
	m.entries.Add(float64(s.Entries))
	if s.Addresses > 0 {
		m.seconds.Observe(s.Took.Seconds())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answered++
}

func (m *ldapMetrics) looked(l world.Lookup) {
	m.lookups.WithLabelValues(string(l.Verdict)).Inc()
	m.lookTime.WithLabelValues(string(l.Verdict)).Observe(l.Took.Seconds())
	m.mu.Lock()
	defer m.mu.Unlock()
	m.verdicts[l.Verdict]++
}

// status is a line on what has been done.
func (m *ldapMetrics) status(server *ldap.Server) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%d connections, %d searches answered", server.Connections(), m.answered)
	separator := "; looked up: "
	for _, v := range []discover.Verdict{discover.Verified, discover.None, discover.Unverified, discover.Wrong, discover.Unknown} {
		if n := m.verdicts[v]; n > 0 {
			fmt.Fprintf(&b, "%s%d %s", separator, n, v)
			separator = ", "
		}
	}
	return b.String()
}
