package publish

import (
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"coredns-smimea/plugin/internal/metric"
	"coredns-smimea/smimea"
	"coredns-smimea/smimea/zone"
)

var (
	certificates = metric.Gauge("certificates",
		"Certificates published in a zone.",
		"zone")
	addresses = metric.Gauge("addresses",
		"Addresses of published certificates in a zone.",
		"zone")
	serials = metric.Gauge("zone_serial",
		"Serial of a zone.",
		"zone")
	failing = metric.Gauge("failing_files",
		"Files of a directory that are left out, or cannot be read as they are now, by reason.",
		"dir", "reason")
	held = metric.Gauge("held_withdrawals",
		"Withdrawals of certificates that max_withdraw holds back.",
		"dir")
	revoked = metric.Gauge("revoked_certificates",
		"Certificates of a directory that are not published because they are revoked.",
		"dir")
	lastLook = metric.Gauge("last_look_timestamp_seconds",
		"When the directory was looked at last with success.",
		"dir")
	lastChange = metric.Gauge("last_change_timestamp_seconds",
		"When what a directory publishes changed last.",
		"dir")
	lookDuration = metric.Histogram("look_duration_seconds",
		"Time that looks at a whole directory took.",
		prometheus.ExponentialBuckets(0.001, 4, 9), "dir")
	lastSave = metric.Gauge("last_save_timestamp_seconds",
		"When the state of a directory was saved last.",
		"dir")
	stateSaved = metric.Gauge("state_saved",
		"Whether the last attempt to save the state of a directory has succeeded: 1 or 0.",
		"dir")
	readable = metric.Gauge("directory_readable",
		"Whether the directory could be read at the last look: 1 or 0.",
		"dir")
	filesRead = metric.Counter("files_read_total",
		"Files of a directory that were read, because they were new or had changed.",
		"dir")
	changes = metric.Counter("changes_total",
		"Certificates that were added, changed, withdrawn, or have expired.",
		"dir", "kind")
	expiring = metric.Gauge("expiring_certificates",
		"Published certificates that end within some days, of an address that has none that lasts longer.",
		"dir", "days")
	nextExpiry = metric.Gauge("next_expiry_seconds",
		"Seconds until the next certificate is withdrawn because it expires, as of the last look.",
		"dir")
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
		setTime(lastLook, dir, now)
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
// address of theirs has no other that lasts beyond the same days and is for the same use. Where something
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

// A use is what certificates are renewed for: one that can encrypt is followed by another
// that can.
type use struct {
	address  smimea.Address
	encrypts bool
}

// withoutSuccessor counts the published certificates that end before a time, while one
// address at least has no other that lasts longer and can do as much. "smimea check -soon"
// goes by the same rule.
func (p *Publisher) withoutSuccessor(until time.Time) int {
	lasting := map[use]bool{} // of those that end: whether another lasts
	var ending [][]use
	for _, f := range p.directory.Files().All() {
		for _, cert := range f.Live() {
			if !cert.NotAfter.Before(until) {
				continue
			}
			var list []use
			for _, a := range parsed(cert.Addresses) {
				list = append(list, use{a, cert.Encrypts})
				lasting[use{a, cert.Encrypts}] = false
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
				for _, u := range []use{{a, cert.Encrypts}, {a, false}} {
					if _, ends := lasting[u]; ends {
						lasting[u] = true
					}
				}
			}
		}
	}
	n := 0
	for _, list := range ending {
		if slices.ContainsFunc(list, func(u use) bool { return !lasting[u] }) {
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

// setTime sets a gauge of a directory to a time, in seconds since 1970.
func setTime(gauge *prometheus.GaugeVec, dir string, t time.Time) {
	gauge.WithLabelValues(dir).Set(float64(t.UnixNano()) / 1e9)
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
