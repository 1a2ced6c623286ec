package publish

import (
	"github.com/coredns/coredns/plugin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"coredns-smimea/plugin/internal/neighbour"
	"coredns-smimea/smimea/zone"
)

var (
	certificates = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: "certificates",
		Help: "Certificates published in a zone.",
	}, []string{"zone"})
	addresses = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: "addresses",
		Help: "Addresses of published certificates in a zone.",
	}, []string{"zone"})
	serials = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: "zone_serial",
		Help: "Serial of a zone.",
	}, []string{"zone"})
	failing = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: "failing_files",
		Help: "Files of a directory that are left out, or cannot be read as they are now, by reason.",
	}, []string{"dir", "reason"})
	held = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: "held_withdrawals",
		Help: "Withdrawals of certificates that max_withdraw holds back.",
	}, []string{"dir"})
	lastLook = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: "last_look_timestamp_seconds",
		Help: "When the directory was looked at last with success.",
	}, []string{"dir"})
	lastChange = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: "last_change_timestamp_seconds",
		Help: "When what a directory publishes changed last.",
	}, []string{"dir"})
	lookDuration = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: "look_duration_seconds",
		Help:    "Time that looks at a whole directory took.",
		Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
	}, []string{"dir"})
	lastSave = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: "last_save_timestamp_seconds",
		Help: "When the state of a directory was saved last.",
	}, []string{"dir"})
	filesRead = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: "files_read_total",
		Help: "Files of a directory that were read, because they were new or had changed.",
	}, []string{"dir"})
	changes = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: "changes_total",
		Help: "Certificates that were added, changed, withdrawn, or have expired.",
	}, []string{"dir", "kind"})
	expiring = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: "expiring_certificates",
		Help: "Published certificates that are withdrawn within some days, because they expire.",
	}, []string{"dir", "days"})
	nextExpiry = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: "next_expiry_seconds",
		Help: "Seconds until the next certificate is withdrawn because it expires, as of the last look.",
	}, []string{"dir"})
)

// measure sets the gauges of a zone, if it is served.
func (c count) measure(z *zone.Zone) {
	if z == nil {
		return
	}
	certificates.WithLabelValues(z.Origin).Set(float64(c.certificates))
	addresses.WithLabelValues(z.Origin).Set(float64(c.addresses))
	serials.WithLabelValues(z.Origin).Set(float64(z.Serial))
}

// measure sets the gauges of the directory.
func (p *Publisher) measure(success bool) {
	dir, now := p.config.Dir, p.world.System.Now()
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
func (p *Publisher) forget() {
	p.tune(nil)
	publishers.Lock()
	defer publishers.Unlock()
	dirs, zones := map[string]bool{}, map[string]bool{}
	for _, other := range publishers.byKey {
		dirs[other.config.Dir] = true
		for _, place := range other.config.Places {
			zones[place.Origin] = true
		}
	}
	if !dirs[p.config.Dir] {
		labels := prometheus.Labels{"dir": p.config.Dir}
		for _, vec := range []*prometheus.GaugeVec{failing, held, lastLook, lastChange, lastSave, expiring, nextExpiry} {
			vec.DeletePartialMatch(labels)
		}
	}
	for _, place := range p.config.Places {
		if !zones[place.Origin] {
			for _, vec := range []*prometheus.GaugeVec{certificates, addresses, serials} {
				vec.DeleteLabelValues(place.Origin)
			}
		}
	}
}
