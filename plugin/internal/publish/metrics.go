package publish

import (
	"slices"
	"strconv"
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"coredns-smimea/plugin/internal/neighbour"
	"coredns-smimea/smimea"
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
	revoked = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: "revoked_certificates",
		Help: "Certificates of a directory that are not published because they are revoked.",
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
	stateSaved = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: "state_saved",
		Help: "Whether the last attempt to save the state of a directory has succeeded: 1 or 0.",
	}, []string{"dir"})
	readable = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: "directory_readable",
		Help: "Whether the directory could be read at the last look: 1 or 0.",
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
		Help: "Published certificates that end within some days, of an address that has none that lasts longer.",
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
	readable.WithLabelValues(dir).Set(oneIf(success))
	held.WithLabelValues(dir).Set(float64(p.held + p.revoking.count))
	revoked.WithLabelValues(dir).Set(float64(p.directory.Revoked()))
	failing.DeletePartialMatch(prometheus.Labels{"dir": dir})
	for reason, n := range p.directory.Failing() {
		failing.WithLabelValues(dir, string(reason)).Set(float64(n))
	}
	if p.foreign > 0 {
		failing.WithLabelValues(dir, "foreign_domain").Set(float64(p.foreign))
	}
	p.measureExpiring(now)
	if next := p.directory.NextExpiry(); next.IsZero() {
		nextExpiry.DeleteLabelValues(dir)
	} else {
		nextExpiry.WithLabelValues(dir).Set(next.Sub(now).Seconds())
	}
}

// expiringWithin are the days of the metric.
var expiringWithin = []int{7, 30}

// measureExpiring counts the certificates that end soon and have no successor: some
// address of theirs has no other that lasts beyond the same days. Where something
// ends soon that takes a pass over all files, and a hundredth of the time at most.
func (p *Publisher) measureExpiring(now time.Time) {
	began := p.world.System.Now()
	if began.Sub(p.measured.at) < 100*p.measured.took {
		return
	}
	for _, days := range expiringWithin {
		until := now.AddDate(0, 0, days)
		n := 0
		if p.directory.Expiring(until) > 0 {
			n = p.withoutSuccessor(until)
		}
		expiring.WithLabelValues(p.config.Dir, strconv.Itoa(days)).Set(float64(n))
	}
	p.measured.at = p.world.System.Now()
	p.measured.took = p.measured.at.Sub(began)
}

// withoutSuccessor counts the published certificates that end before a time, as one
// address at least has no other that lasts longer.
func (p *Publisher) withoutSuccessor(until time.Time) int {
	lasting := map[smimea.Address]bool{} // of those that end: whether another lasts
	var ending [][]smimea.Address
	for _, f := range p.directory.Files().All() {
		for _, cert := range f.Live() {
			if !cert.NotAfter.Before(until) {
				continue
			}
			list := parsed(cert.Addresses)
			for _, a := range list {
				lasting[a] = false
			}
			ending = append(ending, list)
		}
	}
	if len(ending) == 0 {
		return 0
	}
	for _, f := range p.directory.Files().All() {
		for _, cert := range f.Live() {
			if cert.NotAfter.Before(until) {
				continue
			}
			for _, a := range parsed(cert.Addresses) {
				if _, ends := lasting[a]; ends {
					lasting[a] = true
				}
			}
		}
	}
	n := 0
	for _, list := range ending {
		if slices.ContainsFunc(list, func(a smimea.Address) bool { return !lasting[a] }) {
			n++
		}
	}
	return n
}

// parsed returns the addresses of a file, all but those that are none.
func parsed(addresses []string) (list []smimea.Address) {
	for _, text := range addresses {
		if a, err := smimea.ParseAddress(text); err == nil {
			list = append(list, a)
		}
	}
	return list
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
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
		for _, vec := range []*prometheus.GaugeVec{failing, held, revoked, lastLook, lastChange, lastSave, stateSaved, readable, expiring, nextExpiry} {
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
